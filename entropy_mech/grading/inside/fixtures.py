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
import warnings
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


# -- monkeypatch -------------------------------------------------------------------------------
_ABSENT = object()


class MonkeyPatch:
    """Changes that are taken back at the end of the test."""

    def __init__(self):
        self.undone = []

    @classmethod
    @contextlib.contextmanager
    def context(cls):
        patch = cls()
        try:
            yield patch
        finally:
            patch.undo()

    @staticmethod
    def _find(path):
        """The object and the attribute that a dotted path names."""
        module, _, name = path.rpartition(".")
        parts = module.split(".")
        for end in range(len(parts), 0, -1):
            try:
                target = importlib.import_module(".".join(parts[:end]))
            except ImportError:
                continue
            for part in parts[end:]:
                target = getattr(target, part)
            return target, name
        raise ImportError(f"no module for {path!r}")

    def setattr(self, target, name, value=_ABSENT, raising=True):
        if isinstance(target, str) and value is _ABSENT:
            value, (target, name) = name, self._find(target)
        old = getattr(target, name, _ABSENT)
        if raising and old is _ABSENT:
            raise AttributeError(f"{target!r} has no attribute {name!r}")
        if isinstance(target, type):
            old = vars(target).get(name, _ABSENT)
        put_back = (delattr, target, name) if old is _ABSENT else (setattr, target, name, old)
        self.undone.append(put_back)
        setattr(target, name, value)

    def delattr(self, target, name=_ABSENT, raising=True):
        if isinstance(target, str) and name is _ABSENT:
            target, name = self._find(target)
        old = getattr(target, name, _ABSENT)
        if old is _ABSENT:
            if raising:
                raise AttributeError(name)
            return
        self.undone.append((setattr, target, name, old))
        delattr(target, name)

    def setitem(self, mapping, key, value):
        old = mapping.get(key, _ABSENT)
        put_back = (mapping.pop, key, None) if old is _ABSENT else (mapping.__setitem__, key, old)
        self.undone.append(put_back)
        mapping[key] = value

    def delitem(self, mapping, key, raising=True):
        if key not in mapping:
            if raising:
                raise KeyError(key)
            return
        self.undone.append((mapping.__setitem__, key, mapping[key]))
        del mapping[key]

    def setenv(self, name, value, prepend=None):
        if prepend and name in os.environ:
            value = f"{value}{prepend}{os.environ[name]}"
        self.setitem(os.environ, name, str(value))

    def delenv(self, name, raising=True):
        self.delitem(os.environ, name, raising)

    def syspath_prepend(self, path):
        self.undone.append((sys.path.__setitem__, slice(None), sys.path[:]))
        sys.path.insert(0, str(path))

    def chdir(self, path):
        self.undone.append((os.chdir, os.getcwd()))
        os.chdir(path)

    def undo(self):
        while self.undone:
            function, *arguments = self.undone.pop()
            function(*arguments)


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


class LocalPath(type(pathlib.Path())):
    """``tmpdir``: a path with the methods that older tests use."""

    def join(self, *parts):
        return LocalPath(self, *parts)

    def mkdir(self, *parts, **settings):
        made = self.join(*parts)
        pathlib.Path(made).mkdir(**settings)
        return made

    def write(self, data, mode="w"):
        with open(self, mode) as file:
            file.write(data)

    def read(self, mode="r"):
        with open(self, mode) as file:
            return file.read()

    def ensure(self, *parts, dir=False):
        made = self.join(*parts)
        os.makedirs(made if dir else made.parent, exist_ok=True)
        dir or made.touch()
        return made

    def check(self):
        return self.exists()

    def listdir(self):
        return list(self.iterdir())

    strpath = property(str)
    basename = property(lambda self: self.name)


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


class WarningsRecorder(warnings.catch_warnings):
    """``recwarn``, and what ``warns`` gives: the warnings since it was entered."""

    def __init__(self):
        super().__init__(record=True)
        self.list = []

    def __enter__(self):
        self.list = super().__enter__()
        warnings.simplefilter("always")
        return self

    def __len__(self):
        return len(self.list)

    def __iter__(self):
        return iter(self.list)

    def __getitem__(self, index):
        return self.list[index]

    def pop(self, category=Warning):
        for i, warning in enumerate(self.list):
            if issubclass(warning.category, category):
                return self.list.pop(i)
        raise AssertionError(f"no {category.__name__} was given")

    def clear(self):
        self.list.clear()


# -- by name ------------------------------------------------------------------------------------
# How each is made for a request, and how its value is ended.
BUILTIN = {
    **dict.fromkeys(("capsys", "capfd"), (lambda _: CaptureFixture(), CaptureFixture.close)),
    **dict.fromkeys(
        ("capsysbinary", "capfdbinary"), (lambda _: CaptureFixture(True), CaptureFixture.close)
    ),
    "monkeypatch": (lambda _: MonkeyPatch(), MonkeyPatch.undo),
    "caplog": (lambda _: LogCaptureFixture(), LogCaptureFixture.close_down),
    "recwarn": (lambda _: WarningsRecorder().__enter__(), WarningsRecorder.__exit__),
    "tmp_path": (lambda _: pathlib.Path(tempfile.mkdtemp(dir=os.getcwd())), None),
    "tmpdir": (lambda _: LocalPath(tempfile.mkdtemp(dir=os.getcwd())), None),
    "tmp_path_factory": (lambda _: TempPathFactory(), None),
    "request": (lambda request: request, None),
    "record_property": (lambda _: lambda *_: None, None),
    **dict.fromkeys(("anyio_backend", "anyio_backend_name"), (lambda _: "asyncio", None)),
}
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
        self.name, (self.make, self.end) = name, BUILTIN[name]
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
        value = definition.make(Request(item))
        if definition.end:
            made.finalizers.append(lambda: definition.end(value))
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

    made.finalizers.append(finish)
    return value
