"""The names that tests take from pytest, without pytest, which would make every fork dearer."""

from __future__ import annotations

import collections.abc
import datetime
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
    LogCaptureFixture,
    MonkeyPatch,
    Skipped,
    TempPathFactory,
    WarningsRecorder,
    XFailed,
)


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise BadTests(f"pytest.{name} is not available here")


# -- approx ------------------------------------------------------------------------------------
_TEXT = (str, bytes, bytearray)
_NUMBER = (numbers.Complex, decimal.Decimal)


def approx(expected, rel=None, abs=None, nan_ok=False):
    """Equal to a number, a flat sequence, a mapping, an array or a time within a tolerance."""
    numpy = sys.modules.get("numpy")
    if isinstance(expected, collections.abc.Mapping):
        kind = _Mapping
    elif numpy and isinstance(expected, numpy.ndarray):
        kind = _Array
    elif hasattr(expected, "__getitem__") and hasattr(expected, "__len__"):
        kind = _Scalar if isinstance(expected, _TEXT) else _Sequence
    elif isinstance(expected, collections.abc.Collection):
        raise TypeError(f"approx() takes ordered sequences only, not {expected!r}")
    elif isinstance(expected, (datetime.datetime, datetime.timedelta)):
        kind = _Time
    else:
        kind = _Scalar
    return kind(expected, rel, abs, nan_ok)


class _Approx:
    __array_ufunc__ = None  # so that an array asks this object
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, expected, rel, abs, nan_ok):
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok
        self._check()

    def _check(self):
        pass

    def _near(self, got, expected) -> bool:
        time = isinstance(expected, (datetime.datetime, datetime.timedelta))
        kind = _Time if time else _Scalar
        return kind(expected, self._rel, self._abs, self._nan_ok) == got

    def __ne__(self, got):
        return not self == got

    def __bool__(self):
        raise AssertionError("approx() stands in a comparison; it has no truth of its own")

    def __repr__(self):
        return f"approx({self._expected!r})"


def _refuse_nested(values):
    for value in values:
        if isinstance(value, collections.abc.Collection) and not isinstance(value, _TEXT):
            raise TypeError(f"approx() does not look into nested containers: {value!r}")


class _Mapping(_Approx):
    def _check(self):
        _refuse_nested(self._expected.values())

    def __eq__(self, got):
        try:
            same = set(got.keys()) == set(self._expected.keys())
        except AttributeError:
            return False
        return same and all(self._near(got[key], self._expected[key]) for key in self._expected)


class _Sequence(_Approx):
    def _check(self):
        _refuse_nested(self._expected)

    def __eq__(self, got):
        try:
            same = len(got) == len(self._expected)
        except TypeError:
            return False
        return same and all(map(self._near, got, self._expected))


class _Array(_Approx):
    def __eq__(self, got):
        numpy = sys.modules["numpy"]
        if isinstance(got, remote.Remote):
            return False
        if not numpy.isscalar(got):
            try:
                got = numpy.asarray(got)
            except (TypeError, ValueError):
                return False
            if got.shape != self._expected.shape:
                return False
            got = got.flat
            return all(self._near(a.item(), b.item()) for a, b in zip(got, self._expected.flat))  # noqa: B905 (the shapes are the same)
        return all(self._near(got, value.item()) for value in self._expected.flat)


class _Time(_Approx):
    def _check(self):
        if not isinstance(self._abs, datetime.timedelta):
            raise TypeError("approx() of a time needs abs, a timedelta")

    def __eq__(self, got):
        if not isinstance(got, (datetime.datetime, datetime.timedelta)):
            return False
        try:
            return abs(got - self._expected) <= self._abs
        except TypeError:
            return False


class _Scalar(_Approx):
    def __eq__(self, got):
        if isinstance(got, (remote.Remote, remote.RemoteClass)):
            return False
        numpy, expected = sys.modules.get("numpy"), self._expected
        if numpy and isinstance(got, numpy.ndarray):
            return all(self == value for value in got.flat)
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


# -- expected exceptions and warnings ----------------------------------------------------------
class ExceptionInfo:
    """What ``raises`` gives: filled in once the exception came."""

    value = type = tb = traceback = None

    def fill(self, error):
        self.value, self.type, self.tb = error, type(error), error.__traceback__

    @property
    def typename(self):
        return self.type.__name__

    def exconly(self, tryshort=False):
        text = str(self.value)
        return f"{self.typename}: {text}" if text else self.typename

    def errisinstance(self, expected):
        return isinstance(self.value, expected)

    def group_contains(self, expected, *, match=None, depth=None):
        return any(
            isinstance(error, expected) and (match is None or _matches(error, match))
            for at, error in _members(self.value, 1) if depth in (None, at)
        )  # fmt: skip

    def match(self, pattern):
        assert _matches(self.value, pattern), f"{str(self.value)!r} does not match {pattern!r}"
        return True

    def __str__(self):
        return repr(self)

    def __repr__(self):
        return f"<ExceptionInfo {self.value!r}>"


def _matches(error, pattern) -> bool:
    return bool(re.search(pattern, "\n".join([str(error), *getattr(error, "__notes__", ())])))


def _members(group, depth):
    """All exceptions in a group, and in the groups in it, each with its depth."""
    for error in getattr(group, "exceptions", ()):
        yield depth, error
        yield from _members(error, depth + 1)


def _kinds(expected, base, takes) -> tuple:
    kinds = expected if isinstance(expected, tuple) else (expected,)
    if not kinds or not all(isinstance(k, type) and issubclass(k, base) for k in kinds):
        raise TypeError(f"{takes}, not {expected!r}")
    return kinds


class Raises:
    """Fails unless the block raises one of the expected exceptions."""

    def __init__(self, expected, match=None, check=None):
        self.expected = _kinds(expected, BaseException, "raises() takes exception types")
        self.pattern, self.check = match, check

    def __enter__(self):
        self.info = ExceptionInfo()
        return self.info

    def __exit__(self, kind, error, _traceback):
        if kind is None:
            raise Failed(f"did not raise {' or '.join(k.__name__ for k in self.expected)}")
        if not issubclass(kind, self.expected):
            return False
        self.info.fill(error)
        self.examine(error)
        return True

    def examine(self, error):
        """Raise what a test sees of an exception of the right class that is not right."""
        if self.pattern is not None and not _matches(error, self.pattern):
            raise AssertionError(f"{str(error)!r} does not match {self.pattern!r}")
        if self.check is not None and not self.check(error):
            raise AssertionError(f"{error!r} does not pass the check")

    def matches(self, error):
        try:
            return isinstance(error, self.expected) and self.examine(error) is None
        except AssertionError:
            return False


class RaisesGroup(Raises):
    """Fails unless the block raises a group of exactly the expected exceptions, in any order."""

    def __init__(self, *members, match=None, check=None, allow_unwrapped=False,
                 flatten_subgroups=False):  # fmt: skip
        super().__init__(BaseExceptionGroup, match, check)
        self.members = [m if isinstance(m, Raises) else Raises(m) for m in members]
        self.flatten = flatten_subgroups
        if allow_unwrapped:
            self.expected += self.members[0].expected

    def examine(self, error):
        super().examine(error)
        found = [error]
        if isinstance(error, BaseExceptionGroup):
            found = [e for _, e in _members(error, 1) if not hasattr(e, "exceptions")]
            found = found if self.flatten else list(error.exceptions)
        if not _pairs_off(self.members, found):
            raise AssertionError(f"{error!r} is not the expected group")


def _pairs_off(wanted, found) -> bool:
    if not wanted:
        return not found
    return any(
        wanted[0].matches(error) and _pairs_off(wanted[1:], found[:i] + found[i + 1 :])
        for i, error in enumerate(found)
    )


def raises(expected_exception=BaseException, *args, match=None, check=None, **kwargs):
    if not args:
        return Raises(expected_exception, match, check)
    if match is not None:
        kwargs["match"] = match
    with Raises(expected_exception) as info:
        args[0](*args[1:], **kwargs)
    return info


class Warns(WarningsRecorder):
    """Fails unless the block gives one of the expected warnings."""

    def __init__(self, expected=Warning, match=None):
        super().__init__()
        self.expected = _kinds(expected, Warning, "warns() takes warning types")
        self.pattern = match

    def __exit__(self, *error):
        super().__exit__(*error)
        if error[0] is not None:
            return
        wanted = [w for w in self.list if issubclass(w.category, self.expected)]
        if self.pattern is not None:
            wanted = [w for w in wanted if re.search(self.pattern, str(w.message))]
        if not wanted:
            names = " or ".join(k.__name__ for k in self.expected)
            matching = f" matching {self.pattern!r}" if self.pattern else ""
            raise Failed(f"did not warn with {names}{matching}")
        for other in self.list:  # those that this block did not ask for are another's to see
            if other not in wanted:
                _warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def warns(expected_warning=Warning, *args, match=None, **kwargs):
    if not args:
        return Warns(expected_warning, match)
    with Warns(expected_warning):
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

    @property
    def mark(self):
        return self

    def __call__(self, *args, **kwargs):
        target = args[0] if len(args) == 1 and not kwargs else None
        named = getattr(target, "__name__", "") != "<lambda>"
        if named and isinstance(target, (*_MARKABLE, Fixture)):
            target.pytestmark = [self, *vars(target).get("pytestmark", ())]
            return target
        return Mark(self.name, (*self.args, *args), {**self.kwargs, **kwargs})

    with_args = __call__


class _Marks:
    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return Mark(name)


mark = _Marks()


class Parameters:
    """One row of a ``parametrize``, or one value of a fixture's ``params``."""

    def __init__(self, values, marks=(), id=None):
        self.values, self.id = values, id
        self.marks = tuple(marks) if isinstance(marks, (list, tuple, set)) else (marks,)


def param(*values, marks=(), id=None):
    return Parameters(values, marks, id)


class Fixture:
    """A function that makes what tests ask for by the name of an argument."""

    def __init__(self, function, scope="function", params=None, autouse=False, ids=None, name=None):
        self.function, self.scope, self.autouse = function, scope, autouse
        self.params, self.ids, self.name = params and list(params), ids, name
        self.__name__ = getattr(function, "__name__", "fixture")

    def __call__(self, *_args, **_kwargs):
        raise Failed(f"fixture {self.__name__} called directly")


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
    module = sys.modules[modname]
    wanted, got = (
        [int(part) for part in re.findall(r"\d+", str(version))]
        for version in (minversion or "", getattr(module, "__version__", "0"))
    )
    if got < wanted:
        raise Skipped(reason or f"{modname} is older than {minversion}")
    return module


RaisesExc = raises


def main(*_args, **_kwargs):
    return 0


# Names that only stand in annotations and filters.
class PytestWarning(UserWarning):
    pass


class _Named:
    pass


FixtureRequest = Item = Config = _Named
PytestUnknownMarkWarning = PytestUnhandledCoroutineWarning = PytestWarning
PytestUnraisableExceptionWarning = PytestWarning


def register_assert_rewrite(*_names):
    pass
