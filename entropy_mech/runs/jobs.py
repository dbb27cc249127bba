"""Child processes over the cores there are: order, needs, progress, time left, failures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from entropy_mech.errors import UserError

_POLL_S = 0.2
_TERMINATE_WAIT_S = 10.0
_QUIET_LINE_EVERY_S = 15.0


@dataclass(frozen=True, eq=False)
class Job:
    """A command, what must be done before it, and how far it says it is.

    ``cost_s`` is a guess at its seconds, only for the progress line. ``fraction`` returns the
    share done while it runs.
    """

    name: str
    command: Sequence[str]
    log: Path
    stdin: str = ""
    needs: frozenset[str] = frozenset()
    cost_s: float = 10.0
    fraction: Callable[[], float] = field(default=lambda: 0.0, repr=False)


class JobsFailed(UserError):
    """Some jobs failed; the message says which and where their logs are.

    The exit code is theirs where it was unusable input (2), else 1.
    """

    def __init__(self, message: str, codes: set[int]):
        super().__init__(message)
        self.exit_code = 2 if codes == {2} else 1


def run_jobs(jobs: Sequence[Job], *, workers: int, stream: TextIO | None = None) -> None:
    """Run jobs in order of need, earlier ones first, ``workers`` at a time.

    A failed job stops those that need it, not the others. If this process is interrupted its
    children are ended; they go on from their checkpoints next time.

    Raises:
        JobsFailed: after everything else is done.

    """
    _Scheduler(jobs, workers, ProgressLine(stream or sys.stdout)).run()


class _Scheduler:
    def __init__(self, jobs: Sequence[Job], workers: int, line: ProgressLine):
        self.waiting, self.workers, self.line = list(jobs), workers, line
        self.total_s = sum(job.cost_s for job in jobs) or 1.0
        self.running: dict[Job, subprocess.Popen] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.codes: set[int] = set()
        # What nobody here will run counts as done: it was done before.
        self.ours = {job.name for job in jobs}
        self.finished_s = 0.0
        self.count = len(jobs)

    def run(self) -> None:
        try:
            while self.waiting or self.running:
                self._start_ready()
                time.sleep(_POLL_S)
                self._collect()
                self.line.show(self._fraction(), self._what())
        finally:
            self._end_children()
        self.line.close(f"{self.count - len(self.failed)} of {self.count} jobs done")
        if self.failed:
            raise JobsFailed("; ".join(self.failed.values()), self.codes)

    def _start_ready(self) -> None:
        for job in list(self.waiting):
            blockers = job.needs & self.failed.keys()
            if blockers:
                self.waiting.remove(job)
                self.failed[job.name] = f"{job.name}: not run, {sorted(blockers)[0]} failed"
            elif len(self.running) < self.workers and job.needs & self.ours <= self.done:
                self.waiting.remove(job)
                self.running[job] = _start(job)

    def _collect(self) -> None:
        for job, process in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[job]
            self.finished_s += job.cost_s
            if process.returncode == 0:
                self.done.add(job.name)
            else:
                self.failed[job.name] = _failure(job, process.returncode)
                self.codes.add(process.returncode)
                self.line.note(self.failed[job.name])

    def _fraction(self) -> float:
        part = sum(min(job.fraction(), 1.0) * job.cost_s for job in self.running)
        return (self.finished_s + part) / self.total_s

    def _what(self) -> str:
        names = ", ".join(job.name for job in self.running)
        return f"{len(self.done)}/{self.count} done, now {names}" if names else "starting"

    def _end_children(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(_TERMINATE_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(job: Job) -> subprocess.Popen:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    # One thread a child: as many children as cores share them evenly, and a run on one thread
    # repeats to the last bit.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with job.log.open("wb") as log:
        process = subprocess.Popen(
            job.command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
        )
    process.stdin.write(job.stdin.encode())
    process.stdin.close()
    return process


def _failure(job: Job, code: int) -> str:
    """One line: the job, its last words, its log."""
    lines = job.log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {code}"
    return f"{job.name} failed: {last} (log: {job.log})"


class ProgressLine:
    """One line with a bar and the time left; rewritten on a terminal, seldom repeated elsewhere."""

    def __init__(self, stream: TextIO):
        self.stream, self.live = stream, stream.isatty()
        self.started = self.last = time.monotonic()
        self.width = 0

    def show(self, fraction: float, what: str) -> None:
        """Show the share done and what is being done."""
        now = time.monotonic()
        if not self.live and now - self.last < _QUIET_LINE_EVERY_S:
            return
        self.last = now
        elapsed = now - self.started
        left = f"{_clock(elapsed * (1 - fraction) / fraction)} left" if fraction > 0.01 else ""
        filled = round(20 * min(fraction, 1.0))
        self._write(f"[{'#' * filled}{'.' * (20 - filled)}] {fraction:4.0%} {left}  {what}")

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._write(text, stay=True)

    def close(self, text: str) -> None:
        """End with a line that stays."""
        self.note(f"{text} in {_clock(time.monotonic() - self.started)}")

    def _write(self, text: str, *, stay: bool = False) -> None:
        if self.live:
            padded = text[:119].ljust(self.width) if not stay else text.ljust(self.width)
            self.stream.write("\r" + padded + ("\n" if stay else ""))
            self.width = 0 if stay else len(padded.rstrip())
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
