"""The forms of unit tests, run in the tests' process against the program in the other one."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import gc
import importlib
import inspect
import json
import linecache
import logging
import math
import os
import re
import sys
import traceback
import types
import unittest
import warnings

import confine
import names
import proxies
import pytest_names
import remote
import testing
from fixtures import BadTests, Failed, Skipped


# -- the tests' process ------------------------------------------------------------------------
class RemoteModule(types.ModuleType):
    """The program, as the module ``solution`` that tests import from."""

    def __init__(self, peer, proxy, names, ready):
        super().__init__("solution")
        self.__dict__.update(_peer=peer, _proxy=proxy, _names=set(names), _ready=ready)
        self.__dict__["__all__"] = [n for n in names if n[:1] != "_" and not hasattr(builtins, n)]

    __doc__ = property(lambda self: self._proxy.__doc__)

    def __getattr__(self, name):
        if name[:2] == "__" and name not in self._names:
            raise AttributeError(f"module 'solution' has no attribute {name!r}")
        value = self._ready.get(name) if self._peer.count == 0 else None  # else it may have changed
        return self._peer.reached(name, getattr(self._proxy, name) if value is None else value)

    def __setattr__(self, name, value):
        if name[:2] == "__":
            super().__setattr__(name, value)
        else:
            setattr(self._proxy, name, value)

    def __delattr__(self, name):
        delattr(self._proxy, name)


# What sets something of a process, and what sets the same in the program's.
_SETTERS = {
    "random": {"seed": "seed", "setstate": "setstate"},
    "numpy.random": {"seed": "seed"},
    "os": {"chdir": "chdir", "putenv": "environb.__setitem__", "unsetenv": "environb.__delitem__"},
}


def set_in_both(peer: remote.Peer) -> None:
    """What tests set of their process, a program in the same one would find set."""

    def both(own, module, there):
        @functools.wraps(own)
        def setter(*args, **kwargs):
            value = own(*args, **kwargs)
            with contextlib.suppress(Exception):  # as where the program's side has no such folder
                peer.request("do", module, there, *args, **kwargs)
            return value

        return setter

    for name, setters in _SETTERS.items():
        if name.partition(".")[0] in sys.modules:
            module = importlib.import_module(name)
            for here, there in setters.items():
                setattr(module, here, both(getattr(module, here), module, there))


def run(tests: dict, peer: remote.Peer, result_fd: int, folder: str) -> None:
    """Run the tests and write one JSON report to ``result_fd``; then end the process."""
    sys.modules["proxies"] = proxies  # where pickle looks for it
    gc.set_threshold(50_000)  # a collection copies the pages of what it looks at
    confine.close_all_but(peer.connection.fileno(), result_fd)
    os.chdir(folder)
    set_in_both(peer)
    sys.set_int_max_str_digits(0)
    null = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), null, null  # noqa: SIM115
    try:
        report = FORMS[tests["form"]](tests, peer)
    except remote.Gone as gone:
        report = {"failure": str(gone)}
    except BadTests as bad:
        report = {"bad_tests": str(bad)}
    except Exception as error:  # tests and programs are run where theirs are caught: it is ours
        report = {"bad_tests": f"the grader failed: {type(error).__name__}: {error}"}
    report = {"passed": 0, "total": tests["total"], "failure": "", **report}
    report["failure"] = report["failure"][:500]
    os.write(result_fd, json.dumps(report).encode())
    os._exit(0)


def shown(value) -> str:
    if proxies.is_opaque(value):
        return f"an object of type {type(value).__name__}"
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def same_value(got, expected) -> bool:
    """Equality as the data sets mean it: JSON has no tuples, no integer keys, rounded floats."""
    if proxies.is_opaque(got):
        return False
    if isinstance(expected, float):
        number = (int, float)
        if not (isinstance(got, number) and isinstance(expected, number)):
            return False
        try:
            return got == expected or math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:
            return False
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(got) != len(expected):
            return False
        return all(same_value(a, b) for a, b in zip(got, expected, strict=True))
    if isinstance(expected, dict) and isinstance(got, dict):
        mine = {str(key): value for key, value in got.items()}
        want = {str(key): value for key, value in expected.items()}
        if len(got) != len(want) or mine.keys() != want.keys():
            return False
        return all(same_value(mine[key], want[key]) for key in want)
    return bool(got == expected)


# -- the forms of tests ------------------------------------------------------------------------
def _refuse_to_lose(error=None) -> None:
    """Raise again what says that a test fails: no context manager of a program may end it."""
    if isinstance(error, (Failed, Skipped, BadTests)):
        raise error
    if isinstance(error, AssertionError):
        frame, number = [*traceback.walk_tb(error.__traceback__)][-1]
        line = linecache.getline("tests.py", number).strip()
        if frame.f_code.co_filename != "tests.py" or not line.startswith("raise"):
            raise error


def load(peer: remote.Peer) -> RemoteModule:
    """Wait until the program is loaded and return its module; raise Gone if it cannot be."""
    while "ask" in (message := peer.receive()):
        peer.answer(message)  # the program reads as it loads
    if message.get("error"):
        raise remote.Gone(f"the program fails as it loads: {describe(message['values'][0])}")
    peer.show, peer.swallowed = lambda events: show(peer, events), _refuse_to_lose
    try:
        proxy, *values = message["values"]
        ready = dict(zip(message["ready"], values, strict=True))
        return RemoteModule(peer, proxy, message["loaded"], ready)
    except (KeyError, TypeError, ValueError) as error:
        raise remote.Gone(f"an answer that makes no sense: {error}") from None


def show(peer, events) -> None:
    """Print, warn and log here what the program printed, warned of and logged there."""
    for event in events if isinstance(events, list) else ():
        try:
            kind, *data = event
            if kind in ("out", "err"):
                (sys.stdout if kind == "out" else sys.stderr).write(str(data[0]))
            elif kind == "log":
                name, level, text = str(data[0]), int(data[1]), str(data[2])
            elif kind == "warning":
                category, text = peer.codec.decode(data[0]), str(data[1])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise remote.Gone(f"an answer that makes no sense: {error}") from None
        if kind == "log" and (logger := logging.getLogger(name)).isEnabledFor(level):
            logger.handle(logger.makeRecord(name, level, "solution.py", 0, text, (), None))
        if kind == "warning" and isinstance(category, type) and issubclass(category, Warning):
            warnings.warn_explicit(text, category, "solution.py", 1)


def describe(error: BaseException) -> str:
    """One line: the exception and the line of the tests that raised it."""
    try:
        text = f"{type(error).__name__}: {error}".strip(": ").replace("\n", " ")
    except Exception:
        text = type(error).__name__
    for frame, number in reversed([*traceback.walk_tb(error.__traceback__)]):
        line = linecache.getline("tests.py", number).strip()
        if frame.f_code.co_filename == "tests.py" and line:
            return f"{line[:200]} ({text[:200]})" if text else line
    return text


def _refuse_if_the_tests_fault(error: BaseException) -> None:
    """Raise BadTests for what no program could have helped."""
    if isinstance(error, BadTests):
        raise error
    if testing.from_program(error):
        return
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] != "solution":
        raise BadTests(f"they need the module {error.name}, which is not installed")


# -- function calls -------------------------------------------------------------------------
def run_calls(tests: dict, peer: remote.Peer) -> dict:
    """Call one function with each list of arguments and compare what it returns.

    A whole table may wrap each result in a list of one, as some data sets do.
    """
    module = load(peer)
    name, cases = tests["name"], tests["cases"]
    wrapped = all(isinstance(c["expected"], list) and len(c["expected"]) == 1 for c in cases)
    plain_right, inner_right, failure = 0, 0, ""
    for number, case in enumerate(cases):
        try:
            target = module if name in module._names else module.Solution()
            got = getattr(target, name)(*map(integer_keys, case["args"]))
            plain = same_value(got, case["expected"])
            inner = wrapped and same_value(got, case["expected"][0])
            got, wanted = shown(got), shown(case["expected"])
            why = f"case {number}: {got} instead of {wanted}"
        except BaseException as error:
            plain, inner, why = False, False, f"case {number}: {describe(error)}"
        plain_right, inner_right = plain_right + plain, inner_right + inner
        failure = failure or ("" if plain or inner else why)
        if peer.gone:
            break
    passed = max(plain_right, inner_right)
    if passed < len(cases):
        failure = failure or "some results are wrapped in a list, others are not"
    return {"passed": passed, "failure": failure}


def integer_keys(value):
    """JSON turned integer keys into text; a function expects integers again."""
    if isinstance(value, dict) and value and all(re.fullmatch(r"-?\d+", key) for key in value):
        return {int(key): item for key, item in value.items()}
    return value


# -- assert statements ----------------------------------------------------------------------
def run_asserts(tests: dict, peer: remote.Peer) -> dict:
    """Run each statement in one namespace that sees what the program defines.

    Imports, definitions and assignments prepare: they are no tests, and none may fail.
    """
    module = load(peer)
    text = names.TestText.of(tests["read"])
    space = {"__name__": "test_solution"}
    fill(space, text, module, peer, tests)
    passed, failure = 0, ""
    for statement in tests["statements"]:
        _show_lines(statement)
        prepares = names.is_setup(ast.parse(statement))
        try:
            code = compile(statement, "tests.py", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, space)
            if inspect.iscoroutine(waiting):
                import asyncio  # costs every fork memory, and few tests need it

                asyncio.run(waiting)
            if peer.gone:
                raise peer.gone
            passed += not prepares
        except BaseException as error:
            _refuse_if_the_tests_fault(error)
            failure = failure or describe(error)
            if prepares or peer.gone:
                break
    return {"passed": passed, "failure": failure}


def _show_lines(text: str) -> None:
    linecache.cache["tests.py"] = (len(text), None, text.splitlines(keepends=True), "tests.py")


def fill(space: dict, text: names.TestText, module, peer: remote.Peer, tests: dict) -> None:
    """Give the tests their globals: those names of the program that they use and that are its own.

    See :meth:`names.TestText.from_program` for which are.
    """
    own = text.from_program(module._names)
    space.update(__builtins__=builtins, __file__="tests.py")
    for name in text.used & module._names - text.bound:
        space[name] = getattr(module, name) if name in own else _library(name, module)
    module.__all__ = sorted(n for n in own if n[:1] != "_" or n in text.used)
    unknown = text.used - text.bound - module._names
    if "candidate" in unknown and tests.get("entry") in module._names:
        space["candidate"] = getattr(module, tests["entry"])
    if "solution" in unknown:
        space["solution"] = module


def _library(name, module):
    try:
        return names.library_object(name)
    except ImportError:  # not a module here; then it is the program's own name
        return getattr(module, name)


# -- pytest files ---------------------------------------------------------------------------
def run_pytest(tests: dict, peer: remote.Peer) -> dict:
    """Run a file of tests that imports from ``solution`` or shares its namespace."""
    module = load(peer)
    text = names.TestText.of(tests["read"])
    peer.lacks = bool((text.imported | text.asked_of_module) - module._names)
    file_module = types.ModuleType("test_solution")
    asyncio_plugin = types.ModuleType("pytest_asyncio")
    asyncio_plugin.fixture = pytest_names.fixture
    sys.modules.update(solution=module, pytest=pytest_names, test_solution=file_module,
                       pytest_asyncio=asyncio_plugin)  # fmt: skip
    _show_lines(text.text)
    fill(vars(file_module), text, module, peer, tests)
    try:
        exec(compile(text.text, "tests.py", "exec", dont_inherit=True), vars(file_module))
    except BaseException as error:
        _refuse_if_the_tests_fault(error)
        if _is_choice_of_the_tests(error) and not (peer.count or peer.lacks):
            raise BadTests(f"they do not run: {describe(error)}") from None
        return {"failure": describe(error)}
    passed, total, failure = _run_file(file_module, text, peer)
    if total == 0 and not failure:
        total, failure = 1, _run_as_script(file_module, text, module, tests)
        passed = not failure
    if peer.gone:
        failure = failure or str(peer.gone)
    return {"passed": int(passed), "total": total, "failure": failure}


def _is_choice_of_the_tests(error) -> bool:
    chosen = (Skipped, unittest.SkipTest, SystemExit)
    return isinstance(error, chosen) and not testing.from_program(error)


def _run_file(module, text, peer) -> tuple[int, int, str]:
    """Run every test; each that the text defines must be among them."""
    file, had_a_say = testing.File(module, text.imports), peer.count > 0 or peer.lacks
    passed, total, failure, seen = 0, 0, "", set()
    for name, outcome, error in testing.run_all(file, peer):
        seen.add(re.split(r"[.\[]", name)[0])
        if error is not None:
            _refuse_if_the_tests_fault(error)
        total += outcome != "skipped"
        passed += outcome == "passed"
        if outcome == "failed" and not failure:
            failure = f"{name}: {describe(error) if error else 'passes where it has to fail'}"
        if peer.gone:
            break
    lost = {n for n in text.tests if isinstance(vars(module).get(n), testing.OF_PROGRAM)}
    if had_a_say:
        lost |= text.possible_tests
    lost -= seen
    if lost and not peer.gone:
        failure = failure or f"{min(lost)} was not run: the program had a say in it"
        return passed, total + len(lost), failure
    if seen and total == 0:
        raise BadTests("every test is skipped or allowed to fail")
    return passed, total, failure


def _run_as_script(file_module, text, module, tests) -> str:
    """Asserts outside of any function have just run to their end; else run HumanEval's check."""
    if text.is_script():
        return ""
    if not text.has_check():
        raise BadTests("they hold no test function and no assert")
    name = text.checked() or tests.get("entry")
    if name not in module._names:
        return f"the program defines no function to check ({name})"
    try:
        file_module.check(getattr(module, name))
    except BaseException as error:
        _refuse_if_the_tests_fault(error)
        return describe(error)
    return ""


FORMS = {"calls": run_calls, "asserts": run_asserts, "pytest": run_pytest}
