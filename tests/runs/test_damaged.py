"""A run whose files were emptied or cut off is named and passed over; the other runs are of use."""

import json
import os

import pytest

from entropy_mech.cli import main
from entropy_mech.errors import UserError, as_os_error, cannot_write
from entropy_mech.runs import RunStore
from entropy_mech.runs.status import find_run, list_runs, newest_run
from entropy_mech.runs.store import DamagedFileWarning, default_store
from entropy_mech.train.loop import train
from tests.conftest import tiny

NONSENSE = {
    "empty": b"",
    "spaces": b"  \n",
    "cut off": b'{"steps": 4, "se',
    "null": b"null",
    "a list": b"[1, 2]",
    "a number": b"3",
    "zeros": b"\0" * 512,
    "no text": b"\xff\xfe\x00\x80",
    "deep": b"[" * 100_000,
    "wrong types": b'{"steps": "four", "done": null, "updated": "now", "loss": 3, "model": []}',
}
FILES = ("config.json", "manifest.json", "status.json")


def write_run(store, config):
    run = store.run(config)
    run.path.mkdir(parents=True)
    run.write("config.json", config.model_dump(mode="json"))
    run.write("manifest.json", {"steps": config.steps})
    run.write("status.json", {"stage": "training", "done": 1, "total": 6, "updated": 1e9})
    for step in range(config.steps):
        row = {"step": step, "entropy_nats": 1.0, "validation_accuracy": 0.5}
        run.metrics_file.append(row)
    run.timings_file.append({"step": 0, "sample_s": 1.0})
    return run


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A store of two runs, the good one and the one to be damaged."""
    store = RunStore(tmp_path)
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path))
    return store, write_run(store, tiny(seed=1)), write_run(store, tiny(seed=2))


@pytest.mark.parametrize("what", NONSENSE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_the_other_runs_are_listed(two, capsys, file, what):
    store, good, bad = two
    (bad.path / file).write_bytes(NONSENSE[what])
    os.utime(bad.path / file)
    rows = list_runs(store).set_index("id")
    assert rows.loc[good.path.name, "state"] == "complete"
    assert rows.loc[bad.path.name, "state"] == "damaged"
    assert rows.loc[bad.path.name, "error"]
    if what != "wrong types":
        assert rows.loc[bad.path.name, "error"].startswith(file)
    assert newest_run(store).path == good.path
    assert find_run(good.path.name, store=store).path == good.path
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert f"{bad.path.name[:8]} damaged: " in out
    assert main(["runs", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("line", [b"\0\0\0\n", b"{\n", b"3\n", b"null\n", b"[]\n"])
def test_a_damaged_line_of_metrics_is_named(two, line):
    store, good, bad = two
    with (bad.path / "metrics.jsonl").open("ab") as file:
        file.write(line)
    rows = list_runs(store).set_index("id")
    assert rows.loc[good.path.name, "state"] == "complete"
    assert rows.loc[bad.path.name, "error"].startswith("metrics.jsonl: line 7 is damaged")
    with pytest.raises(UserError, match=r"metrics.jsonl: line 7 is damaged"):
        bad.metrics()


def test_a_damaged_configuration_of_the_run_that_is_meant_is_an_error(two):
    store, _, bad = two
    (bad.path / "config.json").write_bytes(b"")
    with pytest.raises(UserError, match=r"config.json: is empty; remove it"):
        find_run(bad.path.name, store=store)


@pytest.mark.filterwarnings("ignore::entropy_mech.runs.store.DamagedFileWarning")
@pytest.mark.parametrize("cut", [0, -30])
def test_a_complete_run_whose_metrics_were_cut_off_is_damaged_and_made_whole(store, cut):
    run = train(tiny(seed=32, steps=2), store, say=lambda text: None)
    metrics = run.metrics_file.path.read_bytes()
    run.metrics_file.path.write_bytes(metrics[:cut])
    assert not run.complete
    listed = list_runs(store, name=run.path.name).iloc[0]
    assert listed["state"] == "damaged"
    assert "lines; start the run again" in listed["error"]
    train(run.config, store, say=lambda text: None)
    assert run.complete
    assert run.metrics_file.path.read_bytes() == metrics


@pytest.mark.filterwarnings("ignore::entropy_mech.runs.store.DamagedFileWarning")
@pytest.mark.parametrize("damage", ["empty", "missing"])
def test_a_run_whose_manifest_is_gone_is_whole_again_when_it_is_started_again(store, damage):
    run = train(tiny(seed=31, steps=2), store, say=lambda text: None)
    metrics = run.metrics_file.path.read_bytes()
    manifest = run.path / "manifest.json"
    if damage == "empty":
        manifest.write_bytes(b"")
        with pytest.warns(DamagedFileWarning, match=r"manifest.json: is empty"):
            assert not run.complete
    else:
        manifest.unlink()
    train(run.config, store, say=lambda text: None)
    assert run.complete
    assert run.metrics_file.path.read_bytes() == metrics


@pytest.mark.parametrize("place", ["a file", "below a file", "a link to nowhere", "empty"])
def test_a_run_store_that_is_no_folder_is_one_line(tmp_path, monkeypatch, capsys, place):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "none")
    paths = {"a file": "file", "below a file": "file/runs", "a link to nowhere": "link"}
    if place == "empty":
        with pytest.raises(UserError, match="run store = '': give the path of a folder"):
            RunStore("")
        return
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / paths[place]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"run store = .*is no folder; set ENTROPY_MECH_RUNS"):
        default_store()
    config = "reproduce/runs/grpo.toml"
    for words in (
        ["train", config],
        ["runs"],
        ["follow"],
        ["follow", "fig11_7b_kl_cov"],
        ["evaluate", config],
        ["reproduce", "fig01", "--profile", "toy"],
        ["reproduce", "fig01", "--profile", "toy", "--dry-run"],
    ):
        assert main(words) == 2, words
        error = capsys.readouterr().err.strip()
        assert error.startswith("run store = "), words
        assert "\n" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_system_said_through_another_library_is_known():
    full = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert as_os_error(full).errno == 28
    assert "free some space" in str(cannot_write("runs", as_os_error(full)))
    assert as_os_error(RuntimeError("invalid header")) is None
