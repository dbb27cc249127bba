"""A run that is killed at the worst moments ends with the very same metrics file."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from entropy_mech.errors import UserError
from entropy_mech.runs import RunStore
from entropy_mech.runs.store import MetricsFile
from entropy_mech.train.loop import train
from tests.conftest import KL_COV, tiny

# Runs training in a process of its own, which kills itself with SIGKILL in the middle of the
# n-th call of one function: by a timer for the long ones, with half a file written for the
# checkpoint's.
SUICIDE = """
import json, os, signal, sys, threading
from pathlib import Path
from entropy_mech.runs import RunStore
from entropy_mech.train import checkpoint, loop, sampler
from entropy_mech.config.files import make_config

phase, call, delay_s, store, config = sys.argv[1:]
owner, name = {
    "sampling": (sampler.TorchSampler, "sample"),
    "update": (loop, "update_policy"),
    "checkpoint": (checkpoint, "_seal"),
}[phase]
original, calls = getattr(owner, name), [0]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watched(*args, **kwargs):
    calls[0] += 1
    if calls[0] == int(call):
        if phase == "checkpoint":
            state = args[0] / "policy" / "state.pt"
            os.truncate(state, state.stat().st_size // 2)
            die()
        threading.Timer(float(delay_s), die).start()
        original(*args, **kwargs)
        while True:  # the timer was longer than the call: die before its result is used
            pass
    return original(*args, **kwargs)

setattr(owner, name, watched)
loop.train(make_config(json.loads(config)), RunStore(Path(store)))
"""


def _metrics(run):
    return run.metrics_file.path.read_bytes()


def _copy_base(store, folder: Path) -> RunStore:
    shutil.copytree(store.root / "base_models", folder / "base_models", dirs_exist_ok=True)
    return RunStore(folder)


def test_sigkill_at_three_moments_changes_no_bit(store, tmp_path):
    config = tiny(steps=8, loss=KL_COV, update={"updates_per_rollout": 2})
    undisturbed = _metrics(train(config, store))
    assert undisturbed.count(b"\n") == 8

    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn from seed {seed}")  # shown if the test fails
    rng = random.Random(seed)
    other = _copy_base(store, tmp_path)
    moments = [
        ("sampling", rng.randint(2, 9), rng.uniform(0, 0.02)),
        ("update", rng.randint(1, 2), rng.uniform(0, 0.02)),
        ("checkpoint", rng.randint(1, 2), 0.0),
    ]
    for phase, call, delay_s in moments:
        arguments = [phase, str(call), str(delay_s), str(tmp_path), config.model_dump_json()]
        done = subprocess.run(
            [sys.executable, "-c", SUICIDE, *arguments], capture_output=True, timeout=120
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    run = train(config, other)
    assert _metrics(run) == undisturbed
    assert not list(run.checkpoints.glob("tmp-*"))  # what the killed ones left is gone


def test_a_longer_run_continues_a_shorter_one(store, tmp_path):
    whole = train(tiny(steps=5, seed=11), store)
    other = _copy_base(store, tmp_path)
    first = train(tiny(steps=3, seed=11), other)
    assert first.steps_done == 3
    second = train(tiny(steps=5, seed=11), other)
    assert second.path == first.path
    assert _metrics(second) == _metrics(whole)
    # Asked for the shorter one again, it answers with as much as was asked.
    assert len(train(tiny(steps=3, seed=11), other).metrics()) == 3


def test_a_run_that_exists_is_returned_as_it_is(store, monkeypatch):
    run = train(tiny(seed=12), store)
    before = run.metrics_file.path.stat().st_mtime_ns
    monkeypatch.setattr("entropy_mech.train.loop._Loop.go", lambda self: pytest.fail("trained"))
    assert train(tiny(seed=12), store).metrics_file.path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["state", "marker", "missing"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(store, tmp_path, damage):
    config = tiny(steps=4, seed=13)
    undisturbed = _metrics(train(config, store))
    other = _copy_base(store, tmp_path)
    run = train(config, other)
    newest = sorted(run.checkpoints.glob("step_*"))[-1]
    if damage == "state":
        data = (newest / "policy" / "state.pt").read_bytes()
        (newest / "policy" / "state.pt").write_bytes(data[:-100] + bytes(100))
    elif damage == "marker":
        (newest / "complete.json").write_text('{"next_st')
    else:
        (newest / "policy" / "state.pt").unlink()
    (run.path / "manifest.json").unlink()  # as if the run had not been finished
    said = []
    assert _metrics(train(config, other, say=said.append)) == undisturbed
    assert len(said) == 1
    assert "step_000004 cannot be read" in said[0]
    assert said[0].endswith("taking the one before it")


def test_a_full_disk_is_one_line_and_loses_nothing(store, tmp_path, monkeypatch):
    config = tiny(steps=4, seed=14)
    undisturbed = _metrics(train(config, store))
    other = _copy_base(store, tmp_path)
    real, calls = __import__("os").fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 12:
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        UserError, match=r"^run folder = .*: No space left on device; free some space"
    ):
        train(config, other)
    monkeypatch.undo()
    run = other.run(config)
    assert not list(run.checkpoints.glob("tmp-*"))
    assert _metrics(train(config, other)) == undisturbed


def test_metrics_are_readable_while_a_line_is_half_written(store, tmp_path):
    run = train(tiny(seed=12), store)
    copy = store.run(tiny(seed=12))
    copy.metrics_file.path = tmp_path / "metrics.jsonl"
    copy.metrics_file.path.write_bytes(_metrics(run) + b'{"step": 6, "entropy_na')
    assert len(copy.metrics_file.frame()) == 6


def test_a_metric_that_is_always_null_is_a_number_all_the_same(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(3):
        file.append({"step": step, "never": None, "once": 1.5 if step == 1 else None})
    frame = file.frame()
    assert frame["never"].isna().all()
    assert frame.dtypes.astype(str).tolist() == ["int64", "float64", "float64"]


def test_an_unknown_metric_names_the_nearest(store):
    run = train(tiny(seed=12), store)
    with pytest.raises(UserError, match=r"unknown metric 'entropy_nat': did you mean 'entropy_na"):
        run.metrics("entropy_nat")
    with pytest.raises(UserError, match=r"step = 3: no token record; there are \[0, 2, 4\]"):
        run.tokens(3)


def test_the_manifest_says_where_a_result_comes_from(store):
    manifest = train(tiny(seed=12), store).manifest()
    assert manifest["steps"] == 6
    assert manifest["packages"]["torch"]
    assert manifest["seed"] == 12
    assert json.loads((store.run(tiny(seed=12)).path / "config.json").read_text())["seed"] == 12


def test_a_checkpoint_before_the_first_update_has_nothing_to_convert(tmp_path):
    """All groups of a rollout can be right or wrong alike: no step, and no state of the optimizer.

    Whoever goes on with another number of ranks has the weights already that it would load.
    """
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    from entropy_mech.train.engine_deepspeed import DeepSpeedEngine

    (tmp_path / "zero").mkdir()
    for rank in range(2):
        (tmp_path / "zero" / f"rank_{rank}_optim_states.pt").write_bytes(b"")
    alone = SimpleNamespace(ranks=SimpleNamespace(size=1, first=True))  # an engine is not asked
    (tmp_path / "updates.txt").write_text("0\n")
    DeepSpeedEngine.load(alone, tmp_path)
    (tmp_path / "updates.txt").write_text("1\n")
    with pytest.raises(Exception, match=r"zero|universal|optim|EOF|Ran out"):
        DeepSpeedEngine.load(alone, tmp_path)
