"""The sandbox's first process: waits for programs and forks a fresh process for each.

Started once and kept warm, since a fork costs a millisecond and an interpreter thirty. It never
runs untrusted code itself, and it never holds an expected answer: whatever it has in memory,
the programs that it forks have too. Tests travel past it, straight into the tests' process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import linecache
import os
import select
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import confine
import forms
import frames
import names
import program
import remote

# -- processes ---------------------------------------------------------------------------------
BEGUN = "!"  # what a forked process writes to the file "begun" once nothing of ours is left to do


class CannotStart(Exception):
    """A process could not be forked or made ready: no program ran."""


class Child:
    """One forked process, with the files that it writes to."""

    def __init__(self, pid: int, files: dict[str, int]):
        self.pid, self.files = pid, files
        self.status: int | None = None

    def poll(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, deadline_s: float) -> str:
        """Wait for its end; return exit or timeout."""
        with contextlib.ExitStack() as stack:
            watched = None
            with contextlib.suppress(AttributeError, OSError):  # not Linux
                watched = os.pidfd_open(self.pid)
                stack.callback(os.close, watched)
            while not self.poll():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return "timeout"
                if watched is None:
                    time.sleep(0.002)
                else:
                    select.select([watched], [], [], left_s)
        return "exit"

    def size(self, name: str) -> int:
        return os.fstat(self.files[name]).st_size

    def wrote(self, name: str, most: int) -> str:
        """What it wrote to a file, no more than ``most`` bytes of it."""
        return os.pread(self.files[name], most, 0).decode(errors="replace")

    @property
    def said(self) -> str | None:
        """Why it did not come to its program ("" if it was killed before); None if it did."""
        said = self.wrote("begun", 400)
        return None if said.startswith(BEGUN) else said

    def close(self) -> None:
        for fd in self.files.values():
            os.close(fd)


def kill_everything(children: Sequence[Child] = ()) -> None:
    """End every process but this one, also those that left their group or their parent."""
    for _ in range(1000):
        if os.getpid() == 1:
            confine.kill(-1)  # the first process itself is immune
        else:
            running = {child.pid for child in children if child.status is None}
            confine.kill(*running.union(confine.descendants(os.getpid())))
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


def sweep(folder: str) -> None:
    """Empty the folder that programs may write to, so that none finds another's files."""
    for root, folders, _ in os.walk(folder):
        for name in folders:  # a program may have locked its own
            if not os.path.islink(path := os.path.join(root, name)):
                os.chmod(path, 0o700)
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("output")
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd


def fork(run, *names: str) -> Child:
    """Fork a process that calls ``run(files)``, with an unnamed file for each of the names.

    One more, "begun", is for BEGUN, or for why it did not come to that. Raises CannotStart.
    """
    try:
        files = {name: _unnamed_file() for name in ("begun", *names)}
        pid = os.fork()
    except OSError as error:
        raise CannotStart(f"cannot start a process: {error}") from None
    if pid == 0:
        try:
            os.setsid()
            run(files)
        except BaseException as error:  # the server's loop must never run twice
            text = f"{type(error).__name__}: {error}"[:300].encode(errors="replace")
            os.write(files["begun"], text)  # fails after a program, which finds it closed
        finally:
            os._exit(70)
    return Child(pid, files)


# -- the server --------------------------------------------------------------------------------
STDERR_KEPT = 1 << 16
HEAVY_MODULES = ("asyncio", "numpy", "scipy", "pandas", "sympy", "networkx")


class Server:
    def __init__(self, config: dict, control_in: int, control_out: int):
        self.config, self.control_in, self.control_out = config, control_in, control_out
        self.folder = config["folder"]
        self.program, self.tests = remote.pair()
        self.told = program.Told()

    def serve(self) -> None:
        while (job := frames.receive(self.control_in)) is not None:
            self.load_heavy_modules(job["program"], job.get("libraries", ()))
            frames.send(self.control_out, {"begun": True})
            start_s = time.monotonic()
            self.deadline_s = start_s + job["limits"]["timeout_s"]
            try:
                reply = self.stdin_job(job) if job["kind"] == "stdin" else self.tests_job(job)
            except CannotStart as error:
                frames.send(self.control_out, {"failed": str(error)})
                kill_everything()
                os._exit(4)  # the control pipe may still hold the tests: start afresh
            reply["seconds"] = time.monotonic() - start_s
            frames.send(self.control_out, reply)

    def load_heavy_modules(self, text: str, wanted: list[str]) -> None:
        """Import an installed library once for all, when the first program mentions it.

        ``wanted`` are the modules that tests import.
        """
        mentioned = [name for name in HEAVY_MODULES if name in text]
        mentioned += [name for name in wanted if name.partition(".")[0] in HEAVY_MODULES]
        for name in mentioned:
            if name not in sys.modules:
                try:
                    importlib.import_module(name)
                except Exception:
                    sys.modules.pop(name, None)  # the program will see its own ImportError

    def limits(self, job: dict) -> tuple[dict, int, int]:
        """A job's limits, the processes that count already, and the bytes of an output."""
        already = 0 if os.getpid() == 1 else confine.processes_of(os.getuid())
        return job["limits"], already, int(job["limits"]["output_mib"] * (1 << 20))

    def finish(self, *children: Child) -> None:
        kill_everything(children)
        sweep(self.folder)

    def stdin_job(self, job: dict) -> dict:
        """Run the program once for each input, each time in a fresh process."""
        cases = []
        for text in job["inputs"]:
            late = time.monotonic() >= self.deadline_s
            nothing = {"ended": "timeout", "stdout": "", "stderr": "", "exit": None}
            cases.append(nothing if late else self.stdin_case(job, text, first=not cases))
        return {"cases": cases}

    def stdin_case(self, job: dict, text: str, *, first: bool) -> dict:
        limits, already, cap = self.limits(job)

        def run(ends):
            confine.set_limits(limits, already)
            program.run_as_main(job["program"], text, ends, self.folder)

        with contextlib.closing(fork(run, "stdin", "stdout", "stderr")) as child:
            ended = child.wait(self.deadline_s)
            self.finish(child)
            if child.said is not None and (first or ended != "timeout"):
                raise CannotStart(child.said or f"it ended with {child.status} before its program")
            if any(child.size(name) >= cap for name in ("stdout", "stderr")):
                ended = "output"
            stdout, stderr = child.wrote("stdout", cap), child.wrote("stderr", cap)
            stderr = stderr[-STDERR_KEPT:]
            return {"ended": ended, "exit": child.status, "stdout": stdout, "stderr": stderr}

    def tests_job(self, job: dict) -> dict:
        """Run the program in one process and its tests in another that talks to it."""
        limits, already, cap = self.limits(job)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise CannotStart(f"cannot connect program and tests: {error}") from None

        def run_program(ends):
            ours.close()
            confine.set_limits(limits, already)
            os.write(ends["begun"], BEGUN.encode())
            program.serve_functions(job, self.program, self.told, theirs, self.folder)

        def run_tests(ends):
            theirs.close()
            tests = frames.receive(self.control_in)
            confine.set_limits(limits, already)
            os.write(ends["begun"], BEGUN.encode())  # the tests have left the control pipe
            forms.run(tests, self.tests.connect(ours), ends["result"], self.folder)

        with contextlib.ExitStack() as stack:
            solution = stack.enter_context(contextlib.closing(fork(run_program)))
            tests = stack.enter_context(contextlib.closing(fork(run_tests, "result")))
            ours.close()
            theirs.close()
            ended = tests.wait(self.deadline_s)
            self.finish(tests, solution)
            if solution.said is not None or tests.said:
                raise CannotStart(solution.said or tests.said or "killed before the program began")
            if tests.said is not None:
                os._exit(4)  # killed, maybe by the program; the pipe may still hold the tests
            return {"ended": ended, "exit": tests.status, "result": tests.wrote("result", cap)}


def enter(config: dict) -> list[str]:
    """Give up what this process does not need, before it reads the first program."""
    gained = ["files", "processes", "network", "ipc"] if config["mode"] == "bubblewrap" else []
    if config["mode"] == "kernel":
        gained = confine.own_namespaces()
        if gained:
            pid = os.fork()
            if pid:  # the namespace's outside: wait, and end with what is inside
                for fd in (0, 1):
                    os.close(fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os._exit(code if code >= 0 else 128 - code)  # as a shell tells of a signal
        else:
            confine.adopt_orphans()
    if config["user"] is not None:
        confine.become_user(config["user"], keep_reading=config["keep_reading"])
    if config["mode"] == "kernel":
        writes = [config["folder"], "/dev/null", "/dev/urandom"]
        gained += confine.landlock(config["read_paths"], writes)
    confine.no_new_privileges()
    confine.hide_memory()
    return gained


_REHEARSED = """
def same(value): return value
def fails(*_): raise ValueError("as it is rehearsed")
"""
_REHEARSING = """
import pytest
from solution import same, fails
def test_values():
    for value in [True, None, 7, 0.5, "text", (1, "2"), [3, [4]], {"five": 6, 7: [8]}, {9}]:
        assert same(value) == value
    assert same([1, 2, 3]) != [4]
def test_error():
    with pytest.raises(ValueError):
        fails([1, 2], {"a": 1})
"""


def rehearse(times: int) -> None:
    """Run small tests of our own in this process, once as either side.

    What first calls leave behind (specialised bytecode, caches of types) is then here before the
    first fork, and is neither made nor copied in each.
    """
    read = names.TestText(_REHEARSING).data()
    for tests_are_here in [True, False] * times:
        ours, theirs = socket.socketpair()
        at_program, at_tests = remote.pair()
        other = os.fork()
        mine, yours = (ours, theirs) if other else (theirs, ours)
        yours.close()
        try:
            if tests_are_here == bool(other):
                forms.run_pytest({"read": read, "total": 2}, at_tests.connect(mine))
            else:
                at_program.connect(mine, printed=program.Told().take)
                program.answer_tests(_REHEARSED, {"same", "fails"}, at_program)
        finally:
            if not other:
                os._exit(0)
            mine.close()
            os.waitpid(other, 0)
    for name in ("solution", "test_solution", "pytest", "pytest_asyncio"):
        sys.modules.pop(name, None)
    linecache.cache.clear()


def main() -> None:
    config = json.loads(sys.argv[1])
    gained = enter(config)
    control_in, control_out = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.chdir(config["folder"])
    tempfile.tempdir = config["folder"]
    os.environ.update(HOME=config["folder"], TMPDIR=config["folder"])
    sys.path[:] = [p for p in sys.path if p.startswith(tuple(config["import_paths"]))]
    program.preload()
    rehearse(10)
    program.hide_server()
    server = Server(config, control_in, control_out)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    ready = {"ready": True, "protections": gained, "at_most": confine.hard_limits()}
    frames.send(control_out, ready)
    server.serve()


if __name__ == "__main__":
    main()
