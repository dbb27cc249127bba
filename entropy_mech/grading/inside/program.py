"""The untrusted side: run a program as a script, or serve the functions that it defines."""

from __future__ import annotations

import atexit
import builtins
import importlib
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
import starter

PRELOADED = """
abc array ast bisect calendar cmath collections collections.abc copy dataclasses datetime
decimal enum fileinput fractions functools hashlib heapq io itertools json logging math numbers
operator os.path pathlib queue random re statistics string struct textwrap threading time traceback
typing unittest uuid warnings
""".split()  # noqa: SIM905 (a list of names is easier to read this way)
OUTPUT_KEPT = 1 << 20
# Found before the first fork: to walk all modules in a fork would copy a page for each of them.
_OURS: dict[str, types.ModuleType] = {}


def preload() -> None:
    """Import what most programs import, once, before the first fork."""
    for name in PRELOADED:
        importlib.import_module(name)
    here = os.path.dirname(os.path.abspath(__file__))
    for name, module in list(sys.modules.items()):
        if os.path.dirname(getattr(module, "__file__", None) or "") == here:
            _OURS[name] = module


def _settle(folder: str, keep: set[int]) -> None:
    """Leave nothing of the server in reach: its descriptors, its modules, its arguments."""
    confine.hide_memory(False)
    last = 3
    for fd in sorted(keep):
        os.closerange(last, fd)
        last = fd + 1
    os.closerange(last, 4096)
    os.chdir(folder)
    sys.argv[:] = ["solution.py"]
    here = os.path.dirname(os.path.abspath(__file__))
    for name in _OURS:
        sys.modules.pop(name, None)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.path[:] = [p for p in sys.path if p != here]
    sys.setrecursionlimit(1000)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)


def _module(name: str, text: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = "solution.py"
    module.__builtins__ = builtins
    sys.modules[name] = module
    linecache.cache["solution.py"] = (
        len(text),
        None,
        text.splitlines(keepends=True),
        "solution.py",
    )
    return module


def run_as_main(text: str, stdin: str, ends: dict[str, int], folder: str) -> None:
    """Be ``python solution.py < stdin`` from here to the end of the process."""
    source = os.memfd_create("stdin") if hasattr(os, "memfd_create") else _unlinked(folder)
    os.write(source, b"") if not stdin else _write_all(source, stdin.encode(errors="replace"))
    os.lseek(source, 0, os.SEEK_SET)
    for fd, new in ((source, 0), (ends["stdout"], 1), (ends["stderr"], 2)):
        os.dup2(fd, new)
    os.write(ends["begun"], b"!")  # from here on, what goes wrong is the program's doing
    _settle(folder, set())
    for name, fd, mode, errors in (
        ("stdin", 0, "r", "strict"),
        ("stdout", 1, "w", "strict"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        stream = _standard_stream(name, fd, mode, errors)
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


def _standard_stream(name: str, fd: int, mode: str, errors: str) -> io.TextIOWrapper:
    """A stream as an interpreter makes it: with a name and a mode, not closing the descriptor."""
    raw = io.FileIO(fd, mode, closefd=False)
    raw.name = f"<{name}>"
    buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
    stream = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=name == "stderr")
    stream.mode = mode
    return stream


def _unlinked(folder: str) -> int:
    path = os.path.join(folder, "stdin")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.unlink(path)
    return fd


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Told:
    """What the program prints, logs and warns of between two answers, in order, up to a cap."""

    def __init__(self):
        self.events, self.size = [], 0
        self.out, self.err = _ToldStream(self, "out"), _ToldStream(self, "err")

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
        handler = logging.Handler(0)
        handler.emit = lambda record: self.add(
            "log", record.name, record.levelno, record.getMessage()
        )
        logging.root.addHandler(handler)
        logging.root.setLevel(0)
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, category, *_, **__: self.add(
            "warning", peer.codec.encode(category), str(message)
        )


class _ToldStream(io.TextIOWrapper):
    def __init__(self, told: Told, kind: str):
        class Raw(io.RawIOBase):
            def writable(self):
                return True

            def write(self, data):
                told.add(kind, bytes(data).decode("utf-8", "backslashreplace"))
                return len(data)

        buffer = io.BufferedWriter(Raw())
        super().__init__(buffer, "utf-8", "backslashreplace", newline="", write_through=True)
        self.mode = "w"


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


def serve_functions(text: str, connection, folder: str, *, provide: bool = False) -> None:
    """Load the program as the module ``solution`` and answer the tests' calls into it.

    ``provide`` gives it the names of ``starter`` before.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _settle(folder, {connection.fileno()})
    told = Told()
    peer = remote.Peer(connection, exports_all=True, printed=told.take)
    sys.stdin, sys.stdout, sys.stderr = Typed(peer.request), told.out, told.err
    builtins.input = lambda *prompt: peer.request("input", *prompt)
    told.listen(peer)
    if provide:
        starter.provide()
    module = _module("solution", text)
    try:
        exec(compile(text, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        peer.send({"loaded": [], "error": True}, (error,))
    else:
        names = [n for n in vars(module) if not (n.startswith("__") and n.endswith("__"))]
        peer.send({"loaded": names}, (module,))
    peer.serve_forever()
    os._exit(0)
