"""Find and run the tests of a file the way pytest does, for what data sets use of pytest."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_pytest


class BadTests(Exception):
    """The tests themselves cannot be run; no program could pass or fail them."""


def tests_of(space: dict) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, call) for every test function, method and parameter set, in file order."""
    fixtures = {n: v for n, v in space.items() if isinstance(v, fake_pytest.Fixture)}
    for name, value in list(space.items()):
        if inspect.isclass(value) and issubclass(value, unittest.TestCase):
            for method in unittest.TestLoader().getTestCaseNames(value):
                yield f"{name}.{method}", lambda v=value, m=method: _run_unittest(v(m))
        elif inspect.isclass(value) and name.startswith("Test"):
            for method in [m for m in vars(value) if m.startswith("test")]:
                yield from _expand(f"{name}.{method}", getattr(value, method), fixtures, value)
        elif inspect.isfunction(value) and name.startswith("test"):
            yield from _expand(name, value, fixtures, None)


def _run_unittest(case: unittest.TestCase) -> None:
    result = unittest.TestResult()
    case.run(result)
    for _, text in result.failures + result.errors:
        raise AssertionError(text.strip().splitlines()[-1])
    if not result.wasSuccessful() or result.skipped:
        raise AssertionError("unexpected success, or skipped by the program")


def _expand(name, function, fixtures, owner):
    marks = [*getattr(owner, "pytestmark", []), *getattr(function, "pytestmark", [])]
    if any(m.name == "skip" or (m.name == "skipif" and m.args[0]) for m in marks):
        return
    may_fail = any(m.name == "xfail" for m in marks)
    tables = [m for m in marks if m.name == "parametrize"]
    for row in itertools.product(*[list(_rows(*m.args[:2])) for m in tables]):
        values = {key: value for part in row for key, value in part.items()}
        label = f"{name}[{', '.join(map(repr, values.values()))}]"[:100] if values else name
        yield label, lambda v=values: _call(function, v, fixtures, owner, may_fail)


def _rows(names, values):
    names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    for value in values:
        if isinstance(value, fake_pytest.Parameters):
            value = value.values if len(names) > 1 else value.values[0]
        yield dict(zip(names, value, strict=True)) if len(names) > 1 else {names[0]: value}


def _call(function, values, fixtures, owner, may_fail):
    instance = owner() if owner else None
    own = (
        {n: v for n, v in vars(owner).items() if isinstance(v, fake_pytest.Fixture)}
        if owner
        else {}
    )
    known = {**fixtures, **own}
    with contextlib.ExitStack() as stack:
        ready = dict(values)
        for name, fixture in known.items():
            if fixture.autouse:
                _prepare(name, known, ready, stack, instance)
        wanted = _asked_for(function)
        for name, optional in wanted.items():
            if name not in ready and not optional:
                _prepare(name, known, ready, stack, instance)
        for before, after in (
            ("setup_class", "teardown_class"),
            ("setup_method", "teardown_method"),
        ):
            _hook(instance, before, function)
            stack.callback(_hook, instance, after, function)
        arguments = {n: ready[n] for n in wanted if n in ready}
        try:
            function(instance, **arguments) if owner else function(**arguments)
        except Exception:
            if not may_fail:
                raise


def _asked_for(function) -> dict[str, bool]:
    """The names of the arguments to fill, and whether each has a default of its own."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in variable and p.name != "self"]
    return {p.name: p.default is not inspect.Parameter.empty for p in named}


def _hook(instance, name, function):
    hook = getattr(instance, name, None)
    if hook:
        hook(function) if len(inspect.signature(hook).parameters) else hook()


def _prepare(name, fixtures, ready, stack, instance):
    """Make the value of one fixture, and of those it asks for, once a test."""
    if name in ready:
        return ready[name]
    if name in fixtures:
        fixture = fixtures[name]
        parameters = inspect.signature(fixture.function).parameters
        arguments = {
            p: instance if p == "self" else _prepare(p, fixtures, ready, stack, instance)
            for p in parameters
        }
        value = fixture.function(**arguments)
        if inspect.isgenerator(value):
            generator, value = value, next(value)
            stack.callback(lambda: next(generator, None))
    elif name == "capsys":
        value = stack.enter_context(_captured())
    elif name in ("tmp_path", "tmpdir"):
        value = Path(tempfile.mkdtemp(dir="."))
    elif name == "monkeypatch":
        value = fake_pytest.MonkeyPatch()
        stack.callback(value.undo)
    else:
        raise BadTests(f"the tests ask for a fixture that does not exist: {name}")
    ready[name] = value
    return value


class _Captured:
    def __init__(self, out, err):
        self.out, self.err = out, err

    def readouterr(self):
        texts = fake_pytest.Captured(self.out.getvalue(), self.err.getvalue())
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        return texts


@contextlib.contextmanager
def _captured():
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        yield _Captured(sys.stdout, sys.stderr)
    finally:
        sys.stdout, sys.stderr = before
