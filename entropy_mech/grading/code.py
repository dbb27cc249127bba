"""Grade a program by its unit tests, in the forms that the training sets use."""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass, replace

from entropy_mech.grading.process import ChildGone, ChildTimeout
from entropy_mech.grading.sandbox import Limits, Sandbox
from entropy_mech.grading.verdict import Verdict

_FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
_PYTHON = {"python", "py", "python3"}


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


def extract_program(response: str) -> str:
    r"""The program in a response: its last fenced block of Python, else of any kind, else all.

    >>> extract_program("Here:\n```python\nprint(1)\n```\nDone.")
    'print(1)\n'
    """
    blocks = _FENCE.findall(response)
    python = [text for tag, text in blocks if tag.lower() in _PYTHON]
    plain = [text for tag, text in blocks if not tag]
    return (python or plain or [response])[-1]


def grade_program(
    program: str, tests, sandbox: Sandbox, limits: Limits, *, float_tolerance: float = 1e-6
) -> Verdict:
    """Grade in a given sandbox; :func:`entropy_mech.grading.grade_code` finds one by itself."""
    try:
        plan = read_tests(tests)
    except BadTests as bad:
        return Verdict("error", f"tests: {bad}", 0, 0)
    if not isinstance(program, str) or not (text := extract_program(program)).strip():
        return Verdict("no_answer", "no program in the response", 0, plan.total)
    text = text.encode("utf-8", "replace").decode()
    for attempt in (1, 2):
        try:
            if plan.kind == "stdin":
                return _judge_stdin(plan, text, sandbox, limits, float_tolerance)
            return _judge_tests(plan, text, sandbox, limits)
        except ChildTimeout:
            return Verdict("timeout", f"over {limits.timeout_s:g} s", 0, plan.total)
        except ChildGone as gone:
            # Once may be bad luck (the machine's memory); a program that does it twice did it.
            if attempt == 2:
                return Verdict("wrong", f"took its sandbox down: {gone}", 0, plan.total)
            limits = replace(limits, timeout_s=max(0.1, limits.timeout_s / 2))
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
    reply = sandbox.run_tests(program, plan.message, limits)
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
    if passed == total > 0:
        return Verdict("correct", "", passed, total)
    return Verdict("wrong", report.get("failure", ""), passed, total)


def _short(text: str) -> str:
    text = repr(text.strip())
    return text if len(text) <= 60 else text[:57] + "..."


def same_output(printed: str, expected: str, float_tolerance: float = 1e-6) -> bool:
    r"""Line by line and word by word; decimals may differ by ``float_tolerance`` (both ways).

    Spaces at line ends, empty lines at the end and the amount of space between words do not
    count. Integers must be the same to the digit.

    >>> same_output("1 2\n0.3333333\n", "1 2\n0.33333334")
    True
    >>> same_output("1\n2\n", "1 2")
    False
    """
    mine, theirs = printed.rstrip().splitlines(), expected.rstrip().splitlines()
    if len(mine) != len(theirs):
        return False
    return all(
        a == b or _same_words(a.split(), b.split(), float_tolerance)
        for a, b in zip(mine, theirs, strict=True)
    )


def _same_words(mine: list[str], theirs: list[str], tolerance: float) -> bool:
    if len(mine) != len(theirs):
        return False
    for a, b in zip(mine, theirs, strict=True):
        if a == b:
            continue
        if not any(c in ".eE" for c in b):
            return False
        try:
            if not math.isclose(float(a), float(b), rel_tol=tolerance, abs_tol=tolerance):
                return False
        except ValueError:
            return False
    return True


# -- the four forms ---------------------------------------------------------------------------
def read_tests(tests) -> CodeTests:
    """Bring tests of any of the four forms into one shape; raises BadTests.

    A dict of ``inputs`` and ``outputs``, with ``fn_name`` for function calls; a list of assert
    statements; the text of a pytest file; or any of these as JSON text.
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
        return _inputs_and_outputs(tests)
    if isinstance(tests, (list, tuple)):
        return _asserts(list(tests))
    raise BadTests(f"a {type(tests).__name__} is none of the known forms")


def _pytest_file(text: str) -> CodeTests:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTests(f"not Python: {error}") from None
    found = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    ]  # fmt: skip
    if not found and not any(isinstance(node, ast.Assert) for node in tree.body):
        raise BadTests("no test function and no assert")
    total = max(1, len(found))
    return CodeTests("pytest", total, message={"form": "pytest", "text": text, "total": total})


def _asserts(statements: list) -> CodeTests:
    if not statements:
        raise BadTests("an empty list")
    for statement in statements:
        try:
            ast.parse(statement)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise BadTests(f"not a statement: {_short(str(statement))} ({error})") from None
    if not any(isinstance(n, ast.Assert) for s in statements for n in ast.walk(ast.parse(s))):
        raise BadTests("no assert among the statements")
    total = len(statements)
    message = {"form": "asserts", "statements": statements, "total": total}
    return CodeTests("asserts", total, message=message)


def _inputs_and_outputs(tests: dict) -> CodeTests:
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise BadTests("a dict needs the lists 'inputs' and 'outputs'")
    if not inputs or len(inputs) != len(outputs):
        raise BadTests(f"{len(inputs)} inputs and {len(outputs)} outputs")
    total, name = len(inputs), tests.get("fn_name")
    if not name:
        return CodeTests(
            "stdin", total, tuple(map(_as_text, inputs)), tuple(map(_as_text, outputs))
        )
    if not isinstance(name, str) or not name.isidentifier():
        raise BadTests(f"fn_name {name!r} is no name")
    cases = [
        {"args": _arguments(given), "expected": _from_json(wanted)}
        for given, wanted in zip(inputs, outputs, strict=True)
    ]
    message = {"form": "calls", "name": name, "cases": cases, "total": total}
    return CodeTests("calls", total, message=message)


def _as_text(value) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _from_json(value):
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _arguments(given) -> list:
    """Arguments of one call: a list of them, or text with one JSON value a line."""
    if isinstance(given, str):
        try:
            given = [json.loads(line) for line in given.splitlines() if line.strip()]
        except ValueError:
            given = [given]
    if not isinstance(given, list):
        given = [given]
    return given
