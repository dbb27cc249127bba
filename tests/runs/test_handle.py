"""A run in a process of its own: it outlives its parent, stops where it loses nothing, says why."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

import entropy_mech
from entropy_mech.errors import UserError
from entropy_mech.runs import RunStore, handle_on
from entropy_mech.runs.handle import _CHILDREN, RunFailed
from entropy_mech.runs.status import find_config
from entropy_mech.runs.store import RunStopped, ask_to_stop, base_model_folder
from entropy_mech.train.loop import train
from tests.conftest import TINY, tiny

LIMIT_S = 120.0
# A parent that starts a run and waits for it, as a cell does, and lives on when it is interrupted.
PARENT = """
import json, sys, time, entropy_mech
handle = entropy_mech.launch(json.loads(sys.argv[1]), store=sys.argv[2])
try:
    print(handle.run.path.name, flush=True)
    handle.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def own_store(store, tmp_path):
    """A store of the test's own, in which the tiny base model is there already."""
    first = store.run(tiny())
    if not first.complete:
        train(tiny(), store, say=lambda text: None)
    shutil.copytree(store.root / "base_models", tmp_path / "base_models")
    yield RunStore(tmp_path)
    for path, child in _CHILDREN.items():
        if tmp_path in path.parents and child.poll() is None:
            child.kill()
            child.wait()


def _undisturbed(store, **changes):
    run = train(tiny(**changes), store, say=lambda text: None)
    return run.metrics_file.lines()[: run.config.steps]


def _until(condition):
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_importing_the_package_is_light_and_launch_comes_when_it_is_asked_for():
    code = """
import sys, entropy_mech
assert not {"torch", "matplotlib", "pandas", "numpy", "transformers"} & set(sys.modules)
assert "launch" in entropy_mech.__all__
assert callable(entropy_mech.launch)
assert not {"torch", "matplotlib", "vllm", "deepspeed"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        entropy_mech.lunch  # noqa: B018


def test_neither_an_interrupt_nor_the_end_of_its_parent_reaches_the_child(own_store, store):
    """A cell's interrupt is SIGINT to the kernel's group, a kernel's end SIGKILL to it."""
    table = {**TINY, "steps": 60, "seed": 11}
    command = [sys.executable, "-c", PARENT, json.dumps(table), str(own_store.root)]
    parent = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    handle = handle_on(parent.stdout.readline().strip(), store=own_store)
    _until(lambda: handle.status.steps_done)
    for _ in range(5):  # Python drops an interrupt that falls into a destructor
        os.killpg(parent.pid, signal.SIGINT)
        if select.select([parent.stdout], [], [], 2.0)[0]:
            break
    assert parent.stdout.readline() == "interrupted\n"
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait(timeout=LIMIT_S)
    assert handle.status.state == "training"
    handle.wait(LIMIT_S)
    assert handle.status.state == "complete"
    assert handle.run.metrics_file.lines() == _undisturbed(store, steps=60, seed=11)


def test_stopped_between_checkpoints_and_launched_again_it_loses_no_step(own_store, store):
    config = tiny(steps=400, seed=12, checkpoint={"every": 150})
    handle = entropy_mech.launch(config, store=own_store)
    _until(lambda: handle.run.steps_done >= 2)
    assert handle.status.state == "training"
    again = entropy_mech.launch(config, store=own_store)  # finds it: one process, two handles
    assert len([path for path in _CHILDREN if path == handle.run.path]) == 1
    again.stop(LIMIT_S)
    done = handle.run.steps_done
    assert handle.status.state == "stopped"
    assert 2 <= done < 400
    assert str(handle.status).startswith(f"run {handle.run.path.name[:8]}: stopped {done}/400")
    assert handle.wait().status.state == "stopped"  # no error: somebody wanted it
    assert (handle.run.checkpoints / f"step_{done:06d}").exists() or done in (150, 300)
    further = entropy_mech.launch(config, steps=done + 3, store=own_store).wait(LIMIT_S)
    assert further.status.state == "complete"
    assert further.metrics("step")["step"].tolist() == list(range(done + 3))
    if done <= 100:  # else the comparison takes longer than it is worth
        assert further.run.metrics_file.lines() == _undisturbed(store, steps=done + 3, seed=12)


def test_a_stop_is_heard_after_the_step_and_leaves_the_same_run(store, tmp_path):
    config = tiny(steps=6, seed=13, checkpoint={"every": 5})
    shutil.copytree(store.root / "base_models", tmp_path / "base_models", dirs_exist_ok=True)
    own = RunStore(tmp_path)

    def stop_after_three(done, metrics):
        if done == 3:
            ask_to_stop(own.run(config).path)

    with pytest.raises(RunStopped, match="stopped at step 3 of 6, as asked"):
        train(config, own, report=stop_after_three, say=lambda text: None)
    run = own.run(config)
    assert run.manifest()["steps"] == 3
    assert run.status()["stage"] == "stopped"
    time.sleep(0.02)
    train(config, own, say=lambda text: None)  # the old request is not meant for this session
    assert run.metrics_file.lines() == _undisturbed(store, steps=6, seed=13)


def test_the_childs_error_is_one_line_with_its_log(own_store):
    """A torn base model: nobody finds that before the child reads it."""
    config = tiny(seed=14)
    (base_model_folder(own_store, config) / "model.safetensors").write_bytes(b"torn")
    handle = entropy_mech.launch(config, store=own_store)
    with pytest.raises(RunFailed) as caught:
        handle.wait(LIMIT_S)
    assert str(caught.value).count("\n") == 0
    assert "failed: " in str(caught.value)
    assert str(caught.value).endswith(f"(log: {handle.log})")
    assert handle.log.read_text().strip().splitlines()[-1] in str(caught.value)
    assert caught.value._render_traceback_() == [f"RunFailed: {caught.value}"]
    assert str(handle.status) == str(caught.value)
    # The same is said to whoever comes later and elsewhere.
    _CHILDREN.pop(handle.run.path)
    with pytest.raises(RunFailed, match="failed: "):
        handle_on(handle.run.path).wait()


def test_a_child_that_is_killed_as_it_starts(own_store):
    handle = entropy_mech.launch(tiny(seed=15), store=own_store)
    assert handle.status.state == "waiting"
    with pytest.raises(TimeoutError, match="not at its end after 0 s, it goes on"):
        handle.wait(0)
    child = _CHILDREN[handle.run.path]
    child.kill()
    child.wait()
    with pytest.raises(RunFailed, match="failed: ended by SIGKILL"):
        handle.wait()
    stopped = entropy_mech.launch(tiny(seed=15), store=own_store).stop()
    assert stopped.wait().status.state == "stopped"
    assert _CHILDREN[handle.run.path].poll() is not None  # ended at once, with nothing to save


def test_what_is_complete_is_not_started_and_what_is_unknown_not_made(store, tmp_path):
    config = tiny()
    run = train(config, store, say=lambda text: None)
    handle = entropy_mech.launch(config, store=store)
    assert handle.run.path.resolve() == run.path.resolve()
    assert handle.run.path not in _CHILDREN
    assert handle.wait().metrics()["step"].tolist() == list(range(6))
    with pytest.raises(UserError, match="'entropy_nat': did you mean 'entropy_nats'"):
        handle.metrics("entropy_nat")
    with pytest.raises(UserError, match="a group of 1 has no spread"):
        entropy_mech.launch({"rollout": {"responses": 1}}, store=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_configuration_by_name_file_tables_or_itself(tmp_path):
    named = find_config("fig11_7b_kl_cov", seed=3, steps=5)
    assert (named.loss.method, named.seed, named.steps) == ("kl_cov", 3, 5)
    assert find_config(named) == named
    assert find_config(named, seed=4).seed == 4
    assert find_config(named.model_dump()) == named
    file = tmp_path / "mine.toml"
    file.write_text("seed = 8\n[loss]\nmethod = 'kl_cov'\n")
    assert (find_config(file).seed, find_config(str(file), seed=2).seed) == (8, 2)
    with pytest.raises(UserError, match=r"not a run's file; did you mean 'fig11_7b_kl_cov'\?"):
        find_config("fig11_7b_kl_cv")
    with pytest.raises(UserError, match="unknown profile 'papr': did you mean 'paper'"):
        find_config("fig11_7b_kl_cov", profile="papr")
