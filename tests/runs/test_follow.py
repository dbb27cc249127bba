"""Watching runs: finished, training, dead, failed; in a kernel with and without a front end."""

import io
import os
import subprocess
import sys
import threading

import nbformat
import pytest
from nbclient import NotebookClient

from entropy_mech.cli import main
from entropy_mech.errors import UserError
from entropy_mech.runs import RunStore, handle_on
from entropy_mech.runs.handle import follow_in_terminal, sparkline
from entropy_mech.runs.status import OPEN_VIEWS, find_run, newest_run, pause
from entropy_mech.runs.store import folder_lock, write_json
from entropy_mech.train.loop import train
from tests.conftest import tiny


def _quiet(text):
    """Say nothing."""


@pytest.fixture
def finished(store, monkeypatch):
    """A finished run, in a store that the command line finds."""
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    return train(tiny(), store, say=_quiet)


def _broken(store, seed, error, after=3):
    """Train a run until ``error`` is raised in it."""

    def report(done, metrics):
        if done == after:
            raise error

    with pytest.raises(type(error)):
        train(tiny(seed=seed), store, report=report, say=_quiet)
    return store.run(tiny(seed=seed))


def test_a_finished_run_in_the_terminal(finished, capsys):
    assert main(["follow", finished.path.name[:10]]) == 0
    entropy, accuracy, last = capsys.readouterr().out.splitlines()
    values = finished.metrics("entropy_nats")["entropy_nats"]
    assert entropy.split()[0] == "entropy"
    assert entropy.split()[1::2] == [f"{values.iloc[0]:.3f}", f"{values.iloc[-1]:.3f}"]
    assert len(entropy.split()[2]) == 6  # a bar a step
    assert accuracy.startswith("accuracy ")
    assert last.startswith(f"run {finished.path.name[:8]}: complete 6/6, entropy ")
    assert last.endswith(f"({finished.path})")
    falls = values.iloc[:3].mean() > values.iloc[3:].mean()
    assert sparkline(values, width=2) == ("█▁" if falls else "▁█")


def test_a_dead_run_and_a_failed_one_end_the_watching_at_once(finished, store, capsys):
    dead = _broken(store, 21, KeyboardInterrupt())
    assert main(["follow", str(dead.path)]) == 0
    assert ": stopped 3/6, entropy" in capsys.readouterr().out
    failed = _broken(store, 22, ConnectionError("the sampler\nwent away"))
    assert main(["follow", failed.path.name]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"run {failed.path.name[:8]} failed: ConnectionError: the sampler went away"


def test_a_run_in_training_is_watched_to_its_end(store):
    """It trains in a thread of this process here; its lock and its files are all that is seen."""
    config = tiny(seed=23, steps=8)
    go_on = threading.Event()
    trainer = threading.Thread(
        target=train, args=(config, store),
        kwargs={"say": _quiet, "report": lambda *_: go_on.wait(60)},
    )  # fmt: skip
    trainer.start()
    handle = handle_on(store.run(config))
    while not handle.status.steps_done:
        pause(0.02)
    assert handle.status.state == "training"
    assert handle.status.fraction == 1 / 8
    looks = []
    OPEN_VIEWS.add(lambda: (looks.append(handle.status.steps_done), go_on.set()))
    said = io.StringIO()
    try:
        status = follow_in_terminal(handle, said)
    finally:
        OPEN_VIEWS.clear()
        trainer.join()
    assert looks[0] == 1  # open views are drawn while somebody waits
    assert status.state == "complete"
    assert said.getvalue().splitlines()[0].startswith(f"{handle.name}: training 1/8, entropy ")
    assert said.getvalue().splitlines()[-1].startswith(f"{handle.name}: complete 8/8")


def test_whom_a_name_means(finished, tmp_path):
    store, name = RunStore(finished.path.parent), finished.path.name
    for what in (finished, name, name[:9], finished.path, str(finished.path), finished.config):
        assert find_run(what, store=store).path == finished.path
    assert find_run(finished.path, store=store).config == finished.config
    own = RunStore(tmp_path)
    for k in (1, 2):
        folder = tmp_path / f"ab{k:014x}"
        folder.mkdir()
        write_json(folder / "config.json", finished.config.model_dump(mode="json"))
        os.utime(folder, (k, k))
    assert newest_run(own).path == folder
    assert find_run("ab00000000000002", store=own).path == folder
    with pytest.raises(UserError, match="run = ab: 2 runs begin so: ab00000000000002, ab"):
        find_run("ab", store=own)
    with pytest.raises(UserError, match="did you mean 'ab00'"):
        find_run("ab01", store=own)
    named = find_run("fig11_7b_kl_cov", store=own, seed=2)
    assert (named.config.loss.method, named.config.seed) == ("kl_cov", 2)
    assert not named.path.exists()
    with folder_lock(tmp_path / "ab00000000000001.lock"):
        assert newest_run(own).path.name == "ab00000000000001"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig11_7b_kl_cv"], "did you mean 'fig11_7b_kl_cov'?"),
        (["fig11_7b_kl_cov"], "fig11_7b_kl_cov seed 1: not started yet"),
        (["zzz"], "run = zzz: not a run of "),
        (["fig11_7b_kl_cov", "--profile", "papr"], "unknown profile 'papr': did you mean 'paper'?"),
        (["none.toml"], "config = none.toml: no such file"),
        ([], "no runs in "),
    ],
)
def test_a_bad_name_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(tmp_path / "runs"))
    assert main(["follow", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0


def test_ctrl_c_ends_the_watching_alone(finished, store):
    config = tiny(seed=24)
    run = store.run(config)
    run.path.mkdir()
    write_json(run.path / "config.json", config.model_dump(mode="json"))
    # Tests that run in the background of a script have inherited that Ctrl-C is ignored.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from entropy_mech.cli import main; sys.exit(main(['follow']))"
    with folder_lock(run.path.with_suffix(".lock")):  # somebody is at it, and it moves last
        watcher = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert watcher.stdout.readline().startswith(f"run {run.path.name[:8]}: waiting 0/6")
        watcher.send_signal(2)
        _, said = watcher.communicate(timeout=60)
    assert watcher.returncode == 130
    assert said.strip() == f"watching ended; run {run.path.name[:8]} goes on"


CELLS = {
    "start": """
import os, signal, threading
import entropy_mech.runs.handle as live
from entropy_mech import launch, runs
from entropy_mech.runs.handle import RunFailed
from tests.conftest import tiny
pictures, draw = [], live.live_figure
live.live_figure = lambda *given, **more: (pictures.append(1), draw(*given, **more))[1]
""",
    "no front end": "handle = launch(tiny(seed=25, steps=40))\nhandle.follow()",
    "what it took": "print(handle.status.state, len(pictures))",
    "interrupted": """
other = launch(tiny(seed=26, steps=40))
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
runs.follow(other, block=True)
print(other.status.in_work)
""",
    "front end": """
os.environ["JPY_SESSION_NAME"] = "a notebook"
runs.follow(other.run.path.name)
print(other.status.in_work)
""",
    "waiting": "print(other.wait().status.state)",
    "failed": """
del os.environ["JPY_SESSION_NAME"]
runs.follow(launch(tiny(seed=26, steps=40), store="torn"))
""",
}


def _shown(cell):
    """Return a cell's last words and how many pictures it shows."""
    words, pictures = [], 0
    for output in cell["outputs"]:
        data = output.get("data", {})
        pictures += "image/png" in data
        if "image/png" not in data and "application/vnd.jupyter.widget-view+json" not in data:
            words += [output.get("text") or data.get("text/plain") or output.get("evalue", "")]
    return "\n".join(words).strip(), pictures


def test_in_a_kernel(finished, store, tmp_path, monkeypatch):
    """What a cell shows, in a real kernel: nbclient is what papermill and nbconvert run it with."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("ENTROPY_MECH_RUNS", str(store.root))
    torn = tmp_path / "torn" / "base_models"
    for folder in (store.root / "base_models").iterdir():
        if folder.is_dir():
            (torn / folder.name).mkdir(parents=True)  # there, and nothing in it
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    )
    NotebookClient(
        notebook, timeout=300, allow_errors=True, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()  # fmt: skip
    cells = dict(zip(CELLS, notebook.cells, strict=True))
    assert not cells["start"]["outputs"]

    words, pictures = _shown(cells["no front end"])
    assert ": complete 40/40, entropy " in words
    assert pictures == 1
    state, drawn = _shown(cells["what it took"])[0].split()
    assert state == "complete"
    assert 1 <= int(drawn) <= 6

    words, _ = _shown(cells["interrupted"])
    assert "watching ended; the run goes on" in words
    assert words.endswith("True")

    # The cell ended while the run was in work, and what it shows was drawn by the next one.
    words, pictures = _shown(cells["front end"])
    assert "True" in words
    assert "complete 40/40" in words
    assert pictures == 1
    assert _shown(cells["waiting"])[0] == "complete"

    error = cells["failed"]["outputs"][-1]
    assert error["output_type"] == "error"
    assert error["ename"] == "RunFailed"
    assert len(error["traceback"]) == 1
    assert f"(log: {tmp_path}" in error["traceback"][0]
    assert error["traceback"][0].count("\n") == 0
