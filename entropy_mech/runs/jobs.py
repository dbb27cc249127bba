"""Jobs: child processes over the cores there are, in order of need; their progress and failures.

A fresh Python spends seconds on imports, a fork of the standard library's fork server none; a job
of a few seconds is then mostly the job. The forks have nothing in common but what was imported: no
thread, no open file, no model.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import TextIO
from unittest import mock

from entropy_mech.config import TrainConfig
from entropy_mech.config.run import architecture_of
from entropy_mech.errors import UserError, whole_number
from entropy_mech.hub import QUIET

# -- A job and its process -----------------------------------------------------------------------

# What the environment of a job has, warm or fresh. One thread: children share the cores evenly, a
# run repeats to the last bit, and the warm process has no thread that its forks would lose.
JOB_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    **QUIET,
    # glibc gives large tensors back to the system and faults their pages in again at every use:
    # a tenth of a toy run's time. Other allocators do not read these.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}

_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, eq=False)
class Job:
    """A command, what must be done before it, and how far it says it is.

    Attributes:
        name: names it among the jobs; ``needs`` holds such names.
        command: what to execute.
        log: gets its output.
        label: what people read; the name if empty.
        stdin: what it reads.
        warm: whether a fork of the fork server may stand for it: then ``command`` is
            ``python -m MODULE ARGUMENTS`` of this interpreter, and imports torch.
        kind: jobs of one kind err alike in ``cost_s``.
        cost_s: a guess at its seconds, for the order and the time left.
        fraction: returns the share done while it runs.

    """

    name: str
    command: Sequence[str]
    log: Path
    label: str = ""
    stdin: str = ""
    needs: frozenset[str] = frozenset()
    warm: bool = False
    kind: str = ""
    cost_s: float = 10.0
    fraction: Callable[[], float] = field(default=lambda: 0.0, repr=False)

    def __str__(self) -> str:
        return self.label or self.name


def fork_is_safe() -> bool:
    """Return whether a process that has loaded torch may fork: on Linux, not on macOS."""
    return sys.platform == "linux"


def start(job: Job) -> subprocess.Popen | ForkedJob:
    """Start a job; its process has ``poll``, ``terminate``, ``kill`` and ``wait``."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    return ForkedJob(job) if job.warm and fork_is_safe() else start_fresh(job)


def start_fresh(job: Job, *, own_session: bool = False) -> subprocess.Popen:
    """Start a job in a process of its own.

    ``own_session`` True takes it out of this process's group and session: an interrupt here and
    the end of this process do not reach it.
    """
    with job.log.open("wb") as log:
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **JOB_ENVIRONMENT},
            start_new_session=own_session,
        )
    with contextlib.suppress(BrokenPipeError):  # it ended before reading: its exit code says why
        process.stdin.write(job.stdin.encode())
        process.stdin.close()
    return process


class ForkedJob(_CONTEXT.Process):
    """A job in a fork of the fork server, handled as a ``subprocess.Popen`` is."""

    def __init__(self, job: Job):
        _, _, module, *arguments = job.command
        job.log.write_bytes(b"")
        super().__init__(
            target=_run_job,
            args=(module, list(map(str, arguments)), job.stdin, str(job.log.resolve())),
        )
        _CONTEXT.set_forkserver_preload(["entropy_mech.runs.preload"])
        # The server's own, and so that of its forks.
        with mock.patch.dict(os.environ, JOB_ENVIRONMENT):
            forkserver.ensure_running()
        # Multiprocessing would import the caller's script again in the fork.
        with mock.patch.dict(sys.modules, {"__main__": types.ModuleType("__main__")}):
            self.start()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; a signal's number is negative."""
        return self.exitcode

    returncode = property(poll)

    def wait(self) -> int | None:
        """Wait for its end and return the exit code."""
        self.join()
        return self.exitcode


def _run_job(module: str, arguments: list[str], stdin: str, log: str) -> None:
    """Be ``python -m MODULE ARGUMENTS``: its files, its arguments; multiprocessing exits as it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(os.devnull, "rb") as nothing, open(log, "wb") as output:
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source.fileno(), target)
    sys.stdin = io.StringIO(stdin)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


def _end_with_parent() -> None:
    """End this process when its parent has died; runs resume from their checkpoints."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


# -- The time left -------------------------------------------------------------------------------

# Weight of the guesses, in measured seconds.
_PRIOR_S = 10.0
# Below this fraction done, a job's own progress predicts its time worse than the guess.
_TELLING_FRACTION = 0.1


class TimeLeft:
    """Guesses of ``cost_s``, corrected by what finished jobs of the same kind took."""

    def __init__(self, workers: int):
        self.workers = workers
        self.guessed: dict[str, float] = defaultdict(float)
        self.took: dict[str, float] = defaultdict(float)

    def finished(self, job: Job, seconds: float) -> None:
        """Take note of what a job took."""
        self.guessed[job.kind] += job.cost_s
        self.took[job.kind] += seconds

    def cost_s(self, job: Job) -> float:
        """Return the corrected guess at a job's seconds."""
        overall = (_PRIOR_S + sum(self.took.values())) / (_PRIOR_S + sum(self.guessed.values()))
        took, guessed = self.took[job.kind], self.guessed[job.kind]
        return job.cost_s * (_PRIOR_S * overall + took) / (_PRIOR_S + guessed)

    def left_s(self, waiting: Sequence[Job], running: Mapping[Job, float]) -> tuple[float, float]:
        """Return the seconds on the clock, and of all workers together, that are still to come.

        Args:
            waiting: all that have not started.
            running: the seconds since each of the others started.

        """
        lefts = [self._left_of(job, elapsed) for job, elapsed in running.items()]
        work = sum(lefts) + sum(map(self.cost_s, waiting))
        return max([work / self.workers, *lefts]), work

    def _left_of(self, job: Job, elapsed: float) -> float:
        fraction = min(job.fraction(), 1.0)
        if fraction >= _TELLING_FRACTION:
            return elapsed * (1 - fraction) / fraction
        cost = self.cost_s(job)
        return max(cost - elapsed, 0.1 * cost)


# -- Estimated job times, for order and time left alone ------------------------------------------
# Guesses from the configuration, corrected while jobs finish (``TimeLeft``).

STARTUP_S = 0.5
# Seconds on one core, measured: a constant, and what each 100,000 parameters of the body add. Of a
# supervised step on 64 demonstrations, and of a rollout of 256 responses with its updates.
_BASE_STEP_S = (0.012, 0.016)
_ROLLOUT_S = (0.13, 0.18)


def base_model_s(config: TrainConfig) -> float:
    """Return the seconds of the supervised stage that makes a base model."""
    base, alone = config.base, config.base.form or config.base.instruct
    steps = alone.steps if alone else base.steps + base.noisy_steps
    return STARTUP_S + steps * _by_size(config, _BASE_STEP_S) * config.base.batch_size / 64


def rollout_s(config: TrainConfig) -> float:
    """Return the seconds of one rollout and its updates."""
    responses = config.rollout.prompts * config.rollout.responses
    return _by_size(config, _ROLLOUT_S) * responses / 256


def _by_size(config: TrainConfig, seconds: tuple[float, float]) -> float:
    shape = architecture_of(config)
    return seconds[0] + seconds[1] * (shape.body_parameters if shape else 0) / 1e5


# -- The progress line ---------------------------------------------------------------------------

_LIVE_LINE_EVERY_S = 0.2
_QUIET_LINE_EVERY_S = 15.0


class ProgressLine:
    """One line with a bar and the time left; rewritten on a terminal, seldom repeated elsewhere."""

    def __init__(self, stream: TextIO):
        self.stream, self.live = stream, stream.isatty()
        self.started = self.last = time.monotonic()
        self.width = 0

    def due(self) -> bool:
        """Return whether ``show`` would write: there is no need to work out what, otherwise."""
        every = _LIVE_LINE_EVERY_S if self.live else _QUIET_LINE_EVERY_S
        return time.monotonic() - self.last >= every

    def show(self, fraction: float, what: str, left_s: float | None = None) -> None:
        """Show the share done, what is being done, and the time left.

        ``left_s`` None takes the time left from the share done so far and the time it took.
        """
        if not self.due():
            return
        self.last = now = time.monotonic()
        if left_s is None and fraction > 0.01:
            left_s = (now - self.started) * (1 - fraction) / fraction
        left = "" if left_s is None else f"{clock(left_s)} left"
        filled = round(20 * min(fraction, 1.0))
        self._write(f"[{'#' * filled}{'.' * (20 - filled)}] {fraction:4.0%} {left}  {what}")

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._write(text, stay=True)

    def close(self, text: str) -> None:
        """End with a line that stays."""
        self.note(f"{text} in {clock(time.monotonic() - self.started)}")

    def _write(self, text: str, *, stay: bool = False) -> None:
        if self.live:
            shown = text if stay else text[:119]
            self.stream.write("\r" + shown.ljust(self.width) + ("\n" if stay else ""))
            self.width = 0 if stay else len(shown)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Return a duration in hours and minutes, or in minutes and seconds.

    >>> clock(59.6), clock(7.2), clock(60 * 60 * 124 + 600)
    ('1 min 00 s', '7 s', '124 h 10 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# -- Jobs ----------------------------------------------------------------------------------------

_POLL_S = 0.1
_TERMINATE_WAIT_S = 10.0


class JobsFailed(UserError):
    """Some jobs failed; the message says which and where their logs are.

    The exit code is theirs where it was unusable input (2), else 1.
    """

    def __init__(self, message: str, codes: set[int]):
        super().__init__(message)
        self.exit_code = 2 if codes == {2} else 1


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    stream: TextIO | None = None,
    done: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run jobs in order of need, earlier ones first, ``workers`` at a time.

    A failed job stops those that need it, not the others. ``done`` is called with each job that
    succeeded. If this process is interrupted its children are ended; they go on from their
    checkpoints next time.

    Raises:
        JobsFailed: after everything else is done.

    """
    workers = whole_number("workers", workers, least=1)
    _Scheduler(jobs, workers, ProgressLine(stream or sys.stdout), done).run()


class _Scheduler:
    def __init__(
        self, jobs: Sequence[Job], workers: int, line: ProgressLine, tell: Callable[[Job], None]
    ):
        self.waiting, self.workers, self.line, self.tell = list(jobs), workers, line, tell
        self.times = TimeLeft(workers)
        # A need that is no job here was met before.
        names = {job.name for job in jobs}
        self.order = TopologicalSorter({job.name: job.needs & names for job in jobs})
        self.order.prepare()
        self.ready: set[str] = set()
        self.running: dict[Job, tuple[subprocess.Popen | ForkedJob, float]] = {}
        self.failed: dict[str, str] = {}
        self.codes: set[int] = set()
        self.count = len(jobs)

    def run(self) -> None:
        try:
            while self.waiting or self.running:
                self._start_ready()
                self._show()
                time.sleep(_POLL_S)
                self._collect()
        finally:
            self._end_children()
        self.line.close(f"{self.count - len(self.failed)} of {self.count} jobs done")
        if self.failed:
            raise JobsFailed("; ".join(self.failed.values()), self.codes)

    def _start_ready(self) -> None:
        self.ready.update(self.order.get_ready())
        while len(self.running) < self.workers:
            job = next((job for job in self.waiting if job.name in self.ready), None)
            if job is None:
                return
            self.waiting.remove(job)
            self.running[job] = (start(job), time.monotonic())

    def _collect(self) -> None:
        for job, (process, started) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[job]
            if process.returncode == 0:
                self.order.done(job.name)
                self.times.finished(job, time.monotonic() - started)
                self.tell(job)
            else:
                self._fail(job, failure(job, process.returncode))
                self.codes.add(process.returncode)
                self.line.note(self.failed[job.name])

    def _fail(self, job: Job, why: str) -> None:
        """Note a failure, and that of all jobs that need this one."""
        self.failed[job.name] = why
        for dependent in [other for other in self.waiting if job.name in other.needs]:
            if dependent in self.waiting:
                self.waiting.remove(dependent)
                self._fail(dependent, f"{dependent}: not run, {job} failed")

    def _show(self) -> None:
        if not self.line.due():
            return
        now = time.monotonic()
        elapsed = {job: now - started for job, (_, started) in self.running.items()}
        left_s, work_s = self.times.left_s(self.waiting, elapsed)
        done_s = sum(self.times.took.values()) + sum(elapsed.values())
        names = ", ".join(map(str, self.running)) or "nothing"
        done = self.count - len(self.waiting) - len(self.running) - len(self.failed)
        what = f"{done}/{self.count} done, now {names}"
        self.line.show(done_s / ((done_s + work_s) or 1.0), what, left_s)

    def _end_children(self) -> None:
        for process, _ in self.running.values():
            process.terminate()
        until = time.monotonic() + _TERMINATE_WAIT_S
        while time.monotonic() < until and self._alive():
            time.sleep(_POLL_S)
        for process in self._alive():
            process.kill()

    def _alive(self) -> list[subprocess.Popen | ForkedJob]:
        return [process for process, _ in self.running.values() if process.poll() is None]


def failure(job: Job, code: int) -> str:
    """Return one line: the job, its last log line (or the signal that ended it), its log."""
    lines = job.log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {code}"
    if code < 0:  # a killed process logs nothing
        last = f"ended by {signal.Signals(-code).name}"
    return f"{job} failed: {last} (log: {job.log})"
