"""The trusted side of a tests job: runs tests against functions in another process.

No line of the program is executed here, so nothing that it patches, prints or returns early
can change what these functions find.
"""

from __future__ import annotations

import ast
import builtins
import json
import linecache
import math
import os
import re
import sys
import traceback
import types

import collect
import confine
import remote

_ALIASES = {"np": "numpy", "pd": "pandas"}


class RemoteModule(types.ModuleType):
    """The program, as the module ``solution`` that tests import from."""

    def __init__(self, proxy, names):
        super().__init__("solution")
        self.__dict__["_proxy"] = proxy
        self.__all__ = [n for n in names if n[:1] != "_" and not hasattr(builtins, n)]
        self.__dict__["_names"] = set(names)

    def __getattr__(self, name):
        if name not in self.__dict__["_names"]:
            raise AttributeError(f"module 'solution' has no attribute {name!r}")
        return getattr(self.__dict__["_proxy"], name)

    def __setattr__(self, name, value):
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self.__dict__["_proxy"], name, value)


def run(tests: dict, peer: remote.Peer, result_fd: int, folder: str, limits: tuple) -> None:
    """Run the tests and write one JSON report to ``result_fd``; then end the process."""
    confine.set_limits(*limits)
    keep = sorted({peer.connection.fileno(), result_fd})
    os.closerange(3, keep[0])
    os.closerange(keep[0] + 1, keep[1])
    os.closerange(keep[1] + 1, 4096)
    os.chdir(folder)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    null = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), null, null  # noqa: SIM115
    try:
        report = {"calls": run_calls, "asserts": run_asserts, "pytest": run_pytest}[tests["form"]](
            tests, peer
        )
    except remote.Gone as gone:
        report = {"passed": 0, "total": tests["total"], "failure": str(gone)}
    except collect.BadTests as bad:
        report = {"passed": 0, "total": tests["total"], "bad_tests": str(bad)}
    report["failure"] = str(report.get("failure", ""))[:500]
    os.write(result_fd, json.dumps(report).encode())
    os._exit(0)


def load(peer: remote.Peer, tests: dict):
    """Wait until the program is loaded; return its module, or a report if it cannot be loaded."""
    message = peer.receive()
    if "failed" in message:
        error = peer.codec.decode_error(message["failed"])
        why = f"the program fails as it loads: {describe(error)}"
        return None, {"passed": 0, "total": tests["total"], "failure": why}
    peer.show = lambda text: sys.stdout.write(text)
    try:
        return RemoteModule(peer.codec.decode(message["module"]), message["loaded"]), None
    except (KeyError, TypeError, ValueError) as error:
        raise remote.Gone(f"an answer that makes no sense: {error}") from None


def describe(error: BaseException) -> str:
    """One line: the exception and the line of the tests that raised it."""
    text = f"{type(error).__name__}: {error}".strip(": ").replace("\n", " ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == "tests.py" and frame.line:
            return f"{frame.line.strip()[:200]} ({text[:200]})" if text else frame.line
    return text


# -- function calls -------------------------------------------------------------------------
def run_calls(tests: dict, peer: remote.Peer) -> dict:
    """Call one function with each list of arguments and compare what it returns."""
    module, report = load(peer, tests)
    if report:
        return report
    name, passed, failure = tests["name"], 0, ""
    wrapped = all(
        isinstance(c["expected"], list) and len(c["expected"]) == 1 for c in tests["cases"]
    )
    for number, case in enumerate(tests["cases"]):
        try:
            if name in module._names:
                function = getattr(module, name)
            else:
                function = getattr(module.Solution(), name)
            got = function(*map(integer_keys, case["args"]))
            right = same_value(got, case["expected"])
            if not right and wrapped:
                right = same_value(got, case["expected"][0])
            why = f"case {number}: {shown(got)} instead of {shown(case['expected'])}"
        except remote.Gone as gone:
            return {"passed": passed, "failure": failure or f"case {number}: {gone}"}
        except BaseException as error:
            right, why = False, f"case {number}: {describe(error)}"
        passed += right
        failure = failure or ("" if right else why)
    return {"passed": passed, "failure": failure}


def integer_keys(value):
    """JSON turned integer keys into text; a function expects integers again."""
    if isinstance(value, dict) and value and all(re.fullmatch(r"-?\d+", key) for key in value):
        return {int(key): item for key, item in value.items()}
    return value


def shown(value) -> str:
    if isinstance(value, remote.Remote):
        return f"an object of type {type(value).__name__}"
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def same_value(got, expected) -> bool:
    """Equality as the data sets mean it: JSON has no tuples, no integer keys, rounded floats."""
    if isinstance(got, remote.Remote):
        return False
    if isinstance(got, float) or isinstance(expected, float):
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
        return mine.keys() == want.keys() and all(same_value(mine[k], want[k]) for k in want)
    return bool(got == expected)


# -- assert statements and pytest files -----------------------------------------------------
def run_asserts(tests: dict, peer: remote.Peer) -> dict:
    """Run each statement in one namespace that sees what the program defines."""
    module, report = load(peer, tests)
    if report:
        return report
    space = namespace("\n".join(tests["statements"]), module, peer)
    passed, failure = 0, ""
    for text in tests["statements"]:
        linecache.cache["tests.py"] = (len(text), None, text.splitlines(keepends=True), "tests.py")
        try:
            exec(compile(text, "tests.py", "exec"), space)
            passed += 1
        except remote.Gone as gone:
            return {"passed": passed, "failure": failure or str(gone)}
        except BaseException as error:
            failure = failure or describe(error)
    return {"passed": passed, "failure": failure}


def run_pytest(tests: dict, peer: remote.Peer) -> dict:
    """Run a file of tests that imports from ``solution`` or shares its namespace."""
    import fake_pytest

    module, report = load(peer, tests)
    if report:
        return report
    text = tests["text"]
    sys.modules.update(solution=module, pytest=fake_pytest)
    linecache.cache["tests.py"] = (len(text), None, text.splitlines(keepends=True), "tests.py")
    space = namespace(text, module, peer)
    try:
        exec(compile(text, "tests.py", "exec"), space)
    except remote.Gone:
        raise
    except BaseException as error:
        return {"passed": 0, "total": tests["total"], "failure": describe(error)}
    passed, total, failure = 0, 0, ""
    for name, call in collect.tests_of(space):
        total += 1
        try:
            call()
            passed += 1
        except collect.BadTests:
            raise
        except remote.Gone as gone:
            return {"passed": passed, "failure": failure or f"{name}: {gone}"}
        except BaseException as error:
            failure = failure or f"{name}: {describe(error)}"
    if total == 0:
        if not any(isinstance(node, ast.Assert) for node in ast.parse(text).body):
            raise collect.BadTests("the tests hold no test function and no assert")
        total = passed = 1  # a plain script of asserts, which has just run to its end
    return {"passed": passed, "total": total, "failure": failure}


def namespace(text: str, module: RemoteModule, peer: remote.Peer) -> dict:
    """The globals of the tests, with those names of the program that the tests use.

    A program cannot redefine ``all`` or ``math`` for its tests: names of builtins and of
    modules keep their meaning, unless the tests use no other name of the program, as when the
    function under test is itself called ``pow``.
    """
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "solution"
        for alias in node.names
    }
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    peer.named_classes = {
        n for n in used | imported | attributes if n[:1].isupper()
    } & module._names
    space = {"__name__": "test_solution", "__builtins__": builtins, "__file__": "tests.py"}
    wanted = used & module._names
    ordinary = {n for n in wanted if not hasattr(builtins, n)}
    for name in ordinary or wanted:
        real = _ALIASES.get(name, name)
        if real in sys.stdlib_module_names or real in _ALIASES.values():
            try:
                space[name] = __import__(real)
                continue
            except ImportError:
                pass  # not a module here; then it is the program's own name
        space[name] = getattr(module, name)
    return space
