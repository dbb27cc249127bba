"""Run the tests of a file in order, with the setup and teardown of every scope around them."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import unittest
import warnings
from collections.abc import Callable, Iterator

import fixtures
from collect import OF_PROGRAM, File
from fake_pytest import Fixture
from outcomes import BadTests, Failed, Skipped, XFailed

_HERE = os.path.dirname(os.path.abspath(__file__))
_OUR_OUTCOMES = {"fake_pytest.py", "running.py", "fixtures.py", "builtin_fixtures.py"}


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
    if isinstance(error, Skipped) or (
        isinstance(error, unittest.SkipTest) and not from_program(error)
    ):
        return "failed" if had_a_say else "skipped"
    if isinstance(error, XFailed):
        return "failed" if had_a_say else "skipped"
    marks = _expected_to_fail(item)
    strict = any(m.kwargs.get("strict") for m in marks)
    if error is None:
        return "passed" if not marks else "failed" if strict else "skipped"
    kinds = [m.kwargs.get("raises") for m in marks]
    expected = any(
        isinstance(error, kind if kind is not None else (Exception, Failed)) for kind in kinds
    )
    # Whether a program passes a test that is allowed to fail says nothing; one that has to does.
    return "failed" if not expected else "passed" if strict else "skipped"


def _expected_to_fail(item) -> list:
    return [m for m in item.marks if m.name == "xfail" and item.condition(m)]


def _call(item) -> None:
    """Make the fixtures, wide scopes first, and run the test itself."""
    if item.owner is not None:
        item.instance = item.owner(item.originalname) if item.is_case else item.owner()
    ready, set_up = {}, False
    for name in item.closure:
        if not set_up and item.scope_of(name) == "function":
            set_up = _setup_of_test(item)
        ready[name] = item.fixture_value(name)
    if not set_up:
        _setup_of_test(item)
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
        count = len(
            [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        )
        value = function(*arguments[:count])
        if inspect.isawaitable(value):
            value.close()


def _around(node, before, after, *arguments):
    _call_hook(before, *arguments)
    if after is not None:
        node.finalizers.append(lambda: _call_hook(after, *arguments))


def _setup_of_test(item) -> bool:
    if item.owner is None:
        holder, kind = item.file.module, "function"
    else:
        holder, kind = item.instance, "method"
    before, after = _hook(holder, f"setup_{kind}"), _hook(holder, f"teardown_{kind}")
    _around(item.node, before, after, item.function)
    return True


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
