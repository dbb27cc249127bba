"""Fixtures as pytest makes them: once a scope, what they need first, taken down in reverse."""

from __future__ import annotations

import functools
import inspect
import sys

from builtin_fixtures import BUILTIN, SESSION_WIDE
from outcomes import BadTests

SCOPES = ("session", "package", "module", "class", "function")


class Node:
    """A scope while it is open: the session, the module, a class or one test."""

    def __init__(self):
        self.finalizers, self.error = [], None
        self.made: dict[Definition, Made] = {}

    def close(self) -> BaseException | None:
        """Run what was registered, last first, all of it; return the first exception."""
        first = None
        while self.finalizers:
            try:
                self.finalizers.pop()()
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

    def __init__(self, param, scope):
        self.param, self.scope, self.value, self.error, self.finalizers = (
            param,
            scope,
            None,
            None,
            [],
        )

    def finish(self):
        first = None
        while self.finalizers:
            try:
                self.finalizers.pop()()
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first


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
