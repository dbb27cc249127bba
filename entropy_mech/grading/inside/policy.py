# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""What the tests let the program do with the objects that they pass to it.

A list of what is allowed, by the kind of object; whatever is not on it is only a token. Nothing
here leads to a frame, to code, to a module or to another object's insides: frames, tracebacks
and code objects are on no list, and functions, whose attributes lead there, are only called.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import io
import itertools
import logging
import pathlib
import random
import re
import sys
import threading
import types
import weakref

import plain
import proxies

_HEAP_TYPE = 1 << 9
_CALLABLE = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType,
    type(str.upper), type(int.__add__), functools.partial, type(functools.lru_cache(len)),
    weakref.ref,
)  # fmt: skip
_ITERATORS = (
    types.GeneratorType, zip, map, filter, enumerate, reversed, itertools.count, itertools.cycle,
    itertools.chain, itertools.islice, itertools.repeat, itertools.product, itertools.permutations,
    itertools.combinations, itertools.starmap, itertools.takewhile, itertools.accumulate,
    *[
        type(iter(empty))
        for empty in ([], (), "", b"", {}, set(), range(0), range(1 << 70), bytearray(),
                      {}.values(), {}.items(), reversed([]))
    ],
)  # fmt: skip
_OPEN = (
    io.StringIO, io.BytesIO, re.Pattern, re.Match, random.Random, type(threading.Lock()),
    type(threading.RLock()), types.SimpleNamespace, type({}.keys()), memoryview,
)  # fmt: skip
# Modules and packages whose objects show frames, lines of source or the grader itself.
_CLOSED = {path.stem for path in pathlib.Path(__file__).parent.glob("*.py")} | set(
    "traceback unittest.case unittest.suite unittest.loader unittest.runner asyncio.tasks "
    "asyncio.futures _asyncio sys bdb pdb code codeop dis gc linecache importlib types weakref "
    "contextvars pytest _pytest pluggy".split()
)
_CLOSED_NAMES = set("findCaller makeRecord".split())  # of a logger: they show the stack
_OF_THE_STACK = set("stack_info exc_info".split())  # arguments that do
_NAMES = set("__name__ __qualname__ __doc__ __module__".split())

# What the program reads, it reads where the tests may have put something to read.
INPUT = {
    "input": lambda *prompt: builtins.input(*prompt),
    "readline": lambda size: sys.stdin.readline(size),
    "read": lambda size: sys.stdin.read(size),
}


def _is_closed(kind: type) -> bool:
    module = str(kind.__module__)
    return module in _CLOSED or module.partition(".")[0] in _CLOSED


def grants(kind: type, op: str) -> bool:
    """Whether an operation may be done at all on objects of a class."""
    if issubclass(kind, _CALLABLE):
        return op in ("__call__", "get", "signature")
    if kind in _ITERATORS:
        return op in ("__iter__", "__next__", "__length_hint__")
    if kind is types.CoroutineType:
        return op in ("finish", "start", "cancel", "__await__")
    if issubclass(kind, type):
        return op in ("__call__", "get") or op in proxies.SPECIAL
    ordinary = kind in _OPEN or (kind.__flags__ & _HEAP_TYPE and not _is_closed(kind))
    return bool(ordinary) and (
        op in proxies.SPECIAL or op in ("get", "set", "del", "copy", "deepcopy")
    )


def check(op: str, args: tuple, codec) -> None:
    """Raise unless the program may do this; the object asked must be one that the tests gave."""
    target = args[0]
    ours = codec.known.get(id(target), 0) > 0
    own_class = isinstance(target, type) and not _is_closed(target)
    may = grants(type(target), op) or (own_class and op == "set" and not plain.library_name(target))
    if not ours or not may:
        raise TypeError(f"{type(target).__name__!r} object does not do this for a program: {op}")
    if op in ("get", "set", "del"):
        name = args[1]
        function = issubclass(type(target), _CALLABLE)
        known = name in _NAMES or (function and name == "__code__")
        public = isinstance(name, str) and name[:1] != "_" and name not in _CLOSED_NAMES
        if not known and (function or not public):
            raise AttributeError(name)


def arguments(function, kwargs: dict) -> dict:
    """The named arguments of a call; a logger is not asked for the tests' stack."""
    if isinstance(getattr(function, "__self__", None), logging.Logger):
        return {name: value for name, value in kwargs.items() if name not in _OF_THE_STACK}
    return kwargs


def outline(function) -> types.SimpleNamespace:
    """What a function's code says about its parameters: their names and kinds."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        raise AttributeError("__code__")
    flags = code.co_flags
    count = code.co_argcount + code.co_kwonlyargcount + bool(flags & 4) + bool(flags & 8)
    return types.SimpleNamespace(
        co_name=code.co_name,
        co_flags=flags,
        co_argcount=code.co_argcount,
        co_posonlyargcount=code.co_posonlyargcount,
        co_kwonlyargcount=code.co_kwonlyargcount,
        co_varnames=code.co_varnames[:count],
    )


def signature(function) -> inspect.Signature:
    """The signature of a function, without its defaults and annotations."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(function).parameters.values()
    return inspect.Signature(
        [
            p.replace(annotation=empty, default=p.default if p.default is empty else ...)
            for p in parameters
        ]
    )
