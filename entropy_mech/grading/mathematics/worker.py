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
from entropy_mech.grading.mathematics.algebra import same_algebra, same_in_prose
from entropy_mech.grading.mathematics.structure import Closeness, Comparison

MEMORY_GIB = 4
WARM_UP = (
    r"\frac{x+2}{7}", r"\frac{3\sqrt{5}-\pi}{4}", r"2^{n-1}(n+1)!", r"\binom{n}{2}", r"x^2-4x+3",
    r"-\frac{\sqrt[3]{7}}{2}", r"e^{-2t}\cos(3t)", r"\log_{2}5", r"y=2x", r"6-5i", r"2\pi/\omega",
)  # fmt: skip


def compare(job: dict) -> dict:
    """Compare each answer with each reference until one pair is the same."""
    closeness = Closeness(job["relative_tolerance"], job["absolute_tolerance"])
    comparison = Comparison(closeness, same_algebra)
    problem = ""
    for reference in job["references"]:
        for answer in job["answers"]:
            try:
                if comparison.same(answer, reference):
                    return {"same": True}
            except (MemoryError, RecursionError, Exception) as error:
                problem = f"{type(error).__name__}: {error}"[:200]
    for answer, reference in job["prose"]:
        try:
            if same_in_prose(answer, reference):
                return {"same": True}
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
        """The child's answer; None if it is late or has died."""
        frames.send(self.down, job)
        if not select.select([self.up], [], [], timeout_s)[0]:
            return {"late": True}
        return frames.receive(self.up)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.down)
        os.close(self.up)


def _answer_for_ever(down: int, up: int) -> int:
    try:
        limit = MEMORY_GIB << 30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        while (job := frames.receive(down)) is not None:
            frames.send(up, compare(job))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    control_in, control_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    for text in WARM_UP:  # parsers learn from what they read; every later child inherits it
        same_algebra(text, f"{text}+1")
    confine.landlock([sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64"], [os.devnull])
    gc.collect()
    gc.freeze()
    child = Algebra()
    frames.send(control_out, {"ready": True})
    while (job := frames.receive(control_in)) is not None:
        start_s = time.monotonic()
        try:
            answer = child.ask(job, job["timeout_s"])
        except (OSError, frames.FrameError):
            answer = None
        lost = answer is None or "late" in answer
        answer = answer or {"died": True}
        frames.send(control_out, {**answer, "seconds": time.monotonic() - start_s})
        if lost:  # after the answer, since giving back its memory may take a while
            child.kill()
            child = Algebra()


if __name__ == "__main__":
    main()
