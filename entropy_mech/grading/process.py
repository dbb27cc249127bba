"""A child process that answers one message with one message, and is killed when it is late."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time

from entropy_mech.grading.inside import frames

START_TIMEOUT_S = 60.0


class ChildGone(Exception):
    """The child ended, or was ended, before it answered."""


class ChildTimeout(ChildGone):
    """The child did not answer in time and was killed."""


class ChildServer:
    """Start a command, talk to it through its standard input and output, replace it when killed.

    ``ask`` may be called from any thread, by one thread at a time. The child starts with the
    first message and again after every kill; it must first send ``{"ready": true}``.
    """

    def __init__(self, command, *, env: dict[str, str], before_start=None, after_end=None):
        self._command, self._env = command, env
        self._before_start, self._after_end = before_start, after_end
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._owner = 0
        self.starts = 0
        self.ready: dict = {}

    @property
    def pid(self) -> int | None:
        """The process id of the running child, None if none is running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def ask(self, *messages: object, timeout_s: float) -> dict:
        """Send the messages and return the one answer; the start does not count as waiting.

        Raises ChildTimeout after ``timeout_s`` seconds and ChildGone if the child ends; in both
        cases the child and all it started are dead, and the next ``ask`` starts another.
        """
        with self._lock:
            self._ensure_started()
            deadline_s = time.monotonic() + timeout_s
            try:
                for message in messages:
                    self._write(frames.pack(message), deadline_s)
                return self._read(deadline_s)
            except BaseException:  # also a KeyboardInterrupt: a late answer must never be read
                self._kill()
                raise

    def close(self) -> None:
        """End the child and everything below it."""
        with self._lock:
            self._kill()

    def _ensure_started(self) -> None:
        if self._process and self._owner == os.getpid() and self._process.poll() is None:
            return
        self._kill()
        command = self._before_start() if self._before_start else self._command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=self._env, start_new_session=True, close_fds=True, cwd="/",
        )  # fmt: skip
        self.starts += 1
        self._owner = os.getpid()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(stream.fileno(), False)
        try:
            self.ready = self._read(time.monotonic() + START_TIMEOUT_S)
        except ChildGone as gone:
            self._kill()
            raise ChildGone(f"the grader's process did not start: {gone}") from None

    def _write(self, data: bytes, deadline_s: float) -> None:
        fd, view = self._process.stdin.fileno(), memoryview(data)
        while view:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([], [fd], [], left_s)[1]:
                raise ChildTimeout("it does not read")
            try:
                view = view[os.write(fd, view) :]
            except BrokenPipeError:
                raise ChildGone(self._last_words()) from None

    def _read(self, deadline_s: float) -> dict:
        fd, data, need = self._process.stdout.fileno(), bytearray(), 4
        while len(data) < need:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
                raise ChildTimeout("it does not answer")
            part = os.read(fd, 1 << 20)
            if not part:
                raise ChildGone(self._last_words())
            data += part
            if len(data) >= 4:
                need = 4 + int.from_bytes(data[:4], "big")
                if need > frames.MAX_FRAME_BYTES:
                    raise ChildGone("its answer is too long")
        return frames.unpack(bytes(data[4:]))

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        with contextlib.suppress(BlockingIOError):
            text = os.read(self._process.stderr.fileno(), 1 << 16).decode(errors="replace")
            return text.strip().splitlines()[-1] if text.strip() else "it ended without a word"
        return "it ended without a word"

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():  # a fork leaves its parent's child alone
            return
        below = descendants(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        process.wait(10)
        if self._after_end:
            self._after_end()


def descendants(root: int) -> list[int]:
    """Process ids of everything below ``root``, where /proc can tell; nearest first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
