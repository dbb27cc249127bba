"""Grade a program by its unit tests, in the forms that the training sets use."""

from __future__ import annotations

import ast
import functools
import json
import math
import re
from dataclasses import dataclass, replace

from entropy_mech.grading.extraction import extract_program as extract_program
from entropy_mech.grading.inside import names as tests_names
from entropy_mech.grading.process import ChildGone, ChildTimeout, GraderFailed
from entropy_mech.grading.sandbox import Limits, Sandbox
from entropy_mech.grading.verdict import Verdict

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BLANKS = " \t\r\n\x0b\x0c"


class BadTests(ValueError):
    """Tests that no program could be judged by; the verdict is ``error``."""


@dataclass(frozen=True)
class CodeTests:
    """Unit tests in one shape: ``kind`` is stdin, calls, asserts or pytest."""

    kind: str
    total: int
    inputs: tuple = ()
    outputs: tuple = ()
    message: dict | None = None  # what goes to the tests' process
    names: frozenset[str] | None = None  # what they want of the program; None for a script
    libraries: tuple[str, ...] = ()  # the modules that they import
    provide: bool = False  # whether the program gets the names of LeetCode's judges


def grade_program(
    program: str, tests, sandbox: Sandbox, limits: Limits, *, float_tolerance: float = 1e-6
) -> Verdict:
    """Grade in a given sandbox; :func:`entropy_mech.grading.grade_code` finds one by itself."""
    try:
        plan = read_tests(tests)
    except BadTests as bad:
        return Verdict("error", f"tests: {bad}", 0, 0)
    if not isinstance(program, str) or not (text := extract_program(program, plan.names)).strip():
        return Verdict("no_answer", "no program in the response", 0, plan.total)
    text = text.encode("utf-8", "replace").decode()
    plan = _prepared(plan, text)
    for attempt in (1, 2):
        try:
            if plan.kind == "stdin":
                verdict = _judge_stdin(plan, text, sandbox, limits, float_tolerance)
            else:
                verdict = _judge_tests(plan, text, sandbox, limits)
        except ChildTimeout:
            verdict = Verdict("timeout", f"over {limits.timeout_s:g} s", 0, plan.total)
        except (ChildGone, GraderFailed) as gone:
            # Once may be bad luck (the machine's memory); a program that does it twice did it.
            if attempt == 1:
                limits = replace(limits, timeout_s=max(0.1, limits.timeout_s / 2))
                continue
            if isinstance(gone, GraderFailed):
                return Verdict("error", str(gone), 0, plan.total)
            verdict = Verdict("wrong", f"took its sandbox down: {gone}", 0, plan.total)
        if verdict.name in ("wrong", "timeout") and (lacking := sandbox.lacking(limits)):
            return Verdict("error", f"the sandbox: {lacking}", 0, plan.total)
        return verdict
    raise AssertionError("unreachable")


def _judge_stdin(plan, program, sandbox, limits, float_tolerance) -> Verdict:
    reply = sandbox.run_stdin(program, list(plan.inputs), limits)
    passed, first, timed_out = 0, "", False
    for number, (case, expected) in enumerate(zip(reply["cases"], plan.outputs, strict=True)):
        if case["ended"] == "exit" and case["exit"] == 0:
            if same_output(case["stdout"], expected, float_tolerance):
                passed += 1
                continue
            why = f"printed {_short(case['stdout'])} instead of {_short(expected)}"
        elif case["ended"] == "timeout":
            timed_out, why = True, f"over {limits.timeout_s:g} s"
        elif case["ended"] == "output":
            why = f"printed more than {limits.output_mib:g} MiB"
        else:
            lines = case["stderr"].strip().splitlines()
            why = f"ended with {case['exit']}" + (f": {lines[-1][:200]}" if lines else "")
        first = first or f"case {number}: {why}"
    if passed == plan.total:
        return Verdict("correct", "", passed, plan.total)
    return Verdict("timeout" if timed_out else "wrong", first, passed, plan.total)


def _judge_tests(plan, program, sandbox, limits) -> Verdict:
    about = {"names": list(plan.names), "libraries": plan.libraries, "provide": plan.provide}
    reply = sandbox.run_tests(program, plan.message, limits, **about)
    if reply["ended"] == "timeout":
        return Verdict("timeout", f"over {limits.timeout_s:g} s", 0, plan.total)
    try:
        report = json.loads(reply["result"])
        passed, total = int(report["passed"]), int(report.get("total", plan.total))
    except (ValueError, KeyError, TypeError):
        why = f"the tests' process ended without a report ({reply['ended']}, {reply['exit']})"
        return Verdict("wrong", why, 0, plan.total)
    if "bad_tests" in report:
        return Verdict("error", f"tests: {report['bad_tests']}", 0, total)
    failure = report.get("failure", "")
    if passed == total > 0 and not failure:
        return Verdict("correct", "", passed, total)
    return Verdict("wrong", failure, passed, total)


def _prepared(plan: CodeTests, program: str) -> CodeTests:
    """Add what only the two together tell: HumanEval's function, LeetCode's provided names."""
    if plan.kind == "stdin":
        return plan
    if "entry" in plan.message and not plan.message["entry"]:
        entry = tests_names.entry_point(tests_names.parsed(program))
        plan = replace(plan, message={**plan.message, "entry": entry})
    leetcode = plan.kind == "calls" or (plan.kind == "asserts" and _defines_solution(program))
    return replace(plan, provide=leetcode)


def _defines_solution(program: str) -> bool:
    tree = tests_names.parsed(program) if "Solution" in program else None
    nodes = tree.body if tree else []
    return any(isinstance(node, ast.ClassDef) and node.name == "Solution" for node in nodes)


def _short(text: str) -> str:
    text = repr(text.strip())
    return text if len(text) <= 60 else text[:57] + "..."


def same_output(printed: str, expected: str, float_tolerance: float = 1e-6) -> bool:
    r"""Line by line and word by word; decimals may differ by ``float_tolerance`` (both ways).

    Spaces at line ends, empty lines at the start and at the end and the amount of space between
    words do not count. Lines end at a line feed and words at ASCII white space, nowhere else.
    Integers must be the same to the digit.

    >>> same_output("1 2\n0.3333333\n", "1 2\n0.33333334")
    True
    >>> same_output("1\n2\n", "1 2")
    False
    """
    mine, theirs = (text.strip(_BLANKS).split("\n") for text in (printed, expected))
    return len(mine) == len(theirs) and all(
        a == b or _same_words(_words(a), _words(b), float_tolerance)
        for a, b in zip(mine, theirs, strict=True)
    )


def _words(line: str) -> list[bytes]:
    return line.encode("utf-8", "surrogatepass").split()  # of bytes: at ASCII white space only


def _same_words(mine: list[bytes], theirs: list[bytes], tolerance: float) -> bool:
    return len(mine) == len(theirs) and all(
        a == b or _same_decimal(a.decode("latin-1"), b.decode("latin-1"), tolerance)
        for a, b in zip(mine, theirs, strict=True)
    )


def _same_decimal(mine: str, expected: str, tolerance: float) -> bool:
    if not (_NUMBER.fullmatch(mine) and _NUMBER.fullmatch(expected)):
        return False
    if not any(c in ".eE" for c in expected):
        return False
    a, b = float(mine), float(expected)
    return math.isfinite(b) and math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


# -- the four forms ---------------------------------------------------------------------------
def read_tests(tests) -> CodeTests:
    """Bring tests of any of the four forms into one shape; raises BadTests.

    A dict of ``inputs`` and ``outputs``, with ``fn_name`` for function calls; a list of assert
    statements; the text of a pytest file, or of HumanEval's ``check``; or any of these as JSON
    text. Also the rows of HumanEval (a dict with ``test`` and ``entry_point``) and MBPP
    (``test_list``, with ``test_setup_code`` or ``test_imports``).
    """
    if isinstance(tests, CodeTests):
        return tests
    if isinstance(tests, str):
        stripped = tests.strip()
        if stripped[:1] in ("{", "["):
            try:
                return read_tests(json.loads(stripped))
            except json.JSONDecodeError:
                pass  # then it is Python
        return _pytest_file(tests)
    if isinstance(tests, dict):
        if "test_list" in tests:
            before = [tests.get("test_setup_code") or "", *(tests.get("test_imports") or ())]
            return _asserts([*filter(None, before), *tests["test_list"]])
        if isinstance(tests.get("test"), str):
            return _pytest_file(tests["test"], tests.get("entry_point"))
        return _inputs_and_outputs(tests)
    if isinstance(tests, (list, tuple)):
        return _asserts(list(tests))
    raise BadTests(f"a {type(tests).__name__} is none of the known forms")


def _read(text, what: str) -> tests_names.TestText:
    try:
        return tests_names.TestText(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise BadTests(f"not {what}: {error}") from None


@functools.lru_cache(maxsize=4096)  # the samples of a group have the same tests
def _pytest_file(text: str, entry: str | None = None) -> CodeTests:
    read = _read(text, "Python")
    if not read.has_tests():
        raise BadTests("no test function and no assert")
    total = max(1, len(read.tests))
    message = {"form": "pytest", "read": read.data(), "total": total}
    return _with_names("pytest", total, message, read, entry)


def _asserts(statements: list) -> CodeTests:
    if not statements:
        raise BadTests("an empty list")
    trees = [_read(s, f"a statement: {_short(str(s))}").tree for s in statements]
    if not any(isinstance(n, ast.Assert) for tree in trees for n in ast.walk(tree)):
        raise BadTests("no assert among the statements")
    total = sum(not tests_names.is_setup(tree) for tree in trees)
    if not total:
        raise BadTests("the statements define asserts and run none")
    read = _read("\n".join(statements), "Python")
    message = {"form": "asserts", "read": read.data(), "statements": statements, "total": total}
    return _with_names("asserts", total, message, read)


def _with_names(kind, total, message, read, entry=None) -> CodeTests:
    wanted = read.wanted()
    if read.has_check() or "candidate" in read.used - read.bound_anywhere:
        message["entry"] = read.checked() or entry or ""
        wanted |= {message["entry"]} - {""}
    libraries = tuple(sorted(read.libraries))
    return CodeTests(kind, total, message=message, names=frozenset(wanted), libraries=libraries)


def _inputs_and_outputs(tests: dict) -> CodeTests:
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadTests("a dict needs the lists 'inputs' and 'outputs'")
    if not inputs or len(inputs) != len(outputs):
        raise BadTests(f"{len(inputs)} inputs and {len(outputs)} outputs")
    total, name = len(inputs), tests.get("fn_name")
    if not name:
        if None in inputs or None in outputs:
            raise BadTests("an input or output is None")
        return CodeTests(
            "stdin", total, tuple(map(_as_text, inputs)), tuple(map(_as_text, outputs))
        )
    if not isinstance(name, str) or not name.isidentifier():
        raise BadTests(f"fn_name {name!r} is no name")
    cases = [{"args": a, "expected": b} for a, b in _calls(inputs, outputs)]
    message = {"form": "calls", "name": name, "cases": cases, "total": total}
    return CodeTests("calls", total, message=message, names=frozenset({name}))


def _calls(inputs: list, outputs: list) -> list[tuple[list, object]]:
    """The arguments and the result of each call, by what the whole row is written in.

    Inputs that are all texts, each line a JSON value, are JSON text: one line an argument. Then
    outputs that are all JSON text, too, are values written as JSON. In every other row values
    stand for themselves, so that ``"11"`` is text; an input that is no list is the one argument.
    """
    arguments = [_json_lines(given) for given in inputs]
    if None in arguments:
        return [
            (g if isinstance(g, list) else [g], b) for g, b in zip(inputs, outputs, strict=True)
        ]
    results = [_json_lines(wanted) for wanted in outputs]
    if all(r is not None and len(r) == 1 for r in results):
        outputs = [r[0] for r in results]
    return list(zip(arguments, outputs, strict=True))


def _json_lines(text) -> list | None:
    if not isinstance(text, str):
        return None
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError):
        return None


def _as_text(value) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
