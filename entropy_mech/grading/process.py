"""A child process that answers one message with one message, and is killed when it is late."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable

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


_NO_START = (
    ChildGone,
    frames.FrameError,
    OSError,
    ValueError,
    subprocess.SubprocessError,
    UserError,
)


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
        after_end: Callable[[], None] | None = None,
    ):
        self._command, self._env, self._after_end = command, env, after_end
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._owner = 0
        self._words, self._unread = b"", bytearray()
        self._failure, self._rest_until_s = "", 0.0
        self.starts = 0
        self.ready: dict = {}

    @property
    def pid(self) -> int | None:
        """The process id of the running child, None if none is running."""
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
                    self._write(frames.pack(first), patience_s)
                    self._expect("begun", patience_s)
                    begun = True
                    deadline_s = time.monotonic() + timeout_s
                    for message in rest:
                        self._write(frames.pack(message), deadline_s)
                    return self._read(deadline_s)
                except (ChildGone, frames.FrameError, OSError) as error:
                    self._kill()
                    if begun and isinstance(error, ChildGone):
                        raise
                    if begun or last:
                        raise GraderFailed(f"the grader's process: {error}") from None
                except BaseException:  # a KeyboardInterrupt: a late answer must never be read
                    self._kill()
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the child and everything below it."""
        with self._lock:
            self._kill()

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
            except _NO_START as error:
                self._kill()
                reason = f"the grader's process did not start: {error}"
                if last or isinstance(error, ChildTimeout):
                    took_s = time.monotonic() - began_s
                    self._rest_until_s = time.monotonic() + _REST_AFTER_FAILURE * took_s
                    self._failure = " ".join(reason.split())
                    raise GraderFailed(self._failure) from None
                time.sleep(_PAUSE_S)
            except BaseException:
                self._kill()
                raise

    def _start(self) -> None:
        self._owner, self._words, self._unread = os.getpid(), b"", bytearray()
        try:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=self._env(), start_new_session=True, close_fds=True,
                cwd="/",
            )  # fmt: skip
        except BaseException:
            self._cleaned()  # the command may have made a folder
            raise
        self.starts += 1
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(stream.fileno(), False)
        self.ready = self._expect("ready", time.monotonic() + START_TIMEOUT_S)

    def _expect(self, word: str, deadline_s: float) -> dict:
        message = self._read(deadline_s)
        if not (isinstance(message, dict) and message.get(word) is True):
            raise frames.FrameError(f"it says {str(message)[:80]!r} in place of {word!r}")
        return message

    def _write(self, data: bytes, deadline_s: float) -> None:
        fd, view = self._process.stdin.fileno(), memoryview(data)
        while view:
            self._wait(fd, select.POLLOUT, deadline_s, "it does not read")
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._gone() from None

    def _read(self, deadline_s: float) -> dict:
        fd, data, need = self._process.stdout.fileno(), self._unread, 4
        while True:
            if len(data) >= 4:
                need = 4 + int.from_bytes(data[:4], "big")
                if need > frames.MAX_FRAME_BYTES:
                    raise frames.FrameError(f"its words are no message: {bytes(data[:60])!r}")
            if len(data) >= need:
                self._unread = data[need:]
                return frames.unpack(bytes(data[4:need]))
            self._wait(fd, select.POLLIN, deadline_s, "it does not answer")
            part = os.read(fd, 1 << 20)
            if not part:
                raise self._gone()
            data += part

    def _wait(self, fd: int, event: int, deadline_s: float, late: str) -> None:
        """Wait until ``fd`` is ready; take what the child says on its standard error meanwhile.

        A child whose standard error is full would stop, and look like a late one. ``poll``, since
        ``select`` knows no descriptor above 1,023.
        """
        errors = self._process.stderr.fileno()
        poll = select.poll()
        poll.register(fd, event)
        poll.register(errors, select.POLLIN)
        while True:
            left_s = deadline_s - time.monotonic()
            ready = dict(poll.poll(max(0.0, left_s) * 1000))
            if errors in ready and not self._listen():
                poll.unregister(errors)
            if fd in ready:
                return
            if left_s <= 0:
                raise ChildTimeout(late)

    def _listen(self) -> bool:
        """Keep the end of what the child said on its standard error; False when it is closed."""
        with contextlib.suppress(BlockingIOError):
            part = os.read(self._process.stderr.fileno(), 1 << 16)
            self._words = (self._words + part)[-_WORDS_KEPT:]
            return bool(part)
        return True

    def _gone(self) -> ChildGone:
        """Why the child ended: its last line of output and its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        while self._has_more_words():
            continue
        code = self._process.poll()
        killed = code is not None and (code < 0 or code > 128)
        number = (-code if code < 0 else code - 128) if killed else 0
        ended = f"killed by signal {number}" if killed else f"exit code {code}"
        words = self._words.decode(errors="replace").strip().splitlines()
        return ChildGone(f"{words[-1][:300]} ({ended})" if words else ended, killed=killed)

    def _has_more_words(self) -> bool:
        poll = select.poll()
        poll.register(self._process.stderr.fileno(), select.POLLIN)
        return any(event & select.POLLIN for _, event in poll.poll(0)) and self._listen()

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():  # a fork leaves its parent's child alone
            return
        for stream in (process.stdout, process.stderr):
            stream.close()  # before /proc is read, which takes a descriptor
        below = confine.descendants(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # subprocess reaps it later
            process.wait(10)
        self._cleaned()

    def _cleaned(self) -> None:
        if self._after_end:
            self._after_end()
