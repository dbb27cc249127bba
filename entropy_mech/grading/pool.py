"""Grade lists in order on several workers, count the verdicts, and cry out when graders fail."""

from __future__ import annotations

import atexit
import collections
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from entropy_mech.errors import UserError, bad_value
from entropy_mech.grading.code import grade_program
from entropy_mech.grading.maths import MathRules, MathWorker, grade_answer
from entropy_mech.grading.process import ChildGone, ChildTimeout, GraderFailed
from entropy_mech.grading.sandbox import Limits, Sandbox
from entropy_mech.grading.verdict import ERROR_LIMIT_FRACTION, VERDICT_NAMES, ErrorAlarm, Verdict


class _Worker:
    """One warm maths process and one sandbox, each started when first needed."""

    def __init__(self, sandbox_mode: str):
        self.maths = MathWorker()
        self.sandbox = Sandbox(sandbox_mode)

    def close(self) -> None:
        self.maths.close()
        self.sandbox.close()


class GradingPool:
    r"""``workers`` warm graders that are killed and replaced when a grade runs over its limit.

    Verdicts come back in the order asked. Any thread may call any method, a notebook too: the
    workers are separate programs, nothing is forked from or imported into the caller. ``counts``
    holds how many verdicts of each name were given. When the share of ``error`` among the last
    ``alarm_window`` verdicts (all, while there are fewer, but at least 20, or 5 that all are) is
    above ``error_limit_fraction``, the call that saw it raises :class:`GraderAlarm`.

    >>> with GradingPool(workers=1) as pool:
    ...     [v.name for v in pool.grade_math_many([(r"So \boxed{7}.", "7"), ("no idea", "7")])]
    ['correct', 'no_answer']
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        sandbox_mode: str = "auto",
        error_limit_fraction: float = ERROR_LIMIT_FRACTION,
        alarm_window: int = 1000,
    ):
        if workers is None:
            workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        if not (isinstance(workers, int) and workers >= 1):
            raise bad_value("workers", workers, "give a whole number of at least 1")
        self.workers, self._sandbox_mode = workers, sandbox_mode
        self.error_limit_fraction = error_limit_fraction
        self.counts: collections.Counter[str] = collections.Counter(dict.fromkeys(VERDICT_NAMES, 0))
        self._alarm_window = alarm_window
        self._closed = False
        self._owner = 0
        self._hire()

    def _hire(self) -> None:
        """Take on workers; anew after a fork, where workers and locks are the parent's."""
        if self._owner == os.getpid():
            return
        self._owner = os.getpid()
        self._alarm = ErrorAlarm(self.error_limit_fraction, self._alarm_window)
        self._all = [_Worker(self._sandbox_mode) for _ in range(self.workers)]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._free.put(worker)
        self._lock = threading.Lock()

    # -- one at a time ------------------------------------------------------------------------
    def grade_math(
        self, response: str, reference: str | Sequence[str], *, timeout_s: float = 5.0, **rules
    ) -> Verdict:
        """Grade one response to a maths problem; see :func:`entropy_mech.grading.grade_math`."""
        return self.grade_math_many([(response, reference)], timeout_s=timeout_s, **rules)[0]

    def grade_code(self, program: str, tests, *, timeout_s: float = 10.0, **limits) -> Verdict:
        """Grade one program; see :func:`entropy_mech.grading.grade_code`."""
        return self.grade_code_many([(program, tests)], timeout_s=timeout_s, **limits)[0]

    # -- lists --------------------------------------------------------------------------------
    def grade_math_many(
        self, pairs: Iterable[tuple[str, str | Sequence[str]]], *, timeout_s: float = 5.0, **rules
    ) -> list[Verdict]:
        """Grade (response, reference) pairs; ``timeout_s`` is for each pair."""
        settings = MathRules(timeout_s=timeout_s, **rules)
        return self._grade(pairs, lambda pair, by: grade_answer(*pair, settings, by.maths))

    def grade_code_many(
        self, pairs: Iterable[tuple[str, object]], *, timeout_s: float = 10.0, **limits
    ) -> list[Verdict]:
        """Grade (program, tests) pairs; ``timeout_s`` is for all tests of one program."""
        settings = Limits(timeout_s=timeout_s, **limits)
        return self._grade(pairs, lambda pair, by: grade_program(*pair, by.sandbox, settings))

    def run_program(self, program: str, *, timeout_s: float = 10.0, **limits) -> dict:
        """Run a script in a sandbox, with nothing to read, and return how it ended.

        Keys: ended (exit, timeout, output, or gone: there was no sandbox, or none was left), exit,
        stdout, stderr.
        """
        settings = Limits(timeout_s=timeout_s, **limits)
        nothing = {"exit": -1, "stdout": "", "stderr": ""}
        self._hire()
        with self._borrowed() as worker:
            try:
                return worker.sandbox.run_stdin(program, [""], settings)["cases"][0]
            except ChildTimeout:
                return {"ended": "timeout", **nothing}
            except (ChildGone, GraderFailed):
                return {"ended": "gone", **nothing}

    def _grade(self, pairs: Iterable, grade: Callable[[tuple, _Worker], Verdict]) -> list[Verdict]:
        self._hire()
        pairs = list(pairs)

        def work(pair: tuple) -> Verdict:
            with self._borrowed() as worker:  # anew for each, so that callers take turns
                return _judged(grade, pair, worker)

        if self.workers == 1 or len(pairs) <= 1:
            verdicts = list(map(work, pairs))
        else:
            with ThreadPoolExecutor(self.workers, thread_name_prefix="grading") as executor:
                verdicts = list(executor.map(work, pairs))
        with self._lock:
            self.counts.update(v.name for v in verdicts)
        self._alarm.watch(verdicts)
        return verdicts

    @contextmanager
    def _borrowed(self):
        worker = None
        while worker is None:  # every holder gives it back within its limit
            if self._closed:
                raise RuntimeError("this grading pool was closed")
            with suppress(queue.Empty):
                worker = self._free.get(timeout=1.0)
        try:
            yield worker
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all workers; grades still under way end as errors of their callers."""
        self._closed = True
        for worker in self._all:
            worker.close()

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(self, *_error) -> None:
        self.close()


def _judged(grade: Callable[[tuple, _Worker], Verdict], pair: tuple, worker: _Worker) -> Verdict:
    """Grade; a fault of the grader's own code is an ``error`` too, counted like all others."""
    try:
        return grade(pair, worker)
    except UserError:
        raise
    except Exception as error:
        return Verdict("error", f"the grader itself failed: {type(error).__name__}: {error}"[:500])


_default: GradingPool | None = None


def default_pool() -> GradingPool:
    """The pool behind ``grade_math`` and ``grade_code``: made on first use."""
    global _default
    if _default is None:  # two threads at once may make two, of which one starts no worker
        _default = GradingPool(error_limit_fraction=1.0)
        atexit.register(_default.close)
    return _default
