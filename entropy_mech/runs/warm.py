"""Forks of one process that has read what its jobs need, torch and transformers above all.

A fresh Python spends seconds on their import, a fork of a warm one none; a run of a few seconds is
then mostly the run. ``python -m entropy_mech.runs.warm`` is the warm process: it takes one JSON
order a line (``{"id", "module", "arguments", "stdin", "log"}`` or ``{"id", "signal"}``), forks a
child a job, which runs ``python -m MODULE ARGUMENTS`` as a fresh interpreter would, and says
``{"id", "code"}`` when it has ended. The forks hold nothing in common but what was imported: no
thread, no open file, no model. When the orders end, because their writer closed them or died, it
ends its children and itself; runs go on from their checkpoints next time.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import runpy
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

# What the environment of a job has, warm or fresh. One thread: children share the cores evenly, a
# run repeats to the last bit, and the warm process has no thread that its forks would lose.
JOB_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # glibc gives large tensors back to the system and faults their pages in again at every use:
    # a tenth of a toy run's time. Other allocators do not read these.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}

# What a kind of job imports, by its module; read before the first job of its kind.
_TRAINING = (
    "entropy_mech.train.loop",
    "entropy_mech.train.pretrain",
    "entropy_mech.evaluation.suite",
)
_NEEDS = {"entropy_mech.reproduction.notebook": ("entropy_mech.reproduction.executors",)}
# Lazy in transformers: naming them imports them.
_CLASSES = ("Qwen2ForCausalLM", "MistralForCausalLM", "LlamaForCausalLM", "AutoModelForCausalLM",
            "AutoTokenizer", "PreTrainedTokenizerFast")  # fmt: skip
_END_WAIT_S = 10.0


def fork_is_safe() -> bool:
    """Return whether a process that has loaded torch may fork: on Linux, not on macOS."""
    return sys.platform == "linux"


def main() -> int:
    """Serve orders from standard input until it ends; needs ``JOB_ENVIRONMENT``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's, which ends us
    # Once there are children the end of the orders ends them, and no signal before it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = _Server()
    order = server.serve()
    if order is not None:
        _end(_run_job(order))
    return 0


class _Server:
    """The children, and the pipe that wakes the loop when one ends."""

    def __init__(self) -> None:
        self.children: dict[int, int] = {}  # process id by job
        self.wake, write_end = os.pipe()
        for end in (self.wake, write_end):
            os.set_blocking(end, False)
        self.write_end = write_end
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def serve(self) -> dict | None:
        """Return None at the end of the orders; in a forked child, the order that it is for."""
        try:
            for line in self._lines():
                order = json.loads(line)
                if "signal" in order:
                    self._signal(order["id"], order["signal"])
                    continue
                self._import_needs(_NEEDS.get(order["module"], _TRAINING))
                if self._fork(order["id"]):
                    return order
        finally:
            self._end_children()
        return None

    def _import_needs(self, modules: tuple[str, ...]) -> None:
        if all(name in sys.modules for name in modules):
            return
        if not self.children:  # seconds in which nothing would be lost by its end
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # What cannot be imported is the job's failure, which imports it itself and says so.
        with contextlib.suppress(Exception):
            for name in modules:
                import_module(name)
            if "transformers" in sys.modules:
                for name in _CLASSES:
                    getattr(sys.modules["transformers"], name)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # so that the children's collector does not touch, and copy, what they share

    def _lines(self) -> Iterator[bytes]:
        pending = b""
        while True:
            ready, _, _ = select.select([0, self.wake], [], [])
            if self.wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
                self._reap()
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                yield from lines

    def _fork(self, job: int) -> bool:
        """Return True in the child."""
        pid = os.fork()
        if pid:
            self.children[job] = pid
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(self.wake)
        os.close(self.write_end)
        self.children.clear()
        return True

    def _signal(self, job: int, number: int) -> None:
        if job in self.children:  # not reaped yet, so that its id is still its own
            os.kill(self.children[job], number)

    def _reap(self) -> None:
        for job, pid in list(self.children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.children[job]
                _say({"id": job, "code": os.waitstatus_to_exitcode(status)})

    def _end_children(self) -> None:
        for number, wait_s in ((signal.SIGTERM, _END_WAIT_S), (signal.SIGKILL, 1.0)):
            for job in self.children:
                self._signal(job, number)
            until = time.monotonic() + wait_s
            while self.children and time.monotonic() < until:
                time.sleep(0.02)
                self._reap()


def _say(answer: dict) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: the orders end too
        os.write(1, json.dumps(answer).encode() + b"\n")


def _run_job(order: dict) -> int:
    """Be the job's own process: its files, its arguments, its exit code."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(Path(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    sys.stdin = io.StringIO(order["stdin"])
    sys.argv = [order["module"], *order["arguments"]]
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """End a child as an interpreter would, but for taking apart what the warm process made."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
