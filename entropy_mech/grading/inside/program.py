"""The untrusted side: run a program as a script, or serve the functions that it defines."""

from __future__ import annotations

import atexit
import builtins
import importlib
import io
import linecache
import os
import sys
import threading
import types

import confine
import remote

PRELOADED = """
abc array ast bisect calendar cmath collections collections.abc copy dataclasses datetime decimal
enum fractions functools hashlib heapq io itertools json math numbers operator os.path queue random
re statistics string struct textwrap threading time traceback typing unittest uuid
""".split()  # noqa: SIM905 (a list of names is easier to read this way)
OUTPUT_KEPT = 1 << 20


def preload() -> None:
    """Import what most programs import, once, before the first fork."""
    for name in PRELOADED:
        importlib.import_module(name)


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
    for name in (
        "server",
        "children",
        "program",
        "confine",
        "checker",
        "collect",
        "frames",
        "remote",
        "values",
        "fake_pytest",
    ):
        sys.modules.pop(name, None)
    here = os.path.dirname(os.path.abspath(__file__))
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
    _settle(folder, set())
    sys.stdin = sys.__stdin__ = _text_stream(0, "rb", "strict")
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = _text_stream(fd, "wb", "backslashreplace")
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


def _text_stream(fd: int, mode: str, errors: str) -> io.TextIOWrapper:
    raw = open(fd, mode, closefd=False)  # noqa: SIM115 (open until the process ends)
    return io.TextIOWrapper(raw, "utf-8", errors)


def _unlinked(folder: str) -> int:
    path = os.path.join(folder, "stdin")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.unlink(path)
    return fd


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Printed(io.StringIO):
    """Collects what the program prints between two calls, up to a cap."""

    def write(self, text: str) -> int:
        if self.tell() < OUTPUT_KEPT:
            super().write(text)
        return len(text)

    def take(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def serve_functions(text: str, connection, folder: str) -> None:
    """Load the program as the module ``solution`` and answer the tests' calls into it."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _settle(folder, {connection.fileno()})
    printed = Printed()
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), printed, io.StringIO()
    peer = remote.Peer(connection, exports_all=True, printed=printed.take)
    module = _module("solution", text)
    try:
        exec(compile(text, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        peer.send({"failed": peer.encode_error(error), "out": printed.take()})
        os._exit(1)
    names = [name for name in vars(module) if not (name.startswith("__") and name.endswith("__"))]
    peer.send({"loaded": names, "module": peer.encode(module), "out": printed.take()})
    peer.serve_forever()
    os._exit(0)
