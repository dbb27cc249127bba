"""Find the tests of a file and run them the way pytest does.

Which tests there are is read from the tests' own objects: what the program defines is a proxy
here, and a proxy is never a test, a fixture or a hook.
"""

from __future__ import annotations

import inspect
import itertools
import unittest

import fixtures
import pytest
import remote
from fake_pytest import Fixture, Parameters
from items import Item
from outcomes import BadTests as BadTests

OF_PROGRAM = (remote.Remote, remote.RemoteClass)
_UNKNOWN_LOOPS = {"trio", "curio", "twisted"}


def marks_of(holder) -> list[pytest.Mark]:
    """The marks of a function, module or class, those of a class's bases too; the nearest last."""
    holders = reversed(holder.__mro__) if inspect.isclass(holder) else [holder]
    found = []
    for one in holders:
        marks = vars(one).get("pytestmark", []) if hasattr(one, "__dict__") else []
        marks = marks if isinstance(marks, (list, tuple)) else [marks]
        found += [mark for mark in map(plain_mark, reversed(marks)) if mark]
    return found


def plain_mark(mark) -> pytest.Mark | None:
    """A mark, also from the decorator that attaches it; None for everything else."""
    mark = mark.mark if isinstance(mark, pytest.MarkDecorator) else mark
    return mark if isinstance(mark, pytest.Mark) else None


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
            tables.append(
                ((name,), {name}, list(_rows((name,), definition.params, definition.ids, True)))
            )
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
        row = value if isinstance(value, Parameters) else Parameters(
            (value,) if alone else tuple(value), (), None
        )  # fmt: skip
        if len(row.values) != len(names):
            raise BadTests(f"parametrize: {len(names)} names, but {len(row.values)} values")
        yield (
            row.values,
            [m for m in map(plain_mark, row.marks) if m],
            _id(row, number, names, ids),
        )


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
