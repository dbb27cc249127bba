"""The names that tests take from pytest, without pytest, which would make every fork dearer."""

from __future__ import annotations

import collections.abc
import contextlib
import decimal
import math
import numbers
import re
import sys
import types
import warnings as _warnings
from functools import partial

import remote
from fixtures import (  # noqa: F401 (some are here to be imported by tests)
    BadTests,
    CaptureFixture,
    Failed,
    Fixture,
    MonkeyPatch,
    Skipped,
    XFailed,
)
from fixtures import Request as FixtureRequest  # noqa: F401


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise BadTests(f"pytest.{name} is not available here")


# -- approx ------------------------------------------------------------------------------------
_TEXT = (str, bytes, bytearray)
_NUMBER = (numbers.Complex, decimal.Decimal)
_PROXY = (remote.Remote, remote.RemoteClass)


class approx:
    """Equal to a number, a flat sequence, a mapping or an array within a tolerance."""

    __array_ufunc__ = None  # so that an array asks this object
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        if abs is not None and not isinstance(abs, _NUMBER):
            raise BadTests(f"pytest.approx(abs={abs!r}) is not available here")
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok
        if isinstance(expected, collections.abc.Mapping):
            self._pairs = self._pairs_of_mapping
            _refuse_nested(expected.values())
        elif _is_array(expected):
            self._pairs = self._pairs_of_array
        elif hasattr(expected, "__getitem__") and hasattr(expected, "__len__"):
            if not isinstance(expected, _TEXT):
                self._pairs = self._pairs_of_sequence
                _refuse_nested(expected)
        elif isinstance(expected, collections.abc.Collection):
            raise TypeError(f"approx() takes ordered sequences only, not {expected!r}")

    def __eq__(self, got):
        pairs = self._pairs(got)
        return pairs is not None and all(self._near(*pair) for pair in pairs)

    def __ne__(self, got):
        return not self == got

    def __bool__(self):
        raise AssertionError("approx() stands in a comparison; it has no truth of its own")

    def __repr__(self):
        return f"approx({self._expected!r})"

    # What is compared, number by number; None where the shapes differ.
    def _pairs(self, got):
        return [(got, self._expected)]

    def _pairs_of_mapping(self, got):
        try:
            same = set(got.keys()) == set(self._expected.keys())
        except AttributeError:
            return None
        return [(got[key], value) for key, value in self._expected.items()] if same else None

    def _pairs_of_sequence(self, got):
        try:
            same = len(got) == len(self._expected)
        except TypeError:
            return None
        return list(zip(got, self._expected, strict=True)) if same else None

    def _pairs_of_array(self, got):
        numpy, expected = sys.modules["numpy"], self._expected
        if isinstance(got, _PROXY):
            return None
        try:
            got = got if numpy.isscalar(got) else numpy.asarray(got)
        except (TypeError, ValueError):
            return None
        if _is_array(got) and got.shape != expected.shape:
            return None
        got = numpy.broadcast_to(got, expected.shape)
        return [(a.item(), b.item()) for a, b in zip(got.flat, expected.flat, strict=True)]

    def _near(self, got, expected) -> bool:
        if isinstance(got, _PROXY):
            return False
        if isinstance(expected, _PROXY):
            return bool(got == expected)  # it says nothing about its own size
        if _is_array(got):
            return all(self._near(one, expected) for one in got.flat)
        numpy = sys.modules.get("numpy")
        booleans = (bool, numpy.bool_) if numpy else bool
        if isinstance(expected, booleans):
            return isinstance(got, booleans) and bool(got == expected)
        if got == expected:
            return True
        if not (isinstance(expected, _NUMBER) and isinstance(got, _NUMBER)):
            return False
        size = abs(expected)
        if size != size:
            return self._nan_ok and abs(got) != abs(got)
        if math.isinf(size):
            return False
        return bool(abs(expected - got) <= self._tolerance(size))

    def _tolerance(self, size):
        exact = isinstance(size, decimal.Decimal)
        number = decimal.Decimal if exact else lambda value: value
        absolute = number(self._abs if self._abs is not None else "1e-12" if exact else 1e-12)
        relative = number(self._rel if self._rel is not None else "1e-6" if exact else 1e-6) * size
        for name, value in (("absolute", absolute), ("relative", relative)):
            if not value >= 0:
                raise ValueError(f"the {name} tolerance cannot be {value}")
        return absolute if self._rel is None and self._abs is not None else max(absolute, relative)


def _is_array(value) -> bool:
    numpy = sys.modules.get("numpy")
    return bool(numpy) and isinstance(value, numpy.ndarray)


def _refuse_nested(values):
    for value in values:
        if isinstance(value, collections.abc.Collection) and not isinstance(value, _TEXT):
            raise TypeError(f"approx() does not look into nested containers: {value!r}")


# -- expected exceptions and warnings ----------------------------------------------------------
class ExceptionInfo:
    """What ``raises`` gives: filled in once the exception came."""

    value = type = tb = traceback = None
    __class_getitem__ = classmethod(types.GenericAlias)

    @property
    def typename(self):
        return self.type.__name__

    def match(self, pattern):
        text = "\n".join([str(self.value), *getattr(self.value, "__notes__", ())])
        assert re.search(pattern, text), f"{text!r} does not match {pattern!r}"
        return True

    def __getattr__(self, name):
        if name[:2] == "__":
            raise AttributeError(name)
        raise BadTests(f"ExceptionInfo.{name} is not available here")

    def __repr__(self):
        return f"<ExceptionInfo {self.value!r}>"


def _kinds(expected, base, takes) -> tuple:
    kinds = expected if isinstance(expected, tuple) else (expected,)
    if not kinds or not all(isinstance(k, type) and issubclass(k, base) for k in kinds):
        raise TypeError(f"{takes}, not {expected!r}")
    return kinds


class Raises:
    """Fails unless the block raises one of the expected exceptions."""

    def __init__(self, expected, match=None):
        self.expected = _kinds(expected, BaseException, "raises() takes exception types")
        self.pattern = match

    def __enter__(self):
        self.info = ExceptionInfo()
        return self.info

    def __exit__(self, kind, error, traceback):
        if kind is None:
            raise Failed(f"did not raise {' or '.join(k.__name__ for k in self.expected)}")
        if not issubclass(kind, self.expected):
            return False
        info = self.info
        info.value, info.type, info.tb = error, kind, traceback
        if self.pattern is not None:
            info.match(self.pattern)
        return True


def raises(expected_exception=BaseException, *args, match=None, **kwargs):
    if not args and kwargs:
        raise BadTests(f"pytest.raises({min(kwargs)}=...) is not available here")
    if not args:
        return Raises(expected_exception, match)
    if match is not None:
        kwargs["match"] = match
    with Raises(expected_exception) as info:
        args[0](*args[1:], **kwargs)
    return info


@contextlib.contextmanager
def _warns(expected, match):
    """Fails unless the block gives one of the expected warnings."""
    kinds = _kinds(expected, Warning, "warns() takes warning types")
    with _warnings.catch_warnings(record=True) as seen:
        _warnings.simplefilter("always")
        yield seen
    wanted = [
        w for w in seen
        if issubclass(w.category, kinds) and (not match or re.search(match, str(w.message)))
    ]  # fmt: skip
    if not wanted:
        matching = f" matching {match!r}" if match else ""
        raise Failed(f"did not warn with {' or '.join(k.__name__ for k in kinds)}{matching}")
    for other in seen:  # those that this block did not ask for are another's to see
        if other not in wanted:
            _warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def warns(expected_warning=Warning, *args, match=None, **kwargs):
    if not args:
        return _warns(expected_warning, match)
    with _warns(expected_warning, None):
        return args[0](*args[1:], **kwargs)


def deprecated_call(*args, match=None, **kwargs):
    kinds = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    return warns(kinds, *args, match=match, **kwargs)


# -- marks --------------------------------------------------------------------------------------
_MARKABLE = (type, types.FunctionType, types.MethodType, staticmethod, classmethod, partial)


class Mark:
    """A mark, and the decorator that attaches it."""

    def __init__(self, name, args=(), kwargs=None):
        self.name, self.args, self.kwargs = name, args, kwargs or {}

    def __call__(self, *args, **kwargs):
        target = args[0] if len(args) == 1 and not kwargs else None
        named = getattr(target, "__name__", "") != "<lambda>"
        if named and isinstance(target, (*_MARKABLE, Fixture)):
            target.pytestmark = [self, *vars(target).get("pytestmark", ())]
            return target
        return Mark(self.name, (*self.args, *args), {**self.kwargs, **kwargs})


class _Marks:
    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return Mark(name)


mark = _Marks()


class Parameters:
    """One row of a ``parametrize``, or one value of a fixture's ``params``."""

    def __init__(self, values, marks=()):
        self.values = values
        self.marks = tuple(marks) if isinstance(marks, (list, tuple, set)) else (marks,)


def param(*values, marks=(), id=None):
    return Parameters(values, marks)


def fixture(function=None, **settings):
    settings.pop("loop_scope", None)
    if function is not None:
        return Fixture(function, **settings)
    return lambda inner: Fixture(inner, **settings)


# -- outcomes -----------------------------------------------------------------------------------
def skip(reason="", *, allow_module_level=False):
    raise Skipped(reason)


def fail(reason="", pytrace=True):
    raise Failed(reason)


def xfail(reason=""):
    raise XFailed(reason)


def exit(reason="", returncode=None):
    raise BadTests(f"the tests call pytest.exit({reason!r})")


skip.Exception, fail.Exception, xfail.Exception = Skipped, Failed, XFailed


def importorskip(modname, minversion=None, reason=None, *, exc_type=ImportError):
    try:
        __import__(modname)
    except exc_type:
        raise Skipped(reason or f"could not import {modname}") from None
    return sys.modules[modname]


def main(*_args, **_kwargs):
    return 0
