"""Jobs run in order of need, fail by name, and leave no children."""

import io
import os
import subprocess
import sys
import time

import pytest

from entropy_mech.runs.jobs import Job, JobsFailed, run_jobs
from entropy_mech.runs.launch import ensure_runs, training_jobs
from entropy_mech.runs.store import RunStore
from tests.conftest import KL_COV, tiny


def _job(tmp_path, name, code, needs=()):
    return Job(
        name=name,
        command=[sys.executable, "-c", code],
        log=tmp_path / f"{name}.log",
        needs=frozenset(needs),
        cost_s=0.1,
    )


def _append(tmp_path, text):
    return f"open({str(tmp_path / 'order')!r}, 'a').write({text!r})"


def test_needs_come_first_whatever_the_order_given(tmp_path):
    jobs = [
        _job(tmp_path, "c", _append(tmp_path, "c"), needs=["b"]),
        _job(tmp_path, "b", _append(tmp_path, "b"), needs=["a", "done long ago"]),
        _job(tmp_path, "a", _append(tmp_path, "a")),
    ]
    out = io.StringIO()
    run_jobs(jobs, workers=3, stream=out)
    assert (tmp_path / "order").read_text() == "abc"
    assert "3 of 3 jobs done" in out.getvalue()


def test_a_failure_names_its_job_and_stops_what_needs_it(tmp_path):
    jobs = [
        _job(tmp_path, "bad", "raise SystemExit('it broke')"),
        _job(tmp_path, "after", _append(tmp_path, "x"), needs=["bad"]),
        _job(tmp_path, "other", _append(tmp_path, "y")),
    ]
    with pytest.raises(JobsFailed) as caught:
        run_jobs(jobs, workers=1, stream=io.StringIO())
    assert "bad failed: it broke (log: " in str(caught.value)
    assert "after: not run, bad failed" in str(caught.value)
    assert caught.value.exit_code == 1
    assert (tmp_path / "order").read_text() == "y"


def test_each_success_is_told_as_it_happens(tmp_path):
    """As the runner needs it, whose gallery shows an item once it is made."""
    jobs = [
        _job(tmp_path, "a", "pass"),
        _job(tmp_path, "bad", "raise SystemExit(1)"),
        _job(tmp_path, "b", "pass", needs=["a"]),
    ]
    told = []
    with pytest.raises(JobsFailed):
        run_jobs(jobs, workers=1, stream=io.StringIO(), done=lambda job: told.append(job.name))
    assert told == ["a", "b"]


def test_an_interrupt_ends_the_children(tmp_path, monkeypatch):
    pid_file = tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    real_sleep, interrupts = time.sleep, []

    def interrupt_once_started(seconds):
        real_sleep(seconds)
        # Once: waiting for the child to end sleeps too, and is not to be interrupted.
        if not interrupts and pid_file.exists() and pid_file.read_text():
            interrupts.append(seconds)
            raise KeyboardInterrupt

    monkeypatch.setattr("entropy_mech.runs.jobs.time.sleep", interrupt_once_started)
    with pytest.raises(KeyboardInterrupt):
        run_jobs([_job(tmp_path, "long", code)], workers=1, stream=io.StringIO())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_runs_are_trained_once_with_their_base_model_first(tmp_path, capsys):
    store = RunStore(tmp_path)
    configs = [tiny(steps=2, seed=1), tiny(steps=2, loss=KL_COV), tiny(steps=2, seed=1)]
    jobs = training_jobs(configs, store)
    assert len(jobs) == 3  # one base model, two runs; the third is the first again
    assert jobs[0].name.startswith("base model")
    runs = ensure_runs(configs, store, workers=2)
    assert [len(run.metrics()) for run in runs] == [2, 2, 2]
    assert training_jobs(configs, store) == []
    assert "3 of 3 jobs done" in capsys.readouterr().out


def test_a_childs_own_words_reach_the_user(tmp_path):
    impossible = tiny(problems={"validation_counts": {1: 9999}})
    with pytest.raises(
        JobsFailed, match="held-out problems of this level could be found"
    ) as caught:
        ensure_runs([impossible], RunStore(tmp_path), workers=1)
    assert caught.value.exit_code == 2


_ONE_WARM_JOB = """
import sys
from pathlib import Path
from entropy_mech.runs.jobs import ForkedJob, Job

if __name__ == "__main__":
    command = [sys.executable, "-m", "platform"]
    job = ForkedJob(Job("warm", command, log=Path("warm.log"), cost_s=0.1, warm=True))
    sys.exit(job.wait())
"""


def test_the_fork_server_ends_without_a_word(tmp_path):
    # Libraries that it preloads complain, as it ends, of what it froze: triton where there is one.
    # Its end is waited for: it holds the other ends of these pipes.
    ended = subprocess.run(
        [sys.executable, "-c", _ONE_WARM_JOB], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert "Linux" in (tmp_path / "warm.log").read_text() or sys.platform != "linux"
