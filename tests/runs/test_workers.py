"""A fork of the fork server is a process of its own, and does what a fresh one does."""

import os
import signal
import subprocess
import sys
import time

import pytest

from entropy_mech.runs.jobs import Job, fork_is_safe, start
from entropy_mech.runs.store import RunStore
from tests.conftest import KL_COV, tiny

pytestmark = pytest.mark.skipif(not fork_is_safe(), reason="torch may not be forked here")


def _wait(process, limit_s=60.0):
    until = time.monotonic() + limit_s
    while process.poll() is None:
        assert time.monotonic() < until, "the job did not end"
        time.sleep(0.02)
    return process.returncode


def _code(tmp_path, name, code):
    """Return a warm job that executes a line of Python once."""
    command = [sys.executable, "-m", "timeit", "-n1", "-r1", code]
    return Job(name, command, tmp_path / f"{name}.log", warm=True)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _training(config, root, *, warm, flags=()):
    command = [sys.executable, "-m", "entropy_mech.train", "--store", str(root), *flags]
    return Job("run", command, root / "log.txt", stdin=config.model_dump_json(), warm=warm)


def test_a_fork_trains_as_a_fresh_process_to_the_last_bit(tmp_path):
    """Base model, reinforcement learning and validation: every byte of the metrics is the same."""
    config = tiny(steps=3, loss=KL_COV)
    written = {}
    for warm in (True, False):
        root = tmp_path / str(warm)
        root.mkdir()
        assert _wait(start(_training(config, root, warm=warm))) == 0
        run = RunStore(root).run(config)
        assert run.complete
        (weights,) = (root / "base_models").glob("*/model.safetensors")
        written[warm] = run.metrics_file.path.read_bytes(), weights.read_bytes()
    assert written[True] == written[False]
    assert written[True][0].count(b"\n") == 3


def test_each_fork_has_its_own_memory_log_and_exit_code(tmp_path):
    note = "import builtins; print('seen', hasattr(builtins, 'left_behind'))"
    jobs = {
        "leaves": _code(tmp_path, "leaves", f"{note}; builtins.left_behind = 1"),
        "looks": _code(tmp_path, "looks", note),
        "refuses": Job(
            "refuses",
            [sys.executable, "-m", "entropy_mech.train"],
            tmp_path / "refuses.log",
            warm=True,
        ),
        "raises": _code(tmp_path, "raises", "raise ValueError('broken')"),
        "dies": _code(tmp_path, "dies", "import os; os.kill(os.getpid(), 9)"),
        "survives": _code(tmp_path, "survives", "import time; time.sleep(0.3); print('there')"),
    }
    codes = {name: _wait(p) for name, p in {n: start(j) for n, j in jobs.items()}.items()}
    said = {name: job.log.read_text() for name, job in jobs.items()}
    assert codes == {"leaves": 0, "looks": 0, "refuses": 2, "raises": 1, "dies": -9, "survives": 0}
    assert said["leaves"].startswith("seen False")
    assert said["looks"].startswith("seen False")
    assert said["refuses"].endswith("the following arguments are required: --store\n")
    assert "ValueError: broken" in said["raises"]
    assert said["survives"].startswith("there")


BROKEN = """
import json, pathlib, sys, time
from entropy_mech.runs.jobs import Job, start

folder, source = pathlib.Path(sys.argv[1]), sys.argv[2]
order = {"source": "a.ipynb", "parameters": {}, "key": "k"}
order |= {"output": str(folder / "b.ipynb"), "stamp": str(folder / "stamp.json")}
notebook = [sys.executable, "-m", "entropy_mech.reproduction.notebook"]
other = [sys.executable, "-m", "timeit", "-n1", "-r1", "pass"]
jobs = [
    start(Job("notebook", notebook, folder / "n.log", stdin=json.dumps(order), warm=True)),
    start(Job("other", other, folder / "o.log", warm=True)),
]
print([job.wait() for job in jobs])
"""


def test_what_cannot_be_imported_fails_the_job_that_needs_it_alone(tmp_path):
    (tmp_path / "papermill.py").write_text("raise ImportError('a broken papermill')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, str(tmp_path), "a.ipynb"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "[1, 0]\n", done.stderr
    assert "a broken papermill" in (tmp_path / "n.log").read_text()


def test_one_thread_and_nothing_of_the_parents_main(tmp_path):
    code = "import sys, torch; print(torch.get_num_threads(), 'pytest' in sys.modules)"
    job = _code(tmp_path, "asks", code)
    assert _wait(start(job)) == 0
    assert job.log.read_text().startswith("1 False")


def test_the_death_of_the_parent_ends_the_forks(tmp_path):
    """``kill -9`` of who gave the orders: its forks end, and leave no lock behind."""
    tell = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    job = _code(tmp_path, "orphan", tell)
    parent = (
        "import pathlib, sys, time\n"
        "from entropy_mech.runs.jobs import Job, start\n"
        f"start(Job('orphan', {list(job.command)!r}, pathlib.Path({str(job.log)!r}), "
        "warm=True))\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    pid = _pid(job.log)
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(pid)


def test_terminate_ends_one_and_the_next_starts_after_the_death_of_the_server(tmp_path):
    tell = "import os, time; print(os.getppid(), os.getpid(), flush=True); time.sleep(60)"
    jobs = [_code(tmp_path, name, tell) for name in ("first", "second")]
    processes = [start(job) for job in jobs]
    pids = [_pid(job.log, word=1) for job in jobs]
    processes[0].terminate()
    assert _wait(processes[0]) == -signal.SIGTERM
    assert _alive(pids[1])
    os.kill(_pid(jobs[1].log), signal.SIGKILL)
    assert _wait(processes[1]) != 0  # nobody is left who could tell its end
    os.kill(pids[1], signal.SIGKILL)
    after = _code(tmp_path, "next", "print('there')")
    assert _wait(start(after)) == 0
    assert after.log.read_text().startswith("there")


def _pid(log, word=0):
    """Return a number that a job prints first."""
    until = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < until, "the job did not start"
        time.sleep(0.05)
    return int(log.read_text().split()[word])
