"""Find the tests of a file and run them the way pytest does.

Which tests there are is read from the tests' own objects: what the program defines is a proxy
here, and a proxy is never a test, a fixture or a hook.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import platform
import re
import sys
import unittest
import warnings
from collections.abc import Callable, Iterator

import fixtures
import remote
from fixtures import BUILTIN, BadTests, Failed, Skipped, XFailed
from pytest_names import Fixture, Mark, Parameters


# -- one test ----------------------------------------------------------------------------------
class Item:
    """One test with one row of its parameters."""

    def __init__(self, file, name, function, classes, known, marks):
        self.file, self.name, self.function, self.classes = file, name, function, classes
        self.known, self.marks = known, marks
        self.owner = classes[-1] if classes else None
        self.instance, self.values, self.params = None, {}, {}
        self.originalname = name.rpartition(".")[2]
        self.node, self.empty = fixtures.Node(), False  # empty: parametrized, with no row
        self.find_closure()

    # what ``request.node`` may be asked
    def iter_markers(self, name=None):
        return (m for m in reversed(self.marks) if name in (None, m.name))

    def get_closest_marker(self, name, default=None):
        return next(self.iter_markers(name), default)

    def add_marker(self, mark, append=True):
        self.marks.append(Mark(mark) if isinstance(mark, str) else mark)

    @property
    def keywords(self):
        return {m.name: m for m in self.marks} | {self.originalname: True}

    @property
    def nodeid(self):
        return f"test_solution.py::{self.name.replace('.', '::')}"

    @property
    def is_case(self) -> bool:
        return self.owner is not None and issubclass(self.owner, unittest.TestCase)

    @property
    def static(self) -> bool:
        return isinstance(inspect.getattr_static(self.owner, self.originalname, None), staticmethod)

    def find_closure(self) -> None:
        """All fixtures of the test, in the order in which they are made: wide scopes first."""
        function = getattr(self.function, "__func__", self.function)
        bound = self.owner is not None and not self.static
        self.needs = () if self.is_case else fixtures.argument_names(function, bound=bound)
        self.optional = {p.name for p in fixtures.parameters(function)} - set(self.needs)
        wanted = [name for name, d in self.known.items() if d.autouse]
        wanted += [str(n) for m in self.marks if m.name == "usefixtures" for n in m.args]
        wanted += self.needs
        found: dict[str, None] = {}
        while wanted:
            name = wanted.pop(0)
            if name not in found:
                found[name] = None
                definition = self.known.get(name)
                while definition is not None:
                    wanted += definition.needs
                    definition = definition.below if name in definition.needs else None
        self.closure = sorted(found, key=lambda n: fixtures.SCOPES.index(self.scope_of(n)))

    def scope_of(self, name) -> str:
        if name in self.known and name not in self.values:
            return self.known[name].scope
        return "session" if name in fixtures.SESSION_WIDE else "function"

    def node_of(self, scope: str) -> fixtures.Node:
        if scope == "function" or (scope == "class" and not self.classes):
            return self.node
        if scope in ("session", "package"):
            return self.file.session
        return self.file.nodes[self.classes if scope == "class" else ()]

    def fixture_value(self, name, dependent=None):
        if name in self.values:
            return self.values[name]
        if name not in self.known:
            if name not in BUILTIN:
                raise BadTests(f"the tests ask for a fixture that does not exist: {name}")
            self.known[name] = fixtures.BuiltIn(name)
        return fixtures.make(self.known[name], self, dependent)

    def condition(self, mark) -> bool:
        """Whether a ``skipif`` or ``xfail`` applies: no condition, or one that is true."""
        given = [*mark.args, *([mark.kwargs["condition"]] if "condition" in mark.kwargs else [])]
        names = {"os": os, "sys": sys, "platform": platform, **self.file.space}
        return not given or any(eval(c, names) if isinstance(c, str) else c for c in given)


# -- collection --------------------------------------------------------------------------------
OF_PROGRAM = (remote.Remote, remote.RemoteClass)
_UNKNOWN_LOOPS = {"trio", "curio", "twisted"}


def marks_of(holder) -> list[Mark]:
    """The marks of a function, module or class, those of a class's bases too."""
    holders = reversed(holder.__mro__) if inspect.isclass(holder) else [holder]
    found = []
    for one in holders:
        marks = vars(one).get("pytestmark", []) if hasattr(one, "__dict__") else []
        found += list(marks) if isinstance(marks, (list, tuple)) else [marks]
    return [mark for mark in found if isinstance(mark, Mark)]


class Config:
    """``request.config``: there is no command line and no settings file."""

    def __getattr__(self, name):
        raise BadTests(f"the tests ask for pytest's settings: config.{name}")


class File:
    """One file of tests: its namespace, the fixtures it defines and its open scopes."""

    def __init__(self, module, imported: set[str]):
        self.module, self.space, self.imported = module, vars(module), imported
        self.config, self._runner = Config(), None
        self.session, self.nodes = fixtures.Node(), {}
        self.fixtures = fixtures_of(self.space, None, {})
        self.marks = marks_of(module)

    def run_async(self, coroutine):
        """Run a coroutine in the file's event loop, as pytest-asyncio's automatic mode does."""
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
            self.session.finalizers.insert(0, self._runner.close)
        return self._runner.run(_awaited(coroutine))

    def items(self) -> list[Item]:
        return _items_in(self, self.space, "", (), self.fixtures, list(self.marks))


async def _awaited(coroutine):
    return await coroutine


def fixtures_of(space: dict, owner, above: dict) -> dict:
    """The fixtures known in a module or class: its own over those around it."""
    known = dict(above)
    for name, value in space.items():
        if isinstance(value, Fixture):
            name = value.name or name
            known[name] = fixtures.Definition(name, value, owner, known.get(name))
    return known


def members(kind: type) -> dict:
    """What a class defines or inherits, bases first."""
    found = {}
    for base in reversed(kind.__mro__):
        if base not in (object, unittest.TestCase):
            found.update(vars(base))
    return found


def _items_in(file, space, prefix, classes, known, marks) -> list[Item]:
    items = []
    for name, value in list(space.items()):
        if isinstance(value, OF_PROGRAM) or (not classes and name in file.imported):
            continue  # what the tests import is theirs to use, not a test of theirs
        if inspect.isclass(value):
            if _is_test_class(name, value):
                items += _items_of_class(file, name, value, prefix, classes, known, marks)
        elif name.startswith("test") and _is_test_function(value):
            items += _expanded(file, prefix + name, value, classes, known, marks)
    return items


def _is_test_class(name, value) -> bool:
    if not getattr(value, "__test__", True):
        return False
    if issubclass(value, unittest.TestCase):
        return True
    own = value.__init__ is object.__init__ and value.__new__ is object.__new__
    return name.startswith("Test") and own


def _is_test_function(value) -> bool:
    if not getattr(value, "__test__", True) or isinstance(value, Fixture):
        return False
    value = inspect.unwrap(getattr(value, "__func__", value))
    while hasattr(value, "func"):  # functools.partial
        value = value.func
    return inspect.isfunction(value)


def _items_of_class(file, name, kind, prefix, classes, known, marks):
    space, classes = members(kind), (*classes, kind)
    known = fixtures_of(space, kind, known)
    marks = [*marks, *marks_of(kind)]
    label = f"{prefix}{name}."
    if not issubclass(kind, unittest.TestCase):
        return _items_in(file, space, label, classes, known, marks)
    names = unittest.TestLoader().getTestCaseNames(kind)
    return [
        item for method in names if getattr(getattr(kind, method), "__test__", True)
        for item in _expanded(file, label + method, getattr(kind, method), classes, known, marks)
    ]  # fmt: skip


# -- parameters -----------------------------------------------------------------------------
def _expanded(file, label, function, classes, known, marks) -> list[Item]:
    """One item a row of the parameters of a test and of the fixtures that it needs."""
    inner = getattr(function, "__func__", function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise BadTests(f"{label} yields, so it is no test")
    marks = [*marks, *marks_of(inner)]  # of this item alone: a test may add to them
    if any(m.name in _UNKNOWN_LOOPS for m in marks):
        raise BadTests(f"{label} needs an event loop that is not here")
    draft = Item(file, label, function, classes, known, marks)
    if draft.owner and issubclass(draft.owner, unittest.TestCase):
        return [draft]
    tables = [_table(m, draft) for m in reversed(marks) if m.name == "parametrize"]
    taken = {name for names, _, _ in tables for name in names}
    for name in draft.closure:
        definition = known.get(name)
        if name not in taken and definition is not None and definition.params is not None:
            rows = list(_rows((name,), definition.params, definition.ids, True))
            tables.append(((name,), {name}, rows))
    draft.empty = any(not rows for _, _, rows in tables)
    if draft.empty or not tables:
        return [draft]
    items = []
    for rows in itertools.product(*[rows for _, _, rows in tables]):
        item = Item(file, label, function, classes, known, list(marks))
        for (names, indirect, _), (values, more, _id) in zip(tables, rows, strict=True):
            item.marks += more
            for name, value in zip(names, values, strict=True):
                (item.params if name in indirect else item.values)[name] = value
        item.name += f"[{'-'.join(id for _, _, id in rows)}]"
        item.find_closure()
        items.append(item)
    return items


def _table(mark, item):
    """The names, those of them that go to fixtures, and the rows of one ``parametrize``."""

    def read(argnames, argvalues, indirect=False, ids=None, scope=None):
        return argnames, argvalues, indirect, ids

    try:
        names, values, indirect, ids = read(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise BadTests(f"{item.name}: parametrize: {error}") from None
    alone = isinstance(names, str)
    if alone:
        names = [name.strip() for name in names.split(",") if name.strip()]
    alone = alone and len(names) == 1  # then each value stands for itself
    indirect = set(names if indirect is True else indirect or ())
    for name in names:
        if name not in item.closure and name not in item.optional:
            raise BadTests(f"{item.name} does not take the parameter {name}")
    return tuple(names), indirect, list(_rows(tuple(names), values, ids, alone))


def _rows(names, values, ids, alone):
    ids = list(ids) if ids is not None and not callable(ids) else ids
    for number, value in enumerate(values):
        row = value
        if not isinstance(value, Parameters):
            row = Parameters((value,) if alone else tuple(value))
        if len(row.values) != len(names):
            raise BadTests(f"parametrize: {len(names)} names, but {len(row.values)} values")
        marks = [m for m in row.marks if isinstance(m, Mark)]
        yield row.values, marks, _id(row, number, names, ids)


def _id(row, number, names, ids) -> str:
    if row.id is not None:
        return str(row.id)
    if isinstance(ids, list) and number < len(ids) and ids[number] is not None:
        return str(ids[number])
    parts = []
    for name, value in zip(names, row.values, strict=True):
        text = ids(value) if callable(ids) else None
        plain = value is None or isinstance(value, (str, int, float, complex))
        text = text if text is not None else value if plain else f"{name}{number}"
        parts.append(str(text))
    return "-".join(parts)


# -- running -----------------------------------------------------------------------------------
_HERE = os.path.dirname(os.path.abspath(__file__))
_OUR_OUTCOMES = {"testing.py", "fixtures.py", "pytest_names.py"}


def from_program(error: BaseException) -> bool:
    """Whether an exception came over the socket: then it was raised where proxies are asked."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    folder, name = os.path.split(frame.tb_frame.f_code.co_filename) if frame else ("", "")
    return folder == _HERE and name not in _OUR_OUTCOMES


def run_all(file: File, peer) -> Iterator[tuple[str, str, BaseException | None]]:
    """Yield the name, the outcome (passed, failed or skipped) and the exception of each test.

    ``peer`` knows what the tests asked of the program: its ``count``, whether it is ``gone``,
    and whether it ``lacks`` something. A test that skips itself after it has asked is failed:
    no program may choose its tests.
    """
    items, asked_before = file.items(), peer.count > 0
    for number, item in enumerate(items, 1):
        following = items[number] if number < len(items) else None
        yield item.name, *_outcome(item, file, peer, following, asked_before)


def _outcome(item, file, peer, following, asked_before):
    asked, error, had_a_say = peer.count, None, peer.lacks
    conditions = [m for m in item.marks if m.name == "skipif" and item.condition(m)]
    try:
        if conditions or item.empty:
            had_a_say = had_a_say or asked_before
            raise Skipped("by a condition, or for want of parameters")
        if any(m.name == "skip" for m in item.marks):
            raise Skipped("by a mark")
        if any(m.kwargs.get("run") is False for m in _expected_to_fail(item)):
            raise Skipped("expected to fail, and not to be run")
        _open_scopes(file, item.classes)
        with warnings.catch_warnings():
            _set_filters(item)
            _call(item)
    except BaseException as raised:
        error = raised
    outcome = _judge(error, item, had_a_say or peer.count > asked)
    after = _close_scopes(file, item, following)
    for bad in (error, after):
        if isinstance(bad, BadTests):
            raise bad
    if peer.gone or after:
        return "failed", peer.gone or after
    return outcome, error


def _set_filters(item) -> None:
    """Apply the marks ``filterwarnings``: action, start of the message, class of the warning."""
    for mark in item.marks:
        for text in mark.args if mark.name == "filterwarnings" else ():
            action, message, kind = (*text.split(":"), "", "")[:3]
            module, _, name = kind.rpartition(".")
            kind = getattr(importlib.import_module(module or "builtins"), name or "Warning")
            warnings.filterwarnings(action, re.escape(message), kind)


def _judge(error, item, had_a_say) -> str:
    said_so = isinstance(error, unittest.SkipTest) and not from_program(error)
    if said_so or isinstance(error, (Skipped, XFailed)):
        return "failed" if had_a_say else "skipped"
    marks = _expected_to_fail(item)
    strict = any(m.kwargs.get("strict") for m in marks)
    if error is None:
        return "passed" if not marks else "failed" if strict else "skipped"
    kinds = [m.kwargs.get("raises") or (Exception, Failed) for m in marks]
    expected = any(isinstance(error, kind) for kind in kinds)
    # Whether a program passes a test that is allowed to fail says nothing; one that has to does.
    return "failed" if not expected else "passed" if strict else "skipped"


def _expected_to_fail(item) -> list:
    return [m for m in item.marks if m.name == "xfail" and item.condition(m)]


def _call(item) -> None:
    """Make the fixtures, wide scopes first, and run the test itself."""
    if item.owner is not None:
        item.instance = item.owner(item.originalname) if item.is_case else item.owner()
    wide = [name for name in item.closure if item.scope_of(name) != "function"]
    ready = {name: item.fixture_value(name) for name in wide}
    _setup_of_test(item)
    ready |= {name: item.fixture_value(name) for name in item.closure if name not in ready}
    if item.is_case:
        return _run_case(item.instance)
    function = item.function
    if item.owner is not None:
        function = getattr(item.instance, item.originalname)
    arguments = {name: ready[name] for name in item.needs}
    arguments |= {n: v for n, v in item.values.items() if n in item.optional}
    value = function(**arguments)
    if inspect.isawaitable(value):
        item.file.run_async(value)
    return None


class CaseResult(unittest.TestResult):
    """Keeps the exceptions of a ``TestCase``, where the standard class keeps their text."""

    first: BaseException | None = None
    skip: BaseException | None = None

    def addFailure(self, test, error):
        self.first = self.first or error[1]

    addError = addFailure

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.addFailure(test, error)

    def addSkip(self, test, reason):
        raised = sys.exc_info()[1]  # none for a decorator: then the tests' author said it
        self.skip = raised if isinstance(raised, unittest.SkipTest) else Skipped(reason)

    def addUnexpectedSuccess(self, test):
        self.first = self.first or Failed("unexpected success")


def _run_case(case) -> None:
    result = CaseResult()
    case.run(result)
    if result.first or result.skip:
        raise result.first or result.skip


# -- setup and teardown of every scope ----------------------------------------------------------
def _hook(holder, *names) -> Callable | None:
    """The first of these functions that the tests define; a proxy is none."""
    for name in names:
        found = getattr(holder, name, None)
        if callable(found) and not isinstance(found, (*OF_PROGRAM, Fixture)):
            return found
    return None


def _call_hook(function, *arguments) -> None:
    """Call with as many of the arguments as it takes."""
    if function is not None:
        parameters = inspect.signature(function).parameters.values()
        value = function(*arguments[: sum(p.default is p.empty for p in parameters)])
        if inspect.isawaitable(value):
            value.close()


def _around(node, before, after, *arguments):
    _call_hook(before, *arguments)
    if after is not None:
        node.finalizers.append(lambda: _call_hook(after, *arguments))


def _setup_of_test(item) -> None:
    in_class = item.owner is not None
    holder, kind = (item.instance, "method") if in_class else (item.file.module, "function")
    before, after = _hook(holder, f"setup_{kind}"), _hook(holder, f"teardown_{kind}")
    _around(item.node, before, after, item.function)


def _open_scopes(file, classes) -> None:
    """Set up the module and the classes around a test, unless they are open."""
    for end in range(len(classes) + 1):
        key = classes[:end]
        if key not in file.nodes:
            node = file.nodes[key] = fixtures.Node()
            try:
                _enter(file, node, key)
            except BaseException as error:
                node.error = error
        if file.nodes[key].error is not None:
            raise file.nodes[key].error


def _close_scopes(file, item, following) -> BaseException | None:
    """Take down what the next test does not share; return the first exception."""
    errors = [item.node.close()]
    shared = following.classes if following else None
    for end in range(len(item.classes), -1, -1):
        key = item.classes[:end]
        if key in file.nodes and (shared is None or shared[:end] != key):
            errors.append(file.nodes.pop(key).close())
    if following is None:
        errors.append(file.session.close())
    return next((error for error in errors if error is not None), None)


def _enter(file, node, key) -> None:
    """Open the module (an empty key) or a class, given with those around it."""
    if not key:
        module = file.module
        before = _hook(module, "setup_module", "setUpModule")
        return _around(node, before, _hook(module, "teardown_module", "tearDownModule"), module)
    kind = key[-1]
    if issubclass(kind, unittest.TestCase):
        if getattr(kind, "__unittest_skip__", False):
            return None
        node.finalizers.append(kind.doClassCleanups)
        kind.setUpClass()
        node.finalizers.append(kind.tearDownClass)
        return None
    before, after = _hook(kind, "setup_class"), _hook(kind, "teardown_class")
    return _around(node, _bound(before, kind), _bound(after, kind))


def _bound(function, kind):
    """A class hook is a class method, or a plain function that takes the class."""
    if inspect.isfunction(function) and inspect.signature(function).parameters:
        return lambda: function(kind)
    return function
