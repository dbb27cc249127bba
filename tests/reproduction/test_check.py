"""Whether this machine gives the kept numbers: the beginnings of runs beside the kept runs."""

import json

import pandas as pd
import pytest

from entropy_mech.reproduction import check, runner
from entropy_mech.reproduction.check import Beginnings, Check, summary
from entropy_mech.reproduction.targets import Target, find_target
from entropy_mech.runs.kept import Follows, KeptStore, keep
from entropy_mech.runs.store import RunStore
from entropy_mech.train.loop import train
from tests.conftest import tiny

TARGET = Target("fig", "Figure 0", "A title", "A claim.", "notebook", ("one", "two"))


@pytest.fixture
def beginnings(store, tmp_path, monkeypatch):
    """Two runs, kept whole; the first three rollouts of each are to be trained here."""
    configs = {"one": tiny(seed=51), "two": tiny(seed=52)}
    runs = [(name, train(config, store, say=lambda text: None)) for name, config in configs.items()]
    keep(runs, tmp_path / "kept", {})
    monkeypatch.setattr(check, "run_config", lambda name, *, seed: configs[name])
    monkeypatch.setattr(check, "kept_store", lambda: KeptStore(tmp_path / "kept"))
    here = RunStore(tmp_path / "here")
    here.root.mkdir()
    (here.root / "base_models").symlink_to(store.root / "base_models")
    return Beginnings(1, 3, here)


def _train(beginnings, name):
    config = check.run_config(name, seed=1).model_copy(update={"steps": beginnings.rollouts})
    train(config, beginnings.store, say=lambda text: None)


def test_a_beginning_follows_to_the_last_bit_and_is_drawn(beginnings, tmp_path):
    assert [str(c) for c in beginnings.checks([TARGET])["fig"]] == ["not trained here"] * 2
    assert len([job for job in beginnings.jobs([TARGET]) if "base" not in job.name]) == 2
    beginnings.draw(TARGET, beginnings.checks([TARGET])["fig"], tmp_path)
    assert not (tmp_path / "fig_here.png").exists()
    assert beginnings.full_time_s([TARGET], 2) is None
    _train(beginnings, "one")
    assert len(beginnings.jobs([TARGET])) == 1
    assert summary(beginnings.checks([TARGET])["fig"]) == (
        "1 of 2 runs follows the kept one (1 to the last bit), 1 not trained here"
    )
    _train(beginnings, "two")
    assert [str(c) for c in beginnings.checks([TARGET])["fig"]] == [
        "follows to the last bit, 3 steps"
    ] * 2
    beginnings.draw(TARGET, beginnings.checks([TARGET])["fig"], tmp_path)
    assert (tmp_path / "fig_here.png").stat().st_size > 10_000
    one, two = (beginnings.full_time_s([TARGET], cores) for cores in (1, 2))
    assert one == pytest.approx(2 * two)
    assert one > 0


def test_a_run_that_leaves_the_kept_one_is_said(beginnings, tmp_path):
    path = tmp_path / "kept" / "metrics.parquet"
    frame = pd.read_parquet(path)
    frame.loc[(frame["step"] == 2), "entropy_nats"] *= 1.01
    frame.to_parquet(path)
    for name in ("one", "two"):
        _train(beginnings, name)
    found = beginnings.checks([TARGET])["fig"]
    assert [str(c) for c in found] == ["leaves the kept run at step 2 (entropy_nats)"] * 2
    assert not any(c.good for c in found)
    assert summary(found) == "0 of 2 runs follow the kept ones (0 to the last bit), 2 leave them"


def test_nothing_kept_is_nothing_compared():
    lost = Check("one", 1, Follows(0, None, 0.0))
    assert not lost.good
    assert str(lost) == "not compared: no step in common"
    assert summary([lost]) == "0 of 1 runs follow the kept ones (0 to the last bit), 1 not kept"


def test_what_other_runs_start_from_is_trained_to_its_end(tmp_path, monkeypatch):
    """The beginning of a run is not enough for those that start from its last policy."""
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    plan = runner._plan(
        runner.Request(names=("fig11", "intervention"), profile="kept", seed=1, check=2),
        [find_target("fig11"), find_target("intervention")],
    )
    steps = {job.label: json.loads(job.stdin)["steps"] for job in plan if job.kind == "run"}
    assert steps["fig11_7b_grpo seed 1"] == 80
    assert steps["intervention_bonus seed 1"] == 12
    assert steps["fig11_7b_clip_cov seed 1"] == steps["intervention_mixture seed 1"] == 2
