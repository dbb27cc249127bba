"""A child process that answers one message with one message, and is killed when it is late."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from entropy_mech.errors import UserError
from entropy_mech.grading.inside import confine, frames

START_TIMEOUT_S = 60.0
# A start that failed is not tried again before this many times as long as it took: a batch then
# ends soon where an interpreter hangs, and one that could not be started for a moment recovers.
_REST_AFTER_FAILURE = 10
_PAUSE_S = 0.1  # before a second try, for what lacked only for a moment
_WORDS_KEPT = 1 << 14


class GraderFailed(Exception):
    """The grader's own process failed, so nothing was judged: the verdict is ``error``."""


class ChildGone(Exception):
    """The child ended, or was ended, while it worked; ``killed`` says whether by a signal."""

    def __init__(self, message: str, *, killed: bool = False):
        super().__init__(message)
        self.killed = killed


class ChildTimeout(ChildGone):
    """The child did not answer in time and was killed."""


_LOST = (ChildGone, frames.FrameError, OSError)
_NO_START = (*_LOST, ValueError, subprocess.SubprocessError, UserError)


def interpreter() -> str:
    """The path of this Python, to start another with."""
    if not sys.executable:
        raise ValueError("sys.executable is empty: this process does not know its own interpreter")
    return sys.executable


class ChildServer:
    """Start a command, talk to it through its standard input and output, replace it when killed.

    ``ask`` may be called from any thread, by one thread at a time. The child starts with the
    first message and again after every kill; it must first send ``{"ready": true}``, and
    ``{"begun": true}`` when it begins with a message.
    """

    def __init__(
        self,
        command: Callable[[], list[str]],
        *,
        env: Callable[[], dict[str, str]],
        after_end: Callable[[], None] = lambda: None,
    ):
        self._command, self._env, self._after_end = command, env, after_end
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._owner = 0
        self._files: list[socket.socket | BinaryIO] = []
        self._failure, self._rest_until_s = "", 0.0
        self.starts = 0  # more than one means that a child was killed
        self.ready: dict = {}

    @property
    def pid(self) -> int | None:
        """The process id of the running child, None while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def ask(self, first: object, *rest: object, timeout_s: float) -> dict:
        """Send the messages and return the one answer.

        The child has ``timeout_s`` seconds from when it says that it has begun: neither its
        start nor what it loads before counts.

        Raises:
            ChildTimeout: it began, and was late.
            ChildGone: it began, and ended.
            GraderFailed: it could not be started, or (twice) did not begin.

        In all cases the child and all it started are dead, and the next ``ask`` starts another.

        """
        with self._lock:
            for last in (False, True):
                self._ensure_started()
                begun = False
                try:
                    patience_s = time.monotonic() + START_TIMEOUT_S
                    self._write(first, patience_s)
                    self._expect("begun", patience_s)
                    begun = True
                    deadline_s = time.monotonic() + timeout_s
                    for message in rest:
                        self._write(message, deadline_s)
                    return self._read(deadline_s)
                except BaseException as error:
                    self._kill()  # after a KeyboardInterrupt too: no late answer is ever read
                    if not isinstance(error, _LOST) or (begun and isinstance(error, ChildGone)):
                        raise
                    if begun or last:
                        raise GraderFailed(f"the grader's process: {error}") from None

    def close(self) -> None:
        """End the child and everything below it."""
        with self._lock:
            self._kill()

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def _ensure_started(self) -> None:
        if self._process and self._owner == os.getpid() and self._process.poll() is None:
            return
        self._kill()
        if time.monotonic() < self._rest_until_s:
            raise GraderFailed(self._failure)
        began_s = time.monotonic()
        for last in (False, True):
            try:
                self._start()
                return
            except BaseException as error:
                self._kill()
                if not isinstance(error, _NO_START):
                    raise
                if last or isinstance(error, ChildTimeout):
                    took_s = time.monotonic() - began_s
                    self._rest_until_s = time.monotonic() + _REST_AFTER_FAILURE * took_s
                    words = f"the grader's process did not start: {error}".split()
                    self._failure = " ".join(words)
                    raise GraderFailed(self._failure) from None
                time.sleep(_PAUSE_S)

    def _start(self) -> None:
        self._owner = os.getpid()
        # Unlike a full pipe, a file never makes the child wait.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child's socket)
        self._socket, theirs = socket.socketpair()
        self._files = [self._words, self._socket, theirs]
        self._process = subprocess.Popen(
            self._command(), stdin=theirs, stdout=theirs, stderr=self._words, env=self._env(),
            start_new_session=True, close_fds=True, cwd="/",
        )  # fmt: skip
        theirs.close()
        self.starts += 1
        self.ready = self._expect("ready", time.monotonic() + START_TIMEOUT_S)

    def _expect(self, word: str, deadline_s: float) -> dict:
        message = self._read(deadline_s)
        if not (isinstance(message, dict) and message.get(word) is True):
            raise frames.FrameError(f"it says {str(message)[:80]!r} in place of {word!r}")
        return message

    def _write(self, message: object, deadline_s: float) -> None:
        with self._until(deadline_s, "it does not read"):
            frames.send(self._socket.fileno(), message)

    def _read(self, deadline_s: float) -> dict:
        with self._until(deadline_s, "it does not answer"):
            words = self._socket.recv(60, socket.MSG_PEEK)
            try:
                message = frames.receive(self._socket.fileno())
            except frames.FrameError:
                raise frames.FrameError(f"its words are no message: {words!r}") from None
        if message is None:
            raise self._gone()
        return message

    @contextlib.contextmanager
    def _until(self, deadline_s: float, late: str):
        """Use the socket until then; raise ChildTimeout, or ChildGone where the child ended."""
        left_s = max(deadline_s - time.monotonic(), 1e-3)
        limit = struct.pack("ll", int(left_s), int(left_s % 1 * 1e6))
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
        try:
            yield
        except BlockingIOError:
            raise ChildTimeout(late) from None
        except ConnectionError:
            raise self._gone() from None

    def _gone(self) -> ChildGone:
        """Why the child ended: its last line of output and its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        code = self._process.poll()
        killed = code is not None and (code < 0 or code > 128)
        number = (-code if code < 0 else code - 128) if killed else 0
        ended = f"killed by signal {number}" if killed else f"exit code {code}"
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _WORDS_KEPT))
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return ChildGone(f"{lines[-1][:300]} ({ended})" if lines else ended, killed=killed)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if self._owner != os.getpid():  # a fork leaves its parent's child alone
            return
        while self._files:
            self._files.pop().close()  # before /proc is read, which takes a descriptor
        if process is not None:
            confine.kill(-process.pid, *confine.descendants(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):  # subprocess reaps it later
                process.wait(10)
        self._after_end()  # the command may have made a folder, even if it did not run
