"""Fixtures as pytest makes them, those that it brings itself, and how a test can end.

Each is made once a scope, after what it needs, and taken down in reverse.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import os
import pathlib
import pkgutil
import sys
import tempfile
import types
from collections import namedtuple


# -- outcomes: no program can raise these, their classes stay here -----------------------------
class BadTests(BaseException):
    """The tests themselves cannot be run; no program could pass or fail them."""


class Failed(BaseException):
    """``pytest.fail``."""


class XFailed(Failed):
    """``pytest.xfail``."""


class Skipped(BaseException):
    """``pytest.skip``."""


# -- what the fixtures that pytest itself brings give to tests ----------------------------------
_ABSENT = object()


class MonkeyPatch:
    """Changes that are taken back at the end of the test."""

    def __init__(self):
        self._undone = contextlib.ExitStack()
        self.undo = self.close = self._undone.close

    @classmethod
    def context(cls):
        return contextlib.closing(cls())

    @staticmethod
    def _find(path):
        """The object and the attribute that a dotted path names."""
        owner, _, name = path.rpartition(".")
        return pkgutil.resolve_name(owner), name

    def setattr(self, target, name, value=_ABSENT, raising=True):
        if isinstance(target, str) and value is _ABSENT:
            value, (target, name) = name, self._find(target)
        old = getattr(target, name, _ABSENT)
        if raising and old is _ABSENT:
            raise AttributeError(f"{target!r} has no attribute {name!r}")
        if isinstance(target, type):
            old = vars(target).get(name, _ABSENT)
        put_back = (delattr, target, name) if old is _ABSENT else (setattr, target, name, old)
        self._undone.callback(*put_back)
        setattr(target, name, value)

    def delattr(self, target, name=_ABSENT, raising=True):
        if isinstance(target, str) and name is _ABSENT:
            target, name = self._find(target)
        if raising or hasattr(target, name):
            self._undone.callback(setattr, target, name, getattr(target, name))
            delattr(target, name)

    def setitem(self, mapping, key, value):
        old = mapping.get(key, _ABSENT)
        put_back = (mapping.pop, key, None) if old is _ABSENT else (mapping.__setitem__, key, old)
        self._undone.callback(*put_back)
        mapping[key] = value

    def delitem(self, mapping, key, raising=True):
        if raising or key in mapping:
            self._undone.callback(mapping.__setitem__, key, mapping[key])
            del mapping[key]

    def setenv(self, name, value, prepend=None):
        if prepend and name in os.environ:
            value = f"{value}{prepend}{os.environ[name]}"
        self.setitem(os.environ, name, str(value))

    def delenv(self, name, raising=True):
        self.delitem(os.environ, name, raising)

    def chdir(self, path):
        self._undone.callback(os.chdir, os.getcwd())
        os.chdir(path)


Captured = namedtuple("CaptureResult", "out err")


class CaptureFixture:
    """``capsys`` and ``capfd``: what was printed since the last look."""

    __class_getitem__ = classmethod(types.GenericAlias)

    def __init__(self):
        self.before = sys.stdout, sys.stderr
        self.streams = sys.stdout, sys.stderr = io.StringIO(), io.StringIO()

    def readouterr(self):
        texts = [stream.getvalue() for stream in self.streams]
        for stream in self.streams:
            stream.seek(0)
            stream.truncate()
        return Captured(*texts)

    @contextlib.contextmanager
    def disabled(self):
        sys.stdout, sys.stderr = self.before
        try:
            yield
        finally:
            sys.stdout, sys.stderr = self.streams

    def close(self):
        sys.stdout, sys.stderr = self.before


# -- fixtures, where they are defined ------------------------------------------------------------
SCOPES = ("session", "package", "module", "class", "function")


class Fixture:
    """A function that makes what tests ask for by the name of an argument.

    In the tests' text it has neither ``owner`` (the class that it is in) nor ``below`` (the one
    of the same name that it overrides); see :meth:`at`.
    """

    owner = below = None

    def __init__(self, function, scope="function", params=None, autouse=False, ids=None, name=None):
        self.function, self.scope, self.autouse, self.name = function, scope, autouse, name
        self.params = params and list(params)
        self.__name__ = getattr(function, "__name__", "fixture")

    def __call__(self, *_args, **_kwargs):
        raise Failed(f"fixture {self.__name__} called directly")

    def at(self, name, owner=None, below=None) -> Fixture:
        """The fixture where it is defined."""
        if self.scope not in SCOPES:
            raise BadTests(f"the fixture {name} has an unknown scope: {self.scope!r}")
        placed = copy.copy(self)
        placed.name, placed.owner, placed.below = name, owner, below
        placed.needs = argument_names(self.function, bound=owner is not None)
        return placed


@functools.cache
def parameters(function) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def argument_names(function, *, bound: bool) -> tuple[str, ...]:
    """What a test or a fixture asks for: its arguments without a value of their own."""
    if isinstance(function, staticmethod):
        bound = False
    function = getattr(function, "__func__", function)
    named = parameters(function)[1 if bound else 0 :]
    named = [p for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    patches = getattr(function, "patchings", ())  # of unittest.mock, which gives arguments first
    patched = sum(not p.attribute_name and p.new is _mock().DEFAULT for p in patches)
    return tuple(p.name for p in named[patched:] if p.default is p.empty)


def _mock():
    return sys.modules["unittest.mock"]  # the tests have imported it


def _closed_at_the_end(kind) -> Fixture:
    def fixture():
        with contextlib.closing(kind()) as value:
            yield value

    return Fixture(fixture)


BUILTIN = {
    "capsys": _closed_at_the_end(CaptureFixture),
    "capfd": _closed_at_the_end(CaptureFixture),
    "monkeypatch": _closed_at_the_end(MonkeyPatch),
    "tmp_path": Fixture(lambda: pathlib.Path(tempfile.mkdtemp(dir=os.getcwd()))),
    "request": Fixture(lambda request: request),
}
BUILTIN = {name: fixture.at(name) for name, fixture in BUILTIN.items()}


# -- fixtures, as they are made ------------------------------------------------------------------
class Node(contextlib.ExitStack):
    """A scope while it is open: the module, a class or one test."""

    def __init__(self):
        super().__init__()
        self.made: dict[Fixture, Made] = {}


class Made(contextlib.ExitStack):
    """The value of a fixture in its scope, or the exception that it ended with."""

    value = error = None

    def __init__(self, param, scope):
        super().__init__()
        self.param, self.scope = param, scope


class Request:
    """``request``: what a fixture may ask about the test that it is made for."""

    def __init__(self, item, fixture, made):
        self._item, self._made = item, made
        self.module, self.cls = item.file.module, item.owner
        self.function, self.instance, self.scope = item.function, item.instance, fixture.scope
        if fixture.name in item.params:
            self.param = made.param

    def __getattr__(self, name):
        if name == "param" or name[:2] == "__":
            raise AttributeError(name)
        raise BadTests(f"request.{name} is not available here")

    def getfixturevalue(self, name):
        return self._item.fixture_value(name, self._made)

    def addfinalizer(self, function):
        self._made.callback(function)


def make(fixture, item, dependent=None):
    """The value of a fixture for a test: made now, or found in its scope."""
    if dependent is not None and SCOPES.index(fixture.scope) > SCOPES.index(dependent.scope):
        raise BadTests(f"a fixture of scope {dependent.scope} asks for {fixture.name}, "
                       f"which is of scope {fixture.scope}")  # fmt: skip
    node, param = item.node_of(fixture.scope), item.params.get(fixture.name)
    made = node.made.get(fixture)
    if made is not None and made.param is not param and made.param != param:
        made.close()
        made = None
    if made is None:
        made = node.made[fixture] = Made(param, fixture.scope)
        made.callback(node.made.pop, fixture, None)
        node.callback(made.close)
        try:
            made.value = _value(fixture, item, made)
        except BaseException as error:
            made.error = error
    if dependent is not None:
        made.callback(dependent.close)
    if made.error is not None:
        raise made.error
    return made.value


def _value(fixture, item, made):
    arguments = {}
    for name in fixture.needs:
        if name == "request":
            arguments[name] = Request(item, fixture, made)
        elif name == fixture.name:
            if fixture.below is None:
                raise BadTests(f"the fixture {name} asks for itself")
            arguments[name] = make(fixture.below, item, made)
        else:
            arguments[name] = item.fixture_value(name, made)
    function = fixture.function
    if fixture.owner is not None:
        function = function.__get__(item.instance, fixture.owner)
    value = function(**arguments)
    if inspect.isgeneratorfunction(function):
        return _first_of(lambda: next(value), made)
    if inspect.isasyncgenfunction(function):
        return _first_of(lambda: item.file.run_async(anext(value)), made)
    return item.file.run_async(value) if inspect.iscoroutine(value) else value


def _first_of(step, made):
    """The value that a generator yields first; it is run to its end when the fixture is ended."""
    try:
        value = step()
    except StopIteration:
        raise ValueError("the fixture yielded no value") from None

    def finish():
        with contextlib.suppress(StopIteration, StopAsyncIteration):
            step()
            raise AssertionError("the fixture yielded twice")

    made.callback(finish)
    return value
