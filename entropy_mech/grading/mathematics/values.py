"""Whether expressions have the same values: at a point, as functions, up to a constant.

Equality is proved, not guessed from the first digits: values are exact, or computed to more
digits than two different results of such expressions could share.
"""

from __future__ import annotations

import random
from fractions import Fraction

import mpmath
import sympy

from entropy_mech.grading.mathematics.evaluation import (
    DIGITS,
    Evaluation,
    NoValueError,
    inexact,
    size_in_digits,
)

# Decimal digits that a proof of equality may need; what needs more is not decided.
MAX_DIGITS = 200_000
_IN_PIECES = (sympy.floor, sympy.ceiling, sympy.Mod, sympy.sign, sympy.Max, sympy.Min, sympy.Abs)
_UNEVALUATED = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


class UndecidedError(ArithmeticError):
    """Equal as far as it was computed, which proves nothing here."""


def closed(expression):
    """With sums, products, integrals, limits and derivatives carried out."""
    done = {node: _carried_out(node) for node in expression.atoms(*_UNEVALUATED)}
    return expression.xreplace(done) if done else expression


def _carried_out(node):
    if isinstance(node, sympy.Derivative) and not node.expr.has(*node.variables):
        return sympy.Symbol(str(node))  # dy/dx is a name
    if isinstance(node, sympy.Limit) and node.args[2].is_finite:
        node = sympy.Limit(*node.args[:3], "+-")  # from both sides
    try:
        return node.doit()
    except Exception:  # sympy has a class for each of its reasons: there is no value
        return sympy.nan


def same_value(first, second, point: dict, *, among_complex: bool = False) -> bool:
    """Whether two expressions have the same value at a point; raises where one has none."""
    once = _difference(first, second, point, DIGITS, among_complex)
    if not once.same or once.exact:
        return once.same
    needed = DIGITS + 4 * int(once.magnitude)
    if needed > MAX_DIGITS:
        raise UndecidedError("equal to as many digits as were computed")
    return _difference(first, second, point, needed, among_complex).same


class _Difference:
    def __init__(self, same: bool, exact: bool, magnitude: float):
        self.same, self.exact, self.magnitude = same, exact, magnitude


def _difference(first, second, point, digits, among_complex) -> _Difference:
    runs = [Evaluation(point, digits, among_complex=among_complex) for _ in range(2)]
    a, b = (run.value(e) for run, e in zip(runs, (first, second), strict=True))
    magnitude = sum(run.magnitude for run in runs)
    if all(run.exact for run in runs):
        return _Difference(a == b, True, magnitude)
    with mpmath.workdps(digits):
        gap = size_in_digits(inexact(a) - inexact(b), 0)
    unsure = max(run.peak for run in runs) + max(run.lost for run in runs)
    return _Difference(gap < unsure + digits // 4 - digits, False, magnitude)


def points(symbols, seed: int = 22617, *, more: int = 0) -> list[dict]:
    """Where expressions in these symbols are compared: fractions and whole numbers.

    Positive and negative, small and large, since roots and logarithms have few points and
    factorials and (-1)^n have whole ones only. ``more`` are for functions in pieces.
    """
    names = sorted(symbols, key=str)
    if not names:
        return [{}]
    rng = random.Random(seed)
    ranges = [(1, 9, 10), (1, 9, 7), (11, 39, 10), (11, 39, 7), (-39, -11, 7), (-9, 39, 10),
              (-39, 9, 7)]  # fmt: skip
    found = [
        {name: Fraction(rng.randint(low, high) or 1, scale) for name in names}
        for low, high, scale in ranges
    ]
    found += [{name: Fraction(rng.randint(2, 9)) for name in names} for _ in range(4)]
    return found + [
        {name: Fraction(rng.randint(-900, 900), 97) for name in names} for _ in range(more)
    ]


def same_function(first, second) -> bool:
    """Whether two expressions agree wherever both have a value.

    Decided by their values at several points, each exact or to a precision that proves it. Names
    that cancel out do not count. Raises NoValueError where they meet at fewer than three points.
    """
    for expression in (first, second):
        if not expression.free_symbols:  # what has no value here has none anywhere
            Evaluation({}, among_complex=True).value(expression)
    names = first.free_symbols | second.free_symbols
    among_complex = first.has(sympy.I) or second.has(sympy.I)
    pieces = first.has(*_IN_PIECES) or second.has(*_IN_PIECES)
    places = points(names, more=80 if pieces else 0)
    for complex_too in (False, True) if not among_complex else (True,):
        met = 0
        for point in places:
            try:
                if not same_value(first, second, point, among_complex=complex_too):
                    return False
                met += 1
            except NoValueError:
                continue
        if met >= min(3, len(places)):
            return True
    raise NoValueError("they have no values to compare")


def constant_ratio(first, second):
    """The constant that one expression is of the other, as far as its sign: 1, -1; 0 for none."""
    names = first.free_symbols
    if names != second.free_symbols or not names:
        return 0
    anchor, sign, met = None, 0, 0
    for point in points(names):
        try:
            values = [Evaluation(point).value(e) for e in (first, second)]
            if 0 in values:
                if any(values):
                    return 0
                continue
            if anchor is None:
                at = {name: sympy.Rational(v.numerator, v.denominator) for name, v in point.items()}
                anchor = [e.xreplace(at) for e in (first, second)]
                sign = 1 if (values[0] > 0) == (values[1] > 0) else -1
            if not same_value(first * anchor[1], second * anchor[0], point):
                return 0
            met += 1
        except NoValueError:
            continue
    return sign if met >= 3 else 0
