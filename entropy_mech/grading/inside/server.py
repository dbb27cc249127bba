"""The sandbox's first process: waits for programs and forks a fresh process for each.

Started once and kept warm, since a fork costs a millisecond and an interpreter thirty. It never
runs untrusted code itself, and it never holds an expected answer: whatever it has in memory,
the programs that it forks have too. Tests travel past it, straight into the tests' process.
"""

from __future__ import annotations

import gc
import importlib
import json
import linecache
import os
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import checker
import confine
import forms
import frames
import names
import program
import remote
from children import BEGUN, CannotStart, Child, fork, kill_everything, sweep, watch

STDERR_BYTES = 1 << 16
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
                kill_everything([])
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

    def limits(self, job: dict) -> tuple[dict, int]:
        already = 0 if os.getpid() == 1 else confine.processes_of(os.getuid())
        return job["limits"], already

    def finish(self, children: list[Child]) -> None:
        kill_everything(children)
        for child in children:
            child.drain()
            for fd in child.output:
                os.close(fd)
        sweep(self.folder)

    def stdin_job(self, job: dict) -> dict:
        """Run the program once for each input, each time in a fresh process."""
        cases = []
        limits, already = self.limits(job)
        cap = int(limits["output_mib"] * (1 << 20))
        for text in job["inputs"]:
            if time.monotonic() >= self.deadline_s:
                cases.append({"ended": "timeout", "stdout": "", "stderr": "", "exit": None})
                continue

            def run(ends, text=text):
                confine.set_limits(limits, already)
                program.run_as_main(job["program"], text, ends, self.folder)

            child, fds = fork(run, {"stdout": cap, "stderr": cap})
            ended = watch(child, self.deadline_s)
            if ended == "exit" and child.status is None:
                child.poll()
            self.finish([child])
            if child.said is not None and not (cases and ended == "timeout"):
                raise CannotStart(child.said or f"it ended with {child.status} before its program")
            stderr = bytes(child.output[fds["stderr"]][-STDERR_BYTES:])
            cases.append(
                {
                    "ended": ended,
                    "exit": child.status,
                    "stdout": bytes(child.output[fds["stdout"]]).decode(errors="replace"),
                    "stderr": stderr.decode(errors="replace"),
                }
            )
        return {"cases": cases}

    def tests_job(self, job: dict) -> dict:
        """Run the program in one process and its tests in another that talks to it."""
        limits, already = self.limits(job)
        cap = int(limits["output_mib"] * (1 << 20))
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise CannotStart(f"cannot connect program and tests: {error}") from None

        def run_program(ends):
            ours.close()
            confine.set_limits(limits, already)
            os.write(ends["begun"], BEGUN)
            program.serve_functions(job, self.program, self.told, theirs, self.folder)

        def run_tests(ends):
            theirs.close()
            tests = frames.receive(self.control_in)
            confine.set_limits(limits, already)
            os.write(ends["begun"], BEGUN)  # the tests have left the control pipe
            checker.run(tests, self.tests.connect(ours), ends["result"], self.folder)

        solution, _ = fork(run_program, {})
        tests, fds = fork(run_tests, {"result": cap})
        ours.close()
        theirs.close()
        ended = watch(tests, self.deadline_s)
        self.finish([tests, solution])
        if solution.said is not None or tests.said:
            raise CannotStart(solution.said or tests.said or "killed before the program began")
        if tests.said is not None:
            os._exit(4)  # killed, maybe by the program; the control pipe may still hold the tests
        text = bytes(tests.output[fds["result"]])
        return {"ended": ended, "exit": tests.status, "result": text.decode(errors="replace")}


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
        gained += confine.landlock(
            config["read_paths"], [config["folder"], "/dev/null", "/dev/urandom"]
        )
    confine.no_new_privileges()
    confine.hide_memory()
    return gained


_REHEARSED = """
def same(value):
    return value

def fails(*_):
    raise ValueError("as it is rehearsed")
"""
_REHEARSING = """
import pytest
from solution import same, fails

VALUES = [True, None, 7, 0.5, "text", (1, "2"), [3, [4]], {"five": 6, 7: [8]}, {9}]

def test_values():
    for value in VALUES:
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
    for name in ("solution", "test_solution", "pytest_asyncio"):
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
