"""One test with one row of its parameters: what it needs, and what may be asked about it."""

from __future__ import annotations

import inspect
import os
import platform
import sys
import unittest

import fixtures
import pytest
from builtin_fixtures import BUILTIN
from outcomes import BadTests


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
        decorator = getattr(pytest.mark, mark) if isinstance(mark, str) else mark
        self.marks.append(decorator.mark)

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
