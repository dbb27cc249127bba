"""How a job's process is started: a fresh one, or a fork of a process that has imported torch.

A fresh Python spends seconds on imports, a fork of the standard library's fork server none; a run
of a few seconds is then mostly the run. The forks have nothing in common but what was imported: no
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
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from pathlib import Path

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

_CONTEXT = multiprocessing.get_context("forkserver") if sys.platform == "linux" else None


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
    return _CONTEXT is not None


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
    with contextlib.suppress(BrokenPipeError):  # it ended before it read: its exit code says why
        process.stdin.write(job.stdin.encode())
        process.stdin.close()
    return process


class ForkedJob:
    """A job in a fork of the fork server, handled as a ``subprocess.Popen`` is."""

    def __init__(self, job: Job):
        _, _, module, *arguments = job.command
        job.log.write_bytes(b"")
        self._process = _CONTEXT.Process(
            target=_run_job,
            args=(module, list(map(str, arguments)), job.stdin, str(job.log.resolve())),
        )
        _CONTEXT.set_forkserver_preload(["entropy_mech.runs.preload"])
        with _environment(JOB_ENVIRONMENT):  # the server's own, and so that of its forks
            forkserver.ensure_running()
        with _no_main_module():
            self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit code, None while it runs; a signal's number is negative."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return ``returncode``."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end and return ``returncode``."""
        self._process.join()
        return self._process.exitcode

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


@contextlib.contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep multiprocessing from importing the caller's script again in the fork."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run_job(module: str, arguments: list[str], stdin: str, log: str) -> None:
    """Be ``python -m MODULE ARGUMENTS``: its files, its arguments, its exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    sys.stdin = io.StringIO(stdin)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit:
        raise  # multiprocessing makes it the exit code, as an interpreter does
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()


def _end_with_parent() -> None:
    """End this process when whoever asked for it has died; runs go on from their checkpoints."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
