"""The process that does the algebra: a warm parent that forks, feeds and kills one child.

Started as a script by :mod:`entropy_mech.grading.maths`. The parent loads math-verify once (a
second); when a comparison runs over its limit the child is killed and forked again (some
milliseconds), and the answer is ``timeout``. No signals and no threads: nothing here depends
on where the caller's own code runs.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import sys
import time
import traceback

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
    problem, answers = "", list(job["answers"])
    for text in job["prose"]:
        try:
            answers += found_in(text)
        except OUR_FAULT:
            raise
        except (MemoryError, RecursionError, Exception) as error:
            problem = f"{type(error).__name__}: {error}"[:200]
    for reference in job["references"]:
        for answer in answers:
            try:
                if comparison.same(answer, reference):
                    return {"same": True}
            except OUR_FAULT:
                raise
            except (MemoryError, RecursionError, Exception) as error:
                problem = f"{type(error).__name__}: {error}"[:200]
    return {"same": False, "problem": problem}


class Algebra:
    """The child and the two pipes to it."""

    def __init__(self):
        down_read, self.down = os.pipe()
        self.up, up_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.down)
            os.close(self.up)
            os._exit(_answer_for_ever(down_read, up_write))
        os.close(down_read)
        os.close(up_write)

    def ask(self, job: dict, timeout_s: float) -> dict | None:
        """The child's answer; None if it has died."""
        try:
            frames.send(self.down, job)
            if not select.select([self.up], [], [], max(0.0, timeout_s))[0]:
                return {"late": True}
            return frames.receive(self.up)
        except (BrokenPipeError, frames.FrameError):
            return None

    def kill(self) -> int:
        """End the child; return its exit code, negative for a signal."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        os.close(self.down)
        os.close(self.up)
        return os.waitstatus_to_exitcode(status)


def memory_limit() -> tuple[int, int]:
    """The bytes that a comparison may take, and those that this machine grants it."""
    wanted, hard = MEMORY_GIB << 30, resource.getrlimit(resource.RLIMIT_AS)[1]
    return wanted, wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _answer_for_ever(down: int, up: int) -> int:
    """Be the child: compare until the pipe closes, in bounded memory."""
    try:
        _, granted = memory_limit()
        resource.setrlimit(resource.RLIMIT_AS, (granted, granted))
        while (job := frames.receive(down)) is not None:
            try:
                answer = compare(job)
            except OUR_FAULT as error:
                answer = {"failed": f"{type(error).__name__}: {error}"[:200]}
            frames.send(up, answer)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def whose_fault(answer: dict | None, code: int) -> dict:
    """Return the answer; where the child died (None), by what: the comparison or this machine.

    One that ends by a signal of its own ran out of memory or of stack over what it compared.
    """
    if answer is None and code == -signal.SIGKILL:
        return {"failed": "the process that does the algebra was killed from outside, twice"}
    if answer is None and code >= 0:
        return {"failed": f"the process that does the algebra ended with {code}"}
    wanted, granted = memory_limit()
    starved = answer is None or answer.get("problem", "").startswith("MemoryError")
    if starved and granted < wanted:
        return {"failed": f"a comparison may take {MEMORY_GIB} GiB, and this machine grants a "
                f"process {granted / (1 << 30):.3g} (see ulimit -H -v)"}  # fmt: skip
    return {"died": f"signal {-code}"} if answer is None else answer


def main() -> None:
    control_in, control_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    for text in WARM_UP:  # parsers learn from what they read; every later child inherits it
        same_algebra(text, f"{text}+1")
    own = [sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    confine.landlock([*own, *libraries, "/usr", "/lib", "/lib64"], [os.devnull])
    gc.collect()
    gc.freeze()
    child = Algebra()
    frames.send(control_out, {"ready": True})
    while (job := frames.receive(control_in)) is not None:
        frames.send(control_out, {"begun": True})
        start_s = time.monotonic()
        answer, code = child.ask(job, job["timeout_s"]), 0
        if answer is None:
            code, child = child.kill(), Algebra()
            if code == -signal.SIGKILL:  # nothing is known about the answer: once more
                answer = child.ask(job, start_s + job["timeout_s"] - time.monotonic())
                if answer is None:
                    code, child = child.kill(), Algebra()
        frames.send(control_out, whose_fault(answer, code))
        if answer is not None and "late" in answer:
            child.kill()  # after the answer, since giving back its memory may take a while
            child = Algebra()


if __name__ == "__main__":
    main()
