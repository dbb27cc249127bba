# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""The untrusted side: run a program as a script, or serve the functions that it defines."""

from __future__ import annotations

import atexit
import builtins
import importlib
import importlib.util
import io
import linecache
import logging
import os
import sys
import threading
import types
import warnings

import confine
import remote

# -- the names that judges of LeetCode's problems provide --------------------------------------
_GIVEN_MODULES = """
string re datetime collections heapq bisect copy math random statistics itertools functools
operator io sys json typing
""".split()


class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right


def _given() -> dict:
    given = {"ListNode": ListNode, "TreeNode": TreeNode}
    for name in _GIVEN_MODULES:
        exec(f"from {name} import *", given)
    given.update({name: importlib.import_module(name) for name in _GIVEN_MODULES})
    if importlib.util.find_spec("sortedcontainers"):
        exec("from sortedcontainers import SortedDict, SortedList, SortedSet", given)
    return {name: value for name, value in given.items() if not hasattr(builtins, name)}


GIVEN = _given()  # once, before the first fork


def provide_names() -> None:
    """Make the names builtins of this process, for good."""
    vars(builtins).update(GIVEN)
    sys.setrecursionlimit(50_000)


# -- a program ---------------------------------------------------------------------------------
PRELOADED = """
abc array ast bisect calendar cmath collections collections.abc copy dataclasses datetime
decimal enum fileinput fractions functools hashlib heapq io itertools json logging math numbers
operator os.path pathlib queue random re statistics string struct textwrap threading time traceback
typing unittest uuid warnings
""".split()
OUTPUT_KEPT = 1 << 20


def preload() -> None:
    """Import what most programs import, once, before the first fork."""
    for name in PRELOADED:
        importlib.import_module(name)


def hide_server() -> None:
    """Leave nothing of the server for programs to find: its modules, its arguments."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name, module in list(sys.modules.items()):
        if os.path.dirname(getattr(module, "__file__", None) or "") == here:
            del sys.modules[name]
    sys.path[:] = [p for p in sys.path if p != here]
    sys.argv[:] = ["solution.py"]
    sys.modules["__main__"] = types.ModuleType("__main__")


def _settle(folder: str, *keep: int) -> None:
    confine.hide_memory(False)
    confine.close_all_but(*keep)
    os.chdir(folder)


def _module(name: str, text: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = "solution.py"
    module.__builtins__ = builtins
    sys.modules[name] = module
    lines = text.splitlines(keepends=True)
    linecache.cache["solution.py"] = (len(text), None, lines, "solution.py")
    return module


def run_as_main(text: str, stdin: str, ends: dict[str, int], folder: str) -> None:
    """Be ``python solution.py < stdin`` from here to the end of the process."""
    with open(ends["stdin"], "wb") as source:
        source.write(stdin.encode(errors="replace"))
        source.seek(0)
        for fd, new in ((source.fileno(), 0), (ends["stdout"], 1), (ends["stderr"], 2)):
            os.dup2(fd, new)
    os.write(ends["begun"], b"!")  # from here on, what goes wrong is the program's doing
    _settle(folder)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _standard_stream(name, fd)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    module = _module("__main__", text)
    code = 0
    try:
        exec(compile(text, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # as an interpreter does: wait for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 120  # what an interpreter returns when its output is closed
    os._exit(code & 0xFF)


def _standard_stream(name: str, fd: int) -> io.TextIOWrapper:
    """A stream as an interpreter makes it: with a name and a mode, not closing the descriptor."""
    mode, errors = "w" if fd else "r", "backslashreplace" if fd == 2 else "strict"
    raw = io.FileIO(fd, mode, closefd=False)
    raw.name = f"<{name}>"
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    stream = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=name == "stderr")
    stream.mode = mode
    return stream


class Told:
    """What the program prints, logs and warns of between two answers, in order, up to a cap."""

    def __init__(self):
        self.events, self.size = [], 0
        self.out, self.err = _told_stream(self, "out"), _told_stream(self, "err")
        self.handler = logging.Handler(0)
        self.handler.emit = lambda record: self.add(
            "log", record.name, record.levelno, record.getMessage()
        )

    def add(self, kind: str, *data) -> None:
        self.size += sum(map(len, map(str, data)))
        if self.size < OUTPUT_KEPT:
            self.events.append([kind, *data])

    def take(self) -> list:
        for stream in (self.out, self.err):
            if not stream.closed:
                stream.flush()
        events, self.events, self.size = self.events, [], 0
        return events

    def listen(self, peer) -> None:
        """Hear the warnings and the logs of every level: the tests' side has its own filters."""
        logging.root.addHandler(self.handler)
        logging.root.setLevel(0)
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, category, *_, **__: self.add(
            "warning", peer.codec.encode(category), str(message)
        )


class _RawTold(io.RawIOBase):
    def __init__(self, told: Told, kind: str):
        self._told, self._kind = told, kind

    def writable(self):
        return True

    def write(self, data):
        self._told.add(self._kind, bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)


def _told_stream(told: Told, kind: str) -> io.TextIOWrapper:
    raw = _RawTold(told, kind)
    stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", newline="", write_through=True)
    stream.mode = "w"
    return stream


class Typed(io.TextIOBase):
    """Standard input as the tests have it, which may have put text there."""

    def __init__(self, ask):
        self.ask = ask

    def readable(self) -> bool:
        return True

    def readline(self, size=-1) -> str:
        return self.ask("readline", size)

    def read(self, size=-1) -> str:
        return self.ask("read", size)


def serve_functions(job: dict, peer: remote.Peer, told: Told, connection, folder: str) -> None:
    """Load a job's program as the module ``solution`` and answer the tests' calls into it."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _settle(folder, connection.fileno())
    peer.connect(connection, printed=told.take)
    sys.stdin, sys.stdout, sys.stderr = Typed(peer.request), told.out, told.err
    builtins.input = lambda *prompt: peer.request("input", *prompt)
    told.listen(peer)
    if job["provide"]:
        provide_names()
    answer_tests(job["program"], set(job["names"]), peer)
    os._exit(0)


def answer_tests(text: str, wanted: set[str], peer: remote.Peer) -> None:
    """Load the program and answer until the tests are gone.

    The functions and classes that they will ask for first go with the news that it is loaded.
    """
    module = _module("solution", text)
    try:
        exec(compile(text, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        peer.send({"loaded": [], "error": True}, (error,))
    else:
        names = [n for n in vars(module) if not (n.startswith("__") and n.endswith("__"))]
        plain = (types.FunctionType, type)
        ready = {n: v for n in wanted if type(v := vars(module).get(n)) in plain}
        peer.send({"loaded": names, "ready": list(ready)}, (module, *ready.values()))
    peer.serve_forever()
