"""Graders: a response and a reference in, a named verdict out.

Importing this package loads neither torch, matplotlib nor math-verify; workers start on the
first grade that needs one.
"""

from __future__ import annotations

from collections.abc import Sequence

from entropy_mech.grading.pool import GradingPool, default_pool
from entropy_mech.grading.sandbox import Limits, Sandbox, describe_sandbox
from entropy_mech.grading.verdict import VERDICT_NAMES, GraderAlarm, Verdict

__all__ = [
    "VERDICT_NAMES",
    "GraderAlarm",
    "GradingPool",
    "Limits",
    "Sandbox",
    "Verdict",
    "describe_sandbox",
    "grade_code",
    "grade_math",
]


def grade_math(
    response: str, reference: str | Sequence[str], *, timeout_s: float = 5.0, **rules
) -> Verdict:
    r"""Grade the last boxed answer of a response against a reference.

    The reference is a number, expression, tuple, interval, set, matrix, several answers in any
    order, a number with a base or a unit (which the answer may leave out), text or a choice;
    with or without dollar signs or its own box; or a list of accepted forms. Numbers are
    compared exactly unless a tolerance is given; ``rules`` are the fields of
    :class:`entropy_mech.grading.maths.MathRules`. A wrong answer is ``wrong``, a missing one
    ``no_answer``, an endless one ``timeout`` within ``timeout_s`` + 1 s; ``error`` means that
    nothing was judged: no reference, or a worker that failed by itself. Any thread may call it.

    >>> grade_math(r"Hence $x = \boxed{\frac{1}{2}}$.", "0.5").name
    'correct'
    >>> grade_math(r"\boxed{(2, 1)}", "(1, 2)").reason
    '(2, 1) is not (1, 2)'
    """
    return default_pool().grade_math(response, reference, timeout_s=timeout_s, **rules)


def grade_code(program: str, tests, *, timeout_s: float = 10.0, **limits) -> Verdict:
    """Run a program against unit tests in a sandbox; all tests together get ``timeout_s``.

    ``tests`` is one of four forms: a dict of ``inputs`` and ``outputs`` (standard input and
    output), the same with ``fn_name`` (arguments and results of one function), a list of
    assert statements, or the text of a pytest file that imports from ``solution`` or shares
    its namespace. ``limits`` are the fields of :class:`Limits`. The verdict keeps how many
    tests passed; ``correct`` means all of them. ``error`` means that
    nothing was judged: tests that make no sense, or a sandbox that failed by itself.

    >>> grade_code("def double(x): return 2 * x", ["assert double(4) == 8"]).name
    'correct'
    """
    return default_pool().grade_code(program, tests, timeout_s=timeout_s, **limits)
