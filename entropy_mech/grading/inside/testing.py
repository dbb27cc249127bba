"""Find the tests of a file and run them the way pytest does.

Which tests there are is read from the tests' own objects: what the program defines is a proxy
here, and a proxy is never a test, a fixture or a hook.
"""

from __future__ import annotations

import collections
import inspect
import itertools
import os
import platform
import sys
import unittest
import warnings
from collections.abc import Iterator

import fixtures
import remote
from fixtures import BUILTIN, BadTests, Failed, Fixture, Skipped, XFailed
from pytest_names import Mark, Parameters


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
        wanted = [name for name, fixture in self.known.items() if fixture.autouse]
        wanted += [str(n) for m in self.marks if m.name == "usefixtures" for n in m.args]
        wanted += self.needs
        found: dict[str, None] = {}
        while wanted:
            name = wanted.pop(0)
            if name not in found:
                found[name] = None
                fixture = self.known.get(name)
                while fixture is not None:
                    wanted += fixture.needs
                    fixture = fixture.below if name in fixture.needs else None
        self.closure = sorted(found, key=lambda n: fixtures.SCOPES.index(self.scope_of(n)))

    def scope_of(self, name) -> str:
        known = name in self.known and name not in self.values
        return self.known[name].scope if known else "function"

    def node_of(self, scope: str) -> fixtures.Node:
        if scope == "function" or (scope == "class" and not self.classes):
            return self.node
        return self.file.nodes[self.classes if scope == "class" else ()]

    def fixture_value(self, name, dependent=None):
        if name in self.values:
            return self.values[name]
        if name not in self.known:
            raise BadTests(f"the tests ask for a fixture that is not available here: {name}")
        return fixtures.make(self.known[name], self, dependent)

    def condition(self, mark) -> bool:
        """Whether a ``skipif`` or ``xfail`` applies: no condition, or one that is true."""
        given = [*mark.args, *([mark.kwargs["condition"]] if "condition" in mark.kwargs else [])]
        names = {"os": os, "sys": sys, "platform": platform, **self.file.space}
        return not given or any(eval(c, names) if isinstance(c, str) else c for c in given)


# -- collection --------------------------------------------------------------------------------
OF_PROGRAM = (remote.Remote, remote.RemoteClass)
_UNKNOWN = {"trio", "curio", "twisted", "filterwarnings"}  # marks that change what a test does


def marks_of(holder) -> list[Mark]:
    """The marks of a function, module or class, those of a class's bases too."""
    holders = reversed(holder.__mro__) if inspect.isclass(holder) else [holder]
    found = []
    for one in holders:
        marks = vars(one).get("pytestmark", []) if hasattr(one, "__dict__") else []
        found += list(marks) if isinstance(marks, (list, tuple)) else [marks]
    return [mark for mark in found if isinstance(mark, Mark)]


class File:
    """One file of tests: its namespace, the fixtures it defines and its open scopes."""

    def __init__(self, module, imported: set[str]):
        self.module, self.space, self.imported = module, vars(module), imported
        # The scopes that are open, by the classes around a test; () is the module's.
        self.nodes = collections.defaultdict(fixtures.Node)
        self.fixtures = {**BUILTIN, **_hooks(module, _OF_MODULE)}
        self.fixtures = fixtures_of(self.space, None, self.fixtures)
        self.marks, self._runner = marks_of(module), None

    def run_async(self, coroutine):
        """Run a coroutine in the file's event loop, as pytest-asyncio's automatic mode does."""
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(remote.awaited(coroutine))

    def items(self) -> list[Item]:
        return _items_in(self, self.space, "", (), self.fixtures, list(self.marks))


def fixtures_of(space: dict, owner, above: dict) -> dict:
    """The fixtures known in a module or class: its own over those around it."""
    known = dict(above)
    for name, value in space.items():
        if isinstance(value, Fixture):
            name = value.name or name
            known[name] = value.at(name, owner, known.get(name))
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
    is_case = issubclass(kind, unittest.TestCase)
    hooks = _case_hooks(kind) if is_case else _hooks(kind, _OF_CLASS)
    known = fixtures_of(space, kind, {**known, **hooks})
    marks = [*marks, *marks_of(kind)]
    label = f"{prefix}{name}."
    if not is_case:
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
    marks = [*marks, *marks_of(inner)]  # of this item alone: a row may add to them
    if unknown := _UNKNOWN.intersection(mark.name for mark in marks):
        raise BadTests(f"{label}: pytest.mark.{min(unknown)} is not available here")
    draft = Item(file, label, function, classes, known, marks)
    if draft.is_case:
        return [draft]
    tables = [_table(m, draft) for m in reversed(marks) if m.name == "parametrize"]
    taken = {name for names, _, _ in tables for name in names}
    for name in draft.closure:
        fixture = known.get(name)
        if name not in taken and fixture is not None and fixture.params is not None:
            tables.append(((name,), {name}, _rows((name,), fixture.params, True)))
    draft.empty = any(not rows for _, _, rows in tables)
    if draft.empty or not tables:
        return [draft]
    items = []
    for number, rows in enumerate(itertools.product(*[rows for _, _, rows in tables])):
        item = Item(file, label, function, classes, known, list(marks))
        item.name += f"[{number}]"
        for (names, indirect, _), row in zip(tables, rows, strict=True):
            item.marks += [mark for mark in row.marks if isinstance(mark, Mark)]
            for name, value in zip(names, row.values, strict=True):
                (item.params if name in indirect else item.values)[name] = value
        item.find_closure()
        items.append(item)
    return items


def _table(mark, item):
    """The names, those of them that go to fixtures, and the rows of one ``parametrize``."""

    def read(argnames, argvalues, indirect=False, ids=None, scope=None):
        return argnames, argvalues, indirect

    try:
        names, values, indirect = read(*mark.args, **mark.kwargs)
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
    return tuple(names), indirect, _rows(tuple(names), values, alone)


def _rows(names, values, alone) -> list[Parameters]:
    rows = []
    for value in values:
        row = value
        if not isinstance(value, Parameters):
            row = Parameters((value,) if alone else tuple(value))
        if len(row.values) != len(names):
            raise BadTests(f"parametrize: {len(names)} names, but {len(row.values)} values")
        rows.append(row)
    return rows


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
        with warnings.catch_warnings():
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
    by_unittest = getattr(item.function, "__unittest_expecting_failure__", False)
    strict = [Mark("xfail", kwargs={"strict": True})] if by_unittest else []
    return strict + [m for m in item.marks if m.name == "xfail" and item.condition(m)]


def _call(item) -> None:
    """Make the fixtures, wide scopes first, and run the test itself."""
    if item.owner is not None:
        item.instance = item.owner(item.originalname) if item.is_case else item.owner()
    ready = {name: item.fixture_value(name) for name in item.closure}
    if item.is_case:
        return _run_case(item.instance)
    function = item.function if item.owner is None else getattr(item.instance, item.originalname)
    arguments = {name: ready[name] for name in item.needs}
    arguments |= {n: v for n, v in item.values.items() if n in item.optional}
    value = function(**arguments)
    if inspect.isawaitable(value):
        item.file.run_async(value)
    return None


def _run_case(case) -> None:
    try:
        case.debug()
    finally:
        case.doCleanups()  # none are left, unless it failed


def _close_scopes(file, item, following) -> BaseException | None:
    """Take down what the next test does not share; return the first exception."""
    open_nodes, first = [item.node], None
    for key in reversed(list(file.nodes)):
        if following is None or following.classes[: len(key)] != key:
            open_nodes.append(file.nodes.pop(key))
    for node in open_nodes:
        try:
            node.close()
        except BaseException as error:
            first = first or error
    return first


# -- setup and teardown of every scope, as fixtures that every test uses -------------------------
_OF_MODULE = {
    "module": (("setup_module", "setUpModule"), ("teardown_module", "tearDownModule")),
    "function": (("setup_function",), ("teardown_function",)),
}
_OF_CLASS = {
    "class": (("setup_class",), ("teardown_class",)),
    "function": (("setup_method",), ("teardown_method",)),
}


def _hooks(holder, named: dict) -> dict:
    """The fixtures that call the functions of these names in a module or class."""
    around = {
        scope: _around(holder, scope, *names) for scope, names in named.items()
        if any(_hook(holder, either) for either in names)
    }  # fmt: skip
    return _placed(holder, around)


def _case_hooks(kind) -> dict:
    def fixture():
        if getattr(kind, "__unittest_skip__", False):
            yield
            return
        try:
            kind.setUpClass()
            yield
            kind.tearDownClass()
        finally:
            kind.doClassCleanups()

    return _placed(kind, {"class": fixture})


def _placed(holder, around: dict) -> dict:
    named = {f"{scope} hooks of {holder}": Fixture(f, scope, autouse=True)
             for scope, f in around.items()}  # fmt: skip
    return {name: fixture.at(name) for name, fixture in named.items()}


def _hook(holder, names):
    """The first of these functions that the tests define; a proxy is none."""
    for name in names:
        found = getattr(holder, name, None)
        if callable(found) and not isinstance(found, (*OF_PROGRAM, Fixture)):
            return found
    return None


def _around(holder, scope, before, after):
    def fixture(request):
        asked = argument = holder
        if scope == "function":
            asked = holder if request.instance is None else request.instance
            argument = request.function
        _call_hook(_hook(asked, before), argument)
        yield
        _call_hook(_hook(asked, after), argument)

    return fixture


def _call_hook(function, argument) -> None:
    """Call with the argument, if it takes one."""
    if function is not None:
        parameters = inspect.signature(function).parameters.values()
        takes_one = any(p.default is p.empty for p in parameters)
        value = function(argument) if takes_one else function()
        if inspect.isawaitable(value):
            value.close()
