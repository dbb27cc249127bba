"""Child processes over the cores there are: order, dependencies, progress, time left, failures."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TextIO

from entropy_mech.config import TrainConfig
from entropy_mech.config.run import architecture_of
from entropy_mech.errors import UserError, whole_number
from entropy_mech.runs.store import Run, RunStore
from entropy_mech.runs.workers import ForkedJob, Job, start

# -- The order of jobs and the time left ---------------------------------------------------------

# Guesses count as much as this many measured seconds.
_PRIOR_S = 10.0
# Below this share done, what a job says of itself tells less of its speed than the guess does.
_TELLING_FRACTION = 0.1


class Schedule:
    """Jobs in their order, unless one is on the critical path and must start now.

    Guesses of ``cost_s`` are corrected by what finished jobs of the same kind took.
    """

    def __init__(self, jobs: Sequence[Job], workers: int):
        self.workers = workers
        self.dependents = defaultdict(list)
        for job in jobs:
            for need in job.needs:
                self.dependents[need].append(job)
        self.guessed: dict[str, float] = defaultdict(float)
        self.took: dict[str, float] = defaultdict(float)

    def finished(self, job: Job, seconds: float) -> None:
        """Take note of what a job took."""
        self.guessed[job.kind] += job.cost_s
        self.took[job.kind] += seconds

    def cost_s(self, job: Job) -> float:
        """Return the corrected guess at a job's seconds."""
        overall = (_PRIOR_S + sum(self.took.values())) / (_PRIOR_S + sum(self.guessed.values()))
        prior = _PRIOR_S * overall
        return job.cost_s * (
            (prior + self.took[job.kind]) / (_PRIOR_S + self.guessed[job.kind])
        )  # fmt: skip

    def choose(self, ready: Sequence[Job], waiting: Sequence[Job], running_s: float) -> Job:
        """Return the one of ``ready`` to start.

        That is the first, unless the longest chain that hangs on another would then outlast all
        the rest: with equal shares for the workers, it must start now.

        Args:
            ready: jobs that could start, in the order wanted.
            waiting: all that have not started.
            running_s: what is left of those that run, summed.

        """
        first = ready[0]
        tails = self._tails(waiting)
        longest = max(ready, key=lambda job: tails[job.name])
        share = (running_s + sum(map(self.cost_s, waiting))) / self.workers
        # Were the first taken, a worker would be free again after about its time.
        must = tails[longest.name] + self.cost_s(first) > share
        return longest if must else first

    def left_s(self, waiting: Sequence[Job], running: Mapping[Job, float]) -> tuple[float, float]:
        """Return the seconds on the clock, and of all workers together, that are still to come.

        Args:
            waiting: all that have not started.
            running: the seconds since each of the others started.

        """
        left = {job.name: self._left_of(job, elapsed) for job, elapsed in running.items()}
        tails = self._tails(waiting)
        behind = [
            seconds + max((tails[d.name] for d in self.dependents[name] if d.name in tails),
                          default=0.0)
            for name, seconds in left.items()
        ]  # fmt: skip
        work = sum(left.values()) + sum(map(self.cost_s, waiting))
        return max([work / self.workers, *behind, *tails.values()], default=0.0), work

    def running_s(self, running: Mapping[Job, float]) -> float:
        """Return what is left of the jobs that run, in seconds, summed."""
        return sum(self._left_of(job, elapsed) for job, elapsed in running.items())

    def _left_of(self, job: Job, elapsed: float) -> float:
        fraction = min(job.fraction(), 1.0)
        if fraction >= _TELLING_FRACTION:
            return elapsed * (1 - fraction) / fraction
        cost = self.cost_s(job)
        return max(cost - elapsed, 0.1 * cost)

    def _tails(self, waiting: Sequence[Job]) -> dict[str, float]:
        """Return for each job its seconds and those of the longest chain that needs it."""
        still = {job.name for job in waiting}
        tails: dict[str, float] = {}

        def tail(job: Job) -> float:
            if job.name not in tails:
                after = [tail(d) for d in self.dependents[job.name] if d.name in still]
                tails[job.name] = self.cost_s(job) + max(after, default=0.0)
            return tails[job.name]

        for job in waiting:
            tail(job)
        return tails


# -- Estimated job times, for order and time left alone ------------------------------------------
# What a run with another seed has taken is known; else the guess is from the configuration.
# Guesses are corrected while jobs finish (``Schedule``).

STARTUP_S = 0.5
# Of a model of no size at all, and for each 100,000 parameters of its body: seconds of a supervised
# step of 64 demonstrations; of what a rollout of 256 responses costs whatever the updates; and of
# one update on it. Of the size of what was measured on one core of a shared machine.
_BASE_STEP_S = (0.012, 0.016)
_SAMPLING_S = (0.05, 0.08)
_UPDATE_S = (0.01, 0.012)
_CODE_FACTOR = 1.4  # programs are run
_PRIME_FACTOR = 1.6  # a second model learns
_EVALUATION_S = 6.0
_SEEDS_LOOKED_AT = 5


def base_model_s(config: TrainConfig) -> float:
    """Return the seconds of the supervised stage that makes a base model."""
    base, instruct = config.base, config.base.instruct
    steps = instruct.steps if instruct else base.steps + base.noisy_steps
    return STARTUP_S + steps * _by_size(config, _BASE_STEP_S) * config.base.batch_size / 64


def run_s(run: Run, store: RunStore) -> float:
    """Return the seconds of a whole run, as another seed's have been or by its configuration."""
    config = run.config
    for seed in range(1, _SEEDS_LOOKED_AT + 1):
        told = store.run(config.model_copy(update={"seed": seed})).manifest()
        if told.get("steps") and "wall_time_s" in told and "imported" not in told:
            return config.steps * told["wall_time_s"] / told["steps"]
    responses = config.rollout.prompts * config.rollout.responses
    updates = config.update.updates_per_rollout
    rollout_s = _by_size(config, _SAMPLING_S) + updates * _by_size(config, _UPDATE_S)
    factor = responses / 256
    factor *= _PRIME_FACTOR if config.algorithm.name == "prime" else 1.0
    factor *= _CODE_FACTOR if getattr(config.problems, "domain", "") == "code" else 1.0
    return config.steps * rollout_s * factor


def evaluation_s(config: TrainConfig, group: str) -> float:
    """Return the seconds of measuring a policy on a group of benchmarks."""
    return STARTUP_S + _EVALUATION_S


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
            padded = text[:119].ljust(self.width) if not stay else text.ljust(self.width)
            self.stream.write("\r" + padded + ("\n" if stay else ""))
            self.width = 0 if stay else len(padded.rstrip())
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Return a duration in minutes and seconds.

    >>> clock(59.6), clock(7.2)
    ('1 min 00 s', '7 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# -- Jobs ----------------------------------------------------------------------------------------

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
        # A need that is no job here was met before.
        names = {job.name for job in jobs}
        self.order = TopologicalSorter({job.name: job.needs & names for job in jobs})
        self.order.prepare()
        self.ready: set[str] = set()
        self.running: dict[Job, tuple[subprocess.Popen | ForkedJob, float]] = {}
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.codes: set[int] = set()
        self.finished_s = 0.0
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
            ready = [job for job in self.waiting if job.name in self.ready]
            if not ready:
                return
            left_s = self.schedule.running_s(self._elapsed())
            job = self.schedule.choose(ready, self.waiting, left_s)
            self.waiting.remove(job)
            self.running[job] = (start(job), time.monotonic())

    def _collect(self) -> None:
        for job, (process, started) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[job]
            seconds = time.monotonic() - started
            self.finished_s += seconds
            if process.returncode == 0:
                self.done.add(job.name)
                self.order.done(job.name)
                self.schedule.finished(job, seconds)
                self.tell(job)
            else:
                self._fail(job, failure(job, process.returncode))
                self.codes.add(process.returncode)
                self.line.note(self.failed[job.name])

    def _fail(self, job: Job, why: str) -> None:
        """Note a failure, and that of all jobs that need this one."""
        self.failed[job.name] = why
        for dependent in self.schedule.dependents[job.name]:
            if dependent in self.waiting:
                self.waiting.remove(dependent)
                self._fail(dependent, f"{dependent}: not run, {job} failed")

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

    def _alive(self) -> list[subprocess.Popen | ForkedJob]:
        return [process for process, _ in self.running.values() if process.poll() is None]


def failure(job: Job, code: int) -> str:
    """Return one line: the job, its last words (or the signal that ended it), its log."""
    lines = job.log.read_text(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {code}"
    if code < 0:  # whoever is killed says nothing of it
        last = f"ended by {signal.Signals(-code).name}"
    return f"{job} failed: {last} (log: {job.log})"
