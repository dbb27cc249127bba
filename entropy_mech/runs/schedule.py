"""Which job to start next, and how long all of them will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from entropy_mech.runs.workers import Job

# Guesses count as much as this many measured seconds.
_PRIOR_S = 10.0
# Below this share done, what a job says of itself tells less of its speed than the guess does.
_TELLING_FRACTION = 0.1


class Schedule:
    """Jobs in their order, unless one must start now lest everybody wait for it at the end.

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
