"""How a job's process is started: a fresh one, or a fork of a warm one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from entropy_mech.runs.warm import JOB_ENVIRONMENT, fork_is_safe


@dataclass(frozen=True, eq=False)
class Job:
    """A command, what must be done before it, and how far it says it is.

    Attributes:
        name: names it among the jobs; ``needs`` holds such names.
        command: what to execute.
        log: gets its output.
        label: what people read; the name if empty.
        stdin: what it reads.
        warm: whether a fork of a warm process may stand for it: then ``command`` is
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


class Workers:
    """Starts jobs; the warm process is started with the first job that it can serve."""

    def __init__(self) -> None:
        self._warm: _WarmProcess | None = None

    def start(self, job: Job) -> subprocess.Popen | WarmJob:
        """Start a job; its process has ``poll``, ``terminate``, ``kill`` and ``wait``."""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        if not (job.warm and fork_is_safe()):
            return start_fresh(job)
        if self._warm is None or self._warm.ended():
            self._warm = _WarmProcess()
        return self._warm.start(job)

    def close(self) -> None:
        """End the warm process; its jobs, if there are any, end with it."""
        if self._warm is not None:
            self._warm.close()
            self._warm = None


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


class WarmJob:
    """A job in a fork of the warm process, handled as a ``subprocess.Popen`` is."""

    def __init__(self, warm: _WarmProcess, number: int, log: Path):
        self._warm, self._number, self._log = warm, number, log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; a signal's number is negative."""
        if self.returncode is None:
            self.returncode = self._warm.code(self._number, self._log)
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        self._warm.order({"id": self._number, "signal": int(signal.SIGTERM)})

    def kill(self) -> None:
        """End it."""
        self._warm.order({"id": self._number, "signal": int(signal.SIGKILL)})


class _WarmProcess:
    """The other side of ``python -m entropy_mech.runs.warm``."""

    def __init__(self) -> None:
        self.words = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "entropy_mech.runs.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.words,
            env={**os.environ, **JOB_ENVIRONMENT},
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.codes: dict[int, int] = {}
        self.count, self.pending = 0, b""

    def start(self, job: Job) -> WarmJob:
        _, _, module, *arguments = job.command
        self.count += 1
        order = {"id": self.count, "module": module, "arguments": arguments}
        job.log.write_bytes(b"")
        self.order({**order, "stdin": job.stdin, "log": str(job.log.resolve())})
        return WarmJob(self, self.count, job.log)

    def order(self, order: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # ended: ``code`` says so
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def code(self, number: int, log: Path) -> int | None:
        """Return the exit code of a job, the warm process's own if that has ended before it."""
        gone = self.ended()  # asked first: what it said before its end is there to be read now
        while data := self.process.stdout.read(1 << 16):
            *lines, self.pending = (self.pending + data).split(b"\n")
            for answer in map(json.loads, lines):
                self.codes[answer["id"]] = answer["code"]
        if number in self.codes or not gone:
            return self.codes.get(number)
        self.words.seek(0)
        last = self.words.read().decode(errors="replace").strip()
        with log.open("a") as file:
            file.write(f"{last}\nthe process that it was a fork of ended: {self.process.poll()}\n")
        return self.process.poll() or 1

    def ended(self) -> bool:
        return self.process.poll() is not None

    def close(self) -> None:
        """End it; it ends its children first."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.terminate()  # while it still imports; later it does not listen to this
        self.process.wait()
        self.process.stdout.close()
        self.words.close()
