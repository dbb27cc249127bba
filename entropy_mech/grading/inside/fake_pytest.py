"""The part of pytest's interface that tests in data sets use; importing it costs nothing.

It stands in for ``import pytest`` inside the sandbox: real pytest takes longer to start than
most programs take to run, and the programs' verdicts then need no test framework installed.
"""

from __future__ import annotations

import math
import re
import types
import warnings as _warnings
from collections import namedtuple

Captured = namedtuple("Captured", "out err")


class Mark:
    def __init__(self, name, args=(), kwargs=None):
        self.name, self.args, self.kwargs = name, args, kwargs or {}

    def __call__(self, *args, **kwargs):
        bare = len(args) == 1 and not kwargs and isinstance(args[0], (type, types.FunctionType))
        if bare and self.name != "parametrize":
            return self.attach(args[0])
        if self.name == "parametrize" and self.args:
            return self.attach(args[0])
        if self.args or self.kwargs:
            return self.attach(args[0])
        if self.name == "parametrize":
            args = (kwargs.get("argnames", *args[:1]) if not args else args[0],
                    kwargs["argvalues"] if len(args) < 2 else args[1])  # fmt: skip
        if self.name == "skipif" and not args:
            args = (kwargs.get("condition", True),)
        return Mark(self.name, args or (None,), kwargs)

    def attach(self, target):
        target.pytestmark = [self, *getattr(target, "pytestmark", [])]
        return target


class _Marks:
    def __getattr__(self, name):
        return Mark(name)


mark = _Marks()


class Parameters:
    def __init__(self, values):
        self.values = values


def param(*values, **_):
    return Parameters(values)


class Fixture:
    def __init__(self, function, autouse=False):
        self.function, self.autouse = function, autouse


def fixture(function=None, *, autouse=False, **_):
    if function is not None:
        return Fixture(function)
    return lambda inner: Fixture(inner, autouse)


class raises:
    """Context manager, or call, that fails unless the given exception is raised."""

    def __new__(cls, expected, function=None, *args, match=None, **kwargs):
        self = super().__new__(cls)
        self.expected, self.match, self.value, self.type = expected, match, None, None
        if function is None:
            return self
        with self:
            function(*args, **kwargs)
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _traceback):
        if kind is None:
            raise AssertionError(f"did not raise {self.expected}")
        if not issubclass(kind, self.expected):
            return False
        self.type, self.value = kind, error
        if self.match is not None and not re.search(self.match, str(error)):
            raise AssertionError(f"{str(error)!r} does not match {self.match!r}")
        return True


class warns(_warnings.catch_warnings):
    def __init__(self, expected=Warning, match=None):
        super().__init__(record=True)
        self.expected = expected

    def __exit__(self, *error):
        seen = any(issubclass(w.category, self.expected) for w in self.log or [])
        super().__exit__(*error)
        if error[0] is None and not seen:
            raise AssertionError(f"no {self.expected} was given")


class approx:
    """Equal to a number, a sequence or a mapping of numbers within 1e-6 of it."""

    __array_ufunc__ = None  # so that an array asks this object
    __hash__ = None

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def _near(self, got, expected):
        if isinstance(expected, dict):
            same = isinstance(got, dict) and got.keys() == expected.keys()
            return same and all(self._near(got[k], expected[k]) for k in expected)
        if hasattr(expected, "tolist"):
            expected = expected.tolist()
        if isinstance(expected, (list, tuple)):
            got = got.tolist() if hasattr(got, "tolist") else got
            same = isinstance(got, (list, tuple)) and len(got) == len(expected)
            return same and all(map(self._near, got, expected))
        numbers = all(
            hasattr(type(v), "__sub__") and hasattr(type(v), "__abs__") for v in (got, expected)
        )
        if not numbers or isinstance(got, bool) or type(got).__module__ == "remote":
            return type(got) is type(expected) and got == expected
        if got == expected:
            return True
        if got != got or expected != expected:
            return self.nan_ok and got != got and expected != expected
        if math.isinf(abs(got)) or math.isinf(abs(expected)):
            return False
        absolute = 1e-12 if self.abs is None else self.abs
        relative = self.rel if self.rel is not None else 0 if self.abs is not None else 1e-6
        return abs(got - expected) <= max(absolute, relative * abs(expected))

    def __eq__(self, got):
        if type(got).__module__ == "remote" or hasattr(type(got), "_class_ref"):
            return False
        return self._near(got, self.expected)

    def __ne__(self, got):
        return not self == got

    def __repr__(self):
        return f"approx({self.expected!r})"


class Skipped(Exception):
    pass


def skip(reason="", **_):
    raise Skipped(reason)


def fail(reason="", **_):
    raise AssertionError(reason)


def importorskip(name, **_):
    return __import__(name)


class MonkeyPatch:
    """Sets attributes and items for the length of one test."""

    def __init__(self):
        self.undone = []

    def setattr(self, target, name, value=None, raising=True):
        if isinstance(target, str):
            value, (module, _, name) = name, target.rpartition(".")
            target = __import__(module, fromlist=["_"])
        old = getattr(target, name)
        self.undone.append(lambda: setattr(target, name, old))
        setattr(target, name, value)

    def setitem(self, mapping, key, value):
        had, old = key in mapping, mapping.get(key)
        undo = (lambda: mapping.__setitem__(key, old)) if had else (lambda: mapping.pop(key, None))
        self.undone.append(undo)
        mapping[key] = value

    def undo(self):
        while self.undone:
            self.undone.pop()()
