"""Child processes over the cores there are: order, needs, progress, time left, failures."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from entropy_mech.errors import UserError, whole_number
from entropy_mech.runs.progress import ProgressLine
from entropy_mech.runs.schedule import Schedule
from entropy_mech.runs.workers import Job, WarmJob, Workers

__all__ = ["Job", "JobsFailed", "run_jobs"]

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

    A job that would otherwise be waited for at the end goes before its turn. A failed job stops
    those that need it, not the others. ``done`` is called with each job that succeeded. If this
    process is interrupted its children are ended; they go on from their checkpoints next time.

    Raises:
        JobsFailed: after everything else is done.

    """
    workers = whole_number("workers", workers, least=1)
    _Scheduler(jobs, workers, ProgressLine(stream or sys.stdout), done).run()


class _Scheduler:
    def __init__(self, jobs: Sequence[Job], workers: int, line: ProgressLine, tell):
        self.waiting, self.workers, self.line = list(jobs), workers, line
        self.tell: Callable[[Job], None] = tell
        self.schedule = Schedule(jobs, workers)
        self.processes = Workers()
        self.running: dict[Job, tuple[subprocess.Popen | WarmJob, float]] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.codes: set[int] = set()
        # What nobody here will run counts as done: it was done before.
        self.labels = {job.name: str(job) for job in jobs}
        self.finished_s = 0.0
        self.count = len(jobs)

    def run(self) -> None:
        try:
            while self.waiting or self.running:
                self._drop_blocked()
                self._start_ready()
                self._show()
                time.sleep(_POLL_S)
                self._collect()
        finally:
            self._end_children()
        self.line.close(f"{self.count - len(self.failed)} of {self.count} jobs done")
        if self.failed:
            raise JobsFailed("; ".join(self.failed.values()), self.codes)

    def _drop_blocked(self) -> None:
        for job in list(self.waiting):
            blockers = job.needs & self.failed.keys()
            if blockers:
                self.waiting.remove(job)
                because = sorted(self.labels[name] for name in blockers)[0]
                self.failed[job.name] = f"{job}: not run, {because} failed"

    def _start_ready(self) -> None:
        while len(self.running) < self.workers:
            ready = [job for job in self.waiting if job.needs & self.labels.keys() <= self.done]
            if not ready:
                return
            left_s = self.schedule.running_s(self._elapsed())
            job = self.schedule.choose(ready, self.waiting, left_s)
            self.waiting.remove(job)
            self.running[job] = (self.processes.start(job), time.monotonic())

    def _collect(self) -> None:
        for job, (process, started) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[job]
            seconds = time.monotonic() - started
            self.finished_s += seconds
            if process.returncode == 0:
                self.done.add(job.name)
                self.schedule.finished(job, seconds)
                self.tell(job)
            else:
                self.failed[job.name] = failure(job, process.returncode)
                self.codes.add(process.returncode)
                self.line.note(self.failed[job.name])

    def _elapsed(self) -> dict[Job, float]:
        now = time.monotonic()
        return {job: now - started for job, (_, started) in self.running.items()}

    def _show(self) -> None:
        if not self.line.due():
            return
        elapsed = self._elapsed()
        left_s, work_s = self.schedule.left_s(self.waiting, elapsed)
        done_s = self.finished_s + sum(elapsed.values())
        names = ", ".join(map(str, self.running)) or "nothing"
        what = f"{len(self.done)}/{self.count} done, now {names}"
        self.line.show(done_s / ((done_s + work_s) or 1.0), what, left_s)

    def _end_children(self) -> None:
        for process, _ in self.running.values():
            process.terminate()
        until = time.monotonic() + _TERMINATE_WAIT_S
        while time.monotonic() < until and self._alive():
            time.sleep(_POLL_S)
        for process in self._alive():
            process.kill()
        self.processes.close()

    def _alive(self) -> list[subprocess.Popen | WarmJob]:
        return [process for process, _ in self.running.values() if process.poll() is None]


def failure(job: Job, code: int) -> str:
    """Return one line: the job, its last words (or the signal that ended it), its log."""
    lines = job.log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {code}"
    if code < 0:  # whoever is killed says nothing of it
        last = f"ended by {signal.Signals(-code).name}"
    return f"{job} failed: {last} (log: {job.log})"
