"""The names that tests take from pytest, without pytest: it is not needed where programs run."""

from __future__ import annotations

import re
import sys
import types
from functools import partial

from approximate import approx  # noqa: F401 (these are here to be imported by tests)
from builtin_fixtures import (  # noqa: F401
    CaptureFixture,
    LogCaptureFixture,
    TempPathFactory,
    WarningsRecorder,
)
from expected import ExceptionInfo, RaisesGroup, deprecated_call, raises, warns  # noqa: F401
from outcomes import BadTests, Failed, Skipped, XFailed
from patches import MonkeyPatch  # noqa: F401


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise BadTests(f"pytest.{name} is not available here")


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
        if isinstance(target, (*_MARKABLE, Fixture)) and getattr(target, "__name__", "") != (
            "<lambda>"
        ):
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
    if minversion:
        wanted, got = (
            [int(part) for part in re.findall(r"\d+", str(v))]
            for v in (minversion, getattr(module, "__version__", "0"))
        )
        if got < wanted:
            raise Skipped(reason or f"{modname} is older than {minversion}")
    return module


RaisesExc = raises


def main(*_args, **_kwargs):
    return 0


# Names that only stand in annotations and filters.
class FixtureRequest:
    pass


class Item:
    pass


class Config:
    pass


class PytestWarning(UserWarning):
    pass


class PytestUnknownMarkWarning(PytestWarning):
    pass


class PytestUnhandledCoroutineWarning(PytestWarning):
    pass


class PytestUnraisableExceptionWarning(PytestWarning):
    pass


def register_assert_rewrite(*_names):
    pass
