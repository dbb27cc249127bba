"""The program that does the algebra: a warm process, and in it a pool of one that compares.

Started as a script by :mod:`entropy_mech.grading.maths`. It loads math-verify once (a second);
pebble ends a comparison that runs over its limit and forks the next process (some milliseconds).
It is a program of its own and no pool in the caller's process, so that whatever the caller is or
does - a thread, a notebook, a fork, an interpreter that hangs - ends in a verdict.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import sys
import threading
import time
from multiprocessing import get_context

from pebble import ProcessExpired, ProcessPool

from entropy_mech.grading.inside import confine, frames
from entropy_mech.grading.mathematics.algebra import found_in, same_algebra
from entropy_mech.grading.mathematics.structure import Closeness, Comparison

MEMORY_GIB = 4
OUR_FAULT = (OSError, ImportError)  # of a comparison: no answer can bring these about
WARM_UP = (
    r"\frac{x+2}{7}", r"\frac{3\sqrt{5}-\pi}{4}", r"2^{n-1}(n+1)!", r"\binom{n}{2}", r"x^2-4x+3",
    r"-\frac{\sqrt[3]{7}}{2}", r"e^{-2t}\cos(3t)", r"\log_{2}5", r"y=2x", r"6-5i", r"2\pi/\omega",
)  # fmt: skip


def compare(job: dict) -> dict:
    """Compare each answer, and what is found in a text, with each reference until two agree."""
    closeness = Closeness(job["relative_tolerance"], job["absolute_tolerance"])
    comparison = Comparison(closeness, same_algebra)
    answers, problems = list(job["answers"]), [""]

    def tried(function, *texts):
        try:
            return function(*texts)
        except OUR_FAULT:
            raise
        except Exception as error:
            problems.append(_in_a_line(error))

    try:
        for text in job["prose"]:
            answers += tried(found_in, text) or []
        for reference in job["references"]:
            if any(tried(comparison.same, answer, reference) for answer in answers):
                return {"same": True}
    except OUR_FAULT as error:
        return {"failed": _in_a_line(error)}
    return {"same": False, "problem": problems[-1]}


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


class Algebra:
    """A pool of one process, which pebble replaces when it is late or lost."""

    def __init__(self, *not_its_files: int):
        self._settings = {
            "initializer": _confine, "initargs": not_its_files, "context": get_context("fork"),
        }  # fmt: skip
        self._pool = ProcessPool(1, **self._settings)

    def ask(self, job: dict) -> dict:
        """The answer of ``compare``, whether it was late, or why there is none."""
        ends_s = time.monotonic() + job["timeout_s"]
        for last in (False, True):
            if not self._pool.active:
                self._pool.join()
                self._pool = ProcessPool(1, **self._settings)
            left_s = max(ends_s - time.monotonic(), 0.001)
            try:
                answer = self._pool.schedule(compare, args=[job], timeout=left_s).result()
                return whose_fault(answer, 0)
            except TimeoutError:
                return {"late": True}
            except (ProcessExpired, RuntimeError) as lost:  # the latter: before it began
                code = getattr(lost, "exitcode", -signal.SIGKILL)
                if last or code != -signal.SIGKILL:
                    return whose_fault(None, code)
        raise AssertionError("unreachable")


def memory_limit() -> tuple[int, int]:
    """The bytes that a comparison may take, and those that this machine grants it."""
    wanted, hard = MEMORY_GIB << 30, resource.getrlimit(resource.RLIMIT_AS)[1]
    return wanted, wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _confine(*not_its_files: int) -> None:
    """Begin the process that compares: it reads libraries only, in bounded memory."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends it at once; pebble's own handler waits
    own = [sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    confine.landlock([*own, *libraries, "/usr", "/lib", "/lib64"], [os.devnull])
    _, granted = memory_limit()
    resource.setrlimit(resource.RLIMIT_AS, (granted, granted))
    for descriptor in not_its_files:
        os.close(descriptor)


def whose_fault(answer: dict | None, code: int) -> dict:
    """Return the answer; where there is none, who ended it: the comparison or this machine.

    A process that ends by a signal of its own ran out of memory or of stack over what it compared.
    """
    if answer is None and code == -signal.SIGKILL:
        return {"failed": "the process that does the algebra was lost twice, killed from outside"}
    if answer is None and code >= 0:
        return {"failed": f"the process that does the algebra ended with {code}"}
    wanted, granted = memory_limit()
    starved = answer is None or answer.get("problem", "").startswith("MemoryError")
    if starved and granted < wanted:
        return {"failed": f"a comparison may take {MEMORY_GIB} GiB, and this machine grants a "
                f"process {granted / (1 << 30):.3g} (see ulimit -H -v)"}  # fmt: skip
    return {"died": f"signal {-code}"} if answer is None else answer


def _end_with_caller(control_in: int) -> None:
    """End this program, and what it compares just now, when its caller has died."""
    end = select.poll()
    end.register(control_in, 0)
    end.poll()
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    control_in, control_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    for text in WARM_UP:  # parsers learn from what they read; every later fork inherits it
        same_algebra(text, f"{text}+1")
    gc.collect()
    gc.freeze()
    algebra = Algebra(control_in, control_out)
    threading.Thread(target=_end_with_caller, args=[control_in], daemon=True).start()
    frames.send(control_out, {"ready": True})
    while (job := frames.receive(control_in)) is not None:
        frames.send(control_out, {"begun": True})
        frames.send(control_out, algebra.ask(job))


if __name__ == "__main__":
    main()
