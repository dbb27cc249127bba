"""Fixtures as pytest makes them, those that it brings itself, and how a test can end.

Each is made once a scope, after what it needs, and taken down in reverse.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import logging
import os
import pathlib
import sys
import tempfile
import types
from collections import namedtuple

import pytest


# -- outcomes ----------------------------------------------------------------------------------
class BadTests(BaseException):
    """The tests themselves cannot be run; no program could pass or fail them."""


Failed, XFailed = pytest.fail.Exception, pytest.xfail.Exception  # the second is one of the first
Skipped = pytest.skip.Exception


# -- what differs in the module ``pytest`` that tests import, where no pytest runs them --------
Parameters = type(pytest.param())  # one row of a ``parametrize``, or one value of a fixture's


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


def exit(reason="", returncode=None):
    raise BadTests(f"the tests call pytest.exit({reason!r})")


def main(*_args, **_kwargs):
    return 0


def missing(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise BadTests(f"pytest.{name} is not available here")


def change_pytest() -> None:
    """Give these to the tests of this process."""
    vars(pytest).update(fixture=fixture, exit=exit, main=main, __getattr__=missing)


# -- the fixtures that pytest itself brings ----------------------------------------------------
Captured = namedtuple("CaptureResult", "out err")


class CaptureFixture:
    """``capsys`` and its like: what was printed since the last look."""

    __class_getitem__ = classmethod(types.GenericAlias)

    def __init__(self, binary=False):
        self.binary = binary
        self.before = sys.stdout, sys.stderr
        self.streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
        sys.stdout, sys.stderr = self.streams

    def readouterr(self):
        texts = []
        for stream in self.streams:
            stream.flush()
            data = stream.buffer.getvalue()
            stream.buffer.seek(0)
            stream.buffer.truncate()
            texts.append(data if self.binary else data.decode("utf-8", "replace"))
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


class TempPathFactory:
    """``tmp_path_factory``."""

    def __init__(self):
        self.base = pathlib.Path(tempfile.mkdtemp(dir=os.getcwd()))

    def getbasetemp(self):
        return self.base

    def mktemp(self, basename, numbered=True):
        if not numbered:
            (self.base / basename).mkdir()
            return self.base / basename
        return pathlib.Path(tempfile.mkdtemp(prefix=basename, dir=self.base))


class LogCaptureFixture(logging.Handler):
    """``caplog``."""

    def __init__(self):
        super().__init__(0)
        self.records, self.levels = [], {}
        logging.getLogger().addHandler(self)

    def emit(self, record):
        self.records.append(record)

    @property
    def handler(self):
        return self

    @property
    def messages(self):
        return [record.getMessage() for record in self.records]

    @property
    def record_tuples(self):
        return [(r.name, r.levelno, r.getMessage()) for r in self.records]

    @property
    def text(self):
        style = logging.Formatter("%(levelname)-8s %(name)s:%(filename)s:%(lineno)d %(message)s")
        return "".join(style.format(record) + "\n" for record in self.records)

    def clear(self):
        self.records.clear()

    def get_records(self, _when):
        return self.records

    def set_level(self, level, logger=None):
        named = logging.getLogger(logger)
        self.levels.setdefault(logger, named.level)
        named.setLevel(level)

    @contextlib.contextmanager
    def at_level(self, level, logger=None):
        named = logging.getLogger(logger)
        old = named.level
        named.setLevel(level)
        try:
            yield
        finally:
            named.setLevel(old)

    def close_down(self):
        logging.getLogger().removeHandler(self)
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)


# -- by name ------------------------------------------------------------------------------------
def _capture(binary):
    def make(_request):
        capture = CaptureFixture(binary)
        return capture, capture.close

    return make


def _monkeypatch(_request):
    patch = pytest.MonkeyPatch()
    return patch, patch.undo


def _caplog(_request):
    log = LogCaptureFixture()
    return log, log.close_down


def _recwarn(_request):
    recorder = pytest.WarningsRecorder(_ispytest=True)
    recorder.__enter__()
    return recorder, lambda: recorder.__exit__(None, None, None)


def _local_path(path):
    return importlib.import_module("py").path.local(path)


def _folder(kind):
    return lambda _request: (kind(tempfile.mkdtemp(dir=os.getcwd())), None)


# What each makes: the value, and how to end it. The scope is a test's own unless noted.
BUILTIN = {
    "capsys": _capture(False), "capfd": _capture(False),
    "capsysbinary": _capture(True), "capfdbinary": _capture(True),
    "monkeypatch": _monkeypatch, "caplog": _caplog, "recwarn": _recwarn,
    "tmp_path": _folder(pathlib.Path), "tmpdir": _folder(_local_path),
    "tmp_path_factory": lambda _request: (TempPathFactory(), None),
    "request": lambda request: (request, None),
    "record_property": lambda _request: (lambda *_: None, None),
    "anyio_backend": lambda _request: ("asyncio", None),
    "anyio_backend_name": lambda _request: ("asyncio", None),
}  # fmt: skip
SESSION_WIDE = {"tmp_path_factory", "anyio_backend", "anyio_backend_name"}


# -- fixtures in their scopes ------------------------------------------------------------------
SCOPES = ("session", "package", "module", "class", "function")


class Node:
    """A scope while it is open: the session, the module, a class or one test."""

    def __init__(self):
        self.finalizers, self.error = [], None
        self.made: dict[Definition, Made] = {}

    def close(self) -> BaseException | None:
        return _run_all(self.finalizers)


def _run_all(finalizers: list) -> BaseException | None:
    """Run what was registered, last first, all of it; return the first exception."""
    first = None
    while finalizers:
        try:
            finalizers.pop()()
        except BaseException as error:
            first = first or error
    return first


class Definition:
    """A fixture where it is defined; ``below`` is the one of the same name that it overrides."""

    def __init__(self, name, fixture, owner, below=None):
        self.name, self.owner, self.below = name, owner, below
        self.function, self.params = fixture.function, fixture.params
        self.ids, self.autouse, self.scope = fixture.ids, fixture.autouse, fixture.scope
        if self.scope not in SCOPES:
            raise BadTests(f"the fixture {name} has an unknown scope: {self.scope!r}")
        self.needs = argument_names(self.function, bound=owner is not None)


class BuiltIn:
    """A fixture that needs no definition in the tests."""

    owner = below = params = None
    autouse, needs = False, ()

    def __init__(self, name):
        self.name, self.make = name, BUILTIN[name]
        self.scope = "session" if name in SESSION_WIDE else "function"


class Made:
    """The value of a fixture in its scope, or the exception that it ended with."""

    value = error = None

    def __init__(self, param, scope):
        self.param, self.scope, self.finalizers = param, scope, []

    def finish(self):
        if (error := _run_all(self.finalizers)) is not None:
            raise error


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


class Request:
    """``request``: what a fixture may ask about the test that it is made for."""

    def __init__(self, item, definition=None, made=None):
        self._item, self._definition, self._made = item, definition, made
        self.node, self.module, self.cls = item, item.file.module, item.owner
        self.function, self.instance = item.function, item.instance
        self.keywords, self.config = item.keywords, item.file.config
        self.scope = definition.scope if definition else "function"
        self.fixturename = definition.name if definition else None
        if definition is not None and definition.name in item.params:
            self.param = made.param

    @property
    def fixturenames(self):
        return list(self._item.closure)

    def getfixturevalue(self, name):
        return self._item.fixture_value(name, self._made)

    def addfinalizer(self, function):
        (self._made or self._item.node_of("function")).finalizers.append(function)

    def applymarker(self, mark):
        self._item.add_marker(mark)


def make(definition, item, dependent=None):
    """The value of a fixture for a test: made now, or found in its scope."""
    if dependent is not None and SCOPES.index(definition.scope) > SCOPES.index(dependent.scope):
        raise BadTests(f"a fixture of scope {dependent.scope} asks for {definition.name}, "
                       f"which is of scope {definition.scope}")  # fmt: skip
    node = item.node_of(definition.scope)
    param = item.params.get(definition.name)
    made = node.made.get(definition)
    if made is not None and made.param is not param and made.param != param:
        made.finish()
        made = None
    if made is None:
        made = node.made[definition] = Made(param, definition.scope)
        made.finalizers.append(lambda: node.made.pop(definition, None))
        node.finalizers.append(made.finish)
        try:
            made.value = _value(definition, item, made)
        except BaseException as error:
            made.error = error
    if dependent is not None:
        made.finalizers.append(dependent.finish)
    if made.error is not None:
        raise made.error
    return made.value


def _value(definition, item, made):
    if isinstance(definition, BuiltIn):
        value, end = definition.make(Request(item))
        if end:
            made.finalizers.append(end)
        return value
    arguments = {}
    for name in definition.needs:
        if name == "request":
            arguments[name] = Request(item, definition, made)
        elif name == definition.name:
            if definition.below is None:
                raise BadTests(f"the fixture {name} asks for itself")
            arguments[name] = make(definition.below, item, made)
        else:
            arguments[name] = item.fixture_value(name, made)
    function = definition.function
    if definition.owner is not None:
        function = function.__get__(item.instance, definition.owner)
    if inspect.isgeneratorfunction(function):
        return _first_of(function(**arguments), made)
    if inspect.isasyncgenfunction(function):
        return _first_of_async(function(**arguments), item, made)
    value = function(**arguments)
    return item.file.run_async(value) if inspect.iscoroutine(value) else value


def _first_of(generator, made):
    try:
        value = next(generator)
    except StopIteration:
        raise ValueError("the fixture yielded no value") from None

    def finish():
        for _ in generator:
            raise AssertionError("the fixture yielded twice")

    made.finalizers.append(finish)
    return value


def _first_of_async(generator, item, made):
    async def step():
        return await anext(generator)

    value = item.file.run_async(step())

    def finish():
        try:
            item.file.run_async(step())
        except StopAsyncIteration:
            return
        raise AssertionError("the fixture yielded twice")

    made.finalizers.append(finish)
    return value
