"""Processes forked by the sandbox's server: watch one, end them all, sweep up behind them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time

BEGUN = b"!"  # what a forked process writes to the pipe "begun" once nothing of ours is left to do


class CannotStart(Exception):
    """A process could not be forked or made ready: no program ran."""


class Child:
    """One forked process with the pipes that collect what it writes."""

    def __init__(self, pid: int, pipes: dict[int, int], begun: int):
        self.pid, self._begun = pid, begun
        self.left_bytes = dict(pipes)  # pipe -> bytes that it may still write
        self.output: dict[int, bytearray] = {fd: bytearray() for fd in pipes}
        self.status: int | None = None

    def read(self, fd: int) -> bool:
        """Take what is there; False once the process wrote more than it may."""
        try:
            part = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        if not part:
            self.left_bytes.pop(fd)
            return True
        self.output[fd] += part[: max(0, self.left_bytes[fd])]
        self.left_bytes[fd] -= len(part)
        return self.left_bytes[fd] >= 0

    def poll(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    @property
    def said(self) -> str | None:
        """Why it did not come to its program ("" if it was killed before); None if it did."""
        said = bytes(self.output[self._begun])
        return None if said.startswith(BEGUN) else said.decode(errors="replace")

    def drain(self) -> bool:
        """Read what an ended process left in its pipes."""
        for fd in list(self.left_bytes):
            while fd in self.left_bytes and select.select([fd], [], [], 0)[0]:
                if not self.read(fd):
                    return False
        return True


def watch(child: Child, deadline_s: float) -> str:
    """Collect a child's output until it ends; return exit, timeout or output."""
    try:
        handle = os.pidfd_open(child.pid)
    except (AttributeError, OSError):
        handle = None
    try:
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return "timeout"
            waiting = [*child.left_bytes, *([handle] if handle is not None else [])]
            ready = select.select(waiting, [], [], left_s if handle is not None else 0.002)[0]
            for fd in ready:
                if fd != handle and not child.read(fd):
                    return "output"
            if (handle is None or handle in ready) and child.poll():
                return "exit" if child.drain() else "output"
    finally:
        if handle is not None:
            os.close(handle)


def kill_everything(children: list[Child]) -> None:
    """End every process but this one, also those that left their group or their parent."""
    for _ in range(1000):
        if os.getpid() == 1:
            _signal(-1)  # all of this process namespace; the first process itself is immune
        else:
            for pid in {c.pid for c in children if c.status is None} | _descendants():
                _signal(pid)
        try:
            while True:
                pid, status = os.waitpid(-1, 0 if os.getpid() == 1 else os.WNOHANG)
                if pid == 0:
                    break
                for child in children:
                    if child.pid == pid:
                        child.status = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return
        time.sleep(0.0002)
    os._exit(3)  # something cannot be killed: end, and let a fresh server take over


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _descendants() -> set[int]:
    """The processes below this one, where there is no process namespace to ask."""
    parents = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has just ended
    found, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found, grown = found | more, bool(more)
    return found - {os.getpid()}


def sweep(folder: str) -> None:
    """Empty the folder that programs may write to, so that none finds another's files."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o700)  # a program may have locked its own folders
            for root, folders, _ in os.walk(entry.path):
                for name in folders:
                    if not os.path.islink(path := os.path.join(root, name)):
                        os.chmod(path, 0o700)
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def fork(run, pipes: dict[str, int]) -> tuple[Child, dict[str, int]]:
    """Fork a process that calls ``run(write_ends)``, with a capped pipe for each name.

    One more pipe, "begun", is for BEGUN, or for why it did not come to that. Raises CannotStart.
    """
    pipes = {"begun": 400, **pipes}
    try:
        ends = {name: os.pipe() for name in pipes}
        pid = os.fork()
    except OSError as error:
        raise CannotStart(f"cannot start a process: {error}") from None
    if pid == 0:
        try:
            os.setsid()
            run({name: end[1] for name, end in ends.items()})
        except BaseException as error:  # the server's loop must never run twice
            text = f"{type(error).__name__}: {error}"[:300].encode(errors="replace")
            os.write(ends["begun"][1], text)  # fails after a program, which finds it closed
        finally:
            os._exit(70)
    for _, write_end in ends.values():
        os.close(write_end)
    for read_end, _ in ends.values():
        os.set_blocking(read_end, False)
    names = {name: end[0] for name, end in ends.items()}
    caps = {names[name]: cap for name, cap in pipes.items()}
    return Child(pid, caps, names["begun"]), names
