"""The list of runs: each state from what really happened to a run, and lines that fit."""

import json
import os
import subprocess
import sys
import time

import pytest

from entropy_mech.cli import main
from entropy_mech.errors import UserError
from entropy_mech.runs import RunStore
from entropy_mech.runs.status import COLUMNS, list_runs
from entropy_mech.runs.store import folder_lock, lock_is_held, write_json
from tests.conftest import tiny

HOLD = """
import sys, time
from pathlib import Path
from entropy_mech.runs.store import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def _write(store, number, *, done=0, total=10, updated=1000.0, manifest=None, error=None, **config):
    """Write a run's files as the trainer does and return its id."""
    name = f"{number:016x}"
    path = store.root / name
    path.mkdir(parents=True)
    table = {"steps": total, "seed": number, "model": {"layers": 2, "hidden_size": 64}}
    table |= {"loss": {"method": "kl_cov"}, "algorithm": {"name": "grpo"}, **config}
    write_json(path / "config.json", table)
    rows = [
        {
            "step": k,
            "entropy_nats": 1 / (k + 1),
            "validation_accuracy": 0.1 * k if k % 4 == 0 else None,
        }
        for k in range(done)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    timings = [{"step": k, "sample_s": 1.0, "update_s": 2.0} for k in range(done)]
    (path / "timings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in timings))
    status = {"stage": "training", "done": done, "total": total, "updated": updated}
    write_json(path / "status.json", status | (error or {}))
    if manifest is not None:
        write_json(path / "manifest.json", {"steps": manifest})
    return name


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store that the command line finds."""
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / "runs"))
    return RunStore(tmp_path / "runs")


def test_states_steps_and_the_last_that_was_measured(store):
    complete = _write(store, 1, done=10, manifest=10, updated=1.0)
    stopped = _write(store, 2, done=6, manifest=4, updated=3.0)
    why = {"stage": "failed", "error": "OSError: no space"}
    failed = _write(store, 3, done=2, updated=2.0, error=why)
    training = _write(store, 4, done=7, updated=5.0, error=why)
    waiting = _write(store, 5, updated=4.0)
    with (
        folder_lock(store.root / f"{training}.lock"),
        folder_lock(store.root / f"{waiting}.lock"),
    ):
        frame = list_runs(store)
    assert tuple(frame.columns) == COLUMNS
    assert frame["id"].tolist() == [training, waiting, stopped, failed, complete]  # newest first
    assert frame["state"].tolist() == ["training", "waiting", "stopped", "failed", "complete"]
    rows = frame.set_index("id")
    assert rows.loc[training, "time_left_s"] == 3 * (1.0 + 2.0)
    assert rows["time_left_s"].notna().sum() == 1
    assert rows.loc[stopped, ["steps_done", "steps_total"]].tolist() == [6, 10]
    assert rows.loc[stopped, "entropy_nats"] == 1 / 6
    assert rows.loc[stopped, "validation_accuracy"] == pytest.approx(0.4)  # of step 4, not null
    assert rows.loc[failed, "error"] == "OSError: no space"
    assert rows.loc[training, "error"] == ""  # it goes on: the old failure is past
    assert rows.loc[complete, "model"] == "2x64"


def test_filters(store):
    first = _write(store, 0xAB, loss={"method": "clip_cov"}, algorithm={"name": "rloo"})
    second = _write(store, 2, done=10, manifest=10, model={"path": "Qwen/Qwen2.5-7B"})
    assert list_runs(store, state="complete")["id"].tolist() == [second]
    for name in ("clip_cov", "rloo", "00000000000000ab"):
        assert list_runs(store, name=name)["id"].tolist() == [first]
    assert list_runs(store, name="Qwen2.5")["id"].tolist() == [second]
    assert list_runs(store, name="kl", state="complete")["id"].tolist() == [second]
    assert list_runs(store, name="clip_cov", state="complete").empty
    with pytest.raises(UserError, match="unknown state 'complet': did you mean 'complete'"):
        list_runs(store, state="complet")


def test_a_lock_dies_with_its_holder(tmp_path):
    path = tmp_path / "x.lock"
    assert not lock_is_held(path)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert lock_is_held(path)
        holder.kill()
        holder.wait()
    assert path.exists()
    assert not lock_is_held(path)


def test_a_real_run_from_training_over_failure_to_the_end(store):
    from entropy_mech.train.loop import train

    seen = []

    def report(done, metrics):
        row = list_runs(store).iloc[0]
        seen.append((row["state"], row["steps_done"], row["steps_total"]))
        if done == 3:
            raise ConnectionError("the sampler\nwent away")

    config = tiny(base={"steps": 20}, steps=4)
    with pytest.raises(ConnectionError):
        train(config, store, report=report, say=lambda text: None)
    assert seen == [("training", 1, 4), ("training", 2, 4), ("training", 3, 4)]
    (row,) = list_runs(store).to_dict("records")
    assert (row["state"], row["error"]) == ("failed", "ConnectionError: the sampler went away")
    run = train(config, store, say=lambda text: None)
    (row,) = list_runs(store).to_dict("records")
    assert (row["id"], row["state"], row["steps_done"]) == (run.path.name, "complete", 4)
    assert row["entropy_nats"] == run.metrics()["entropy_nats"].iloc[-1]
    assert row["validation_accuracy"] == run.metrics()["validation_accuracy"].dropna().iloc[-1]
    assert (row["algorithm"], row["seed"], row["error"]) == ("grpo", 1, "")


def test_table_fits_a_hundred_columns(store, capsys):
    why = {"stage": "failed", "error": "RuntimeError: " + "very long " * 30}
    _write(
        store, 1, done=9876, total=1234567, updated=time.time() - 7200, error=why,
        model={"path": "somebody/A-Model-With-A-Name-That-Nobody-Can-Remember-7B-Instruct"},
        loss={"method": "a_method_of_a_certain_length"}, algorithm={"name": "reinforce_pp"},
    )  # fmt: skip
    _write(store, 2, done=4, total=10, updated=time.time() + 3600)  # a clock that goes wrong
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 100
    assert lines[0].split() == [
        "id", "state", "method", "model", "seed", "steps", "left", "entropy", "accuracy", "moved"
    ]  # fmt: skip
    short, long, error = lines[1:]
    assert short.split() == [
        "00000000", "stopped", "grpo", "kl_cov", "2x64", "2", "4/10", "0.250", "0.000", "0", "s",
        "ago",
    ]  # fmt: skip
    assert "9876/1234567" in long
    assert long.endswith("2 h ago")
    assert "…" in long
    assert error.startswith("00000000 failed: RuntimeError: very long")


def test_json_has_all_and_null_for_what_is_not_there(store, capsys):
    name = _write(store, 7, done=1)
    (store.root / "00000000000000ff").mkdir()  # a run that starts: no configuration yet
    (store.root / "00000000000000fe").mkdir()  # one that was killed as it started
    os.utime(store.root / "00000000000000fe", (0, 0))
    (store.root / "base_models").mkdir()
    assert main(["runs", "--json", "--name", name]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert list(row) == list(COLUMNS)
    assert (row["id"], row["seed"], row["entropy_nats"]) == (name, 7, 1.0)
    assert row["time_left_s"] is None
    assert main(["runs", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert {key: row["state"] for key, row in rows.items()} == {
        name: "stopped",
        "00000000000000ff": "waiting",
        "00000000000000fe": "stopped",
    }
    assert rows["00000000000000ff"]["seed"] is None
    assert main(["runs"]) == 0
    assert "0/?" in capsys.readouterr().out


def test_an_empty_store_says_how_to_fill_it(store, capsys):
    assert main(["runs"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"no runs in {store.root}; ")
    assert line.endswith("entropy-mech train reproduce/runs/grpo.toml")
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    _write(store, 1)
    assert main(["runs", "--state", "failed", "--name", "grpo"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"none of the 1 runs in {store.root} has state failed, name grpo"


def test_a_reader_that_has_seen_enough_gets_no_traceback(store):
    _write(store, 1)
    command = [sys.executable, "-m", "entropy_mech", "runs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == 1
