"""Whether two expressions, equations or sets are the same as mathematics.

Runs only in a worker process that can be killed: sympy may take for ever on a short text.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction

logging.disable(logging.CRITICAL)  # math-verify logs every text that it cannot read

import math_verify  # noqa: E402
import mpmath  # noqa: E402
import sympy  # noqa: E402

from entropy_mech.grading.mathematics.evaluation import DIGITS, Evaluation  # noqa: E402
from entropy_mech.grading.mathematics.normal import normal  # noqa: E402
from entropy_mech.grading.mathematics.quantity import number  # noqa: E402
from entropy_mech.grading.mathematics.reading import read  # noqa: E402
from entropy_mech.grading.mathematics.structure import Closeness, rounds_to  # noqa: E402
from entropy_mech.grading.mathematics.values import constant_ratio, same_function  # noqa: E402

EXACT = Closeness()
_INFINITE = (sympy.S.Infinity, sympy.S.NegativeInfinity)
_BOUNDS = re.compile(
    r"\\(?:sum|prod|int|lim|bigcup|bigcap)(?![a-z])"
    r"(?: ?[_^](?:\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-z]+|[-+]?\w))*"
)
_NOT_FINITE = (*_INFINITE, sympy.S.ComplexInfinity, sympy.S.NaN)


def same_algebra(answer: str, reference: str, closeness: Closeness = EXACT) -> bool:
    """Whether two normalised texts denote the same mathematical object.

    Expressions are the same if they have the same values; infinities and what has no value are
    no values, and are the same as nothing but the infinity of the same sign. A decimal is right
    if it is the exact constant, rounded to five digits or more. Equations are the same up to a
    factor. Inequalities, sets and matrices are math-verify's to decide.
    """
    gold, found = (_single(read(text)) for text in (reference, answer))
    if isinstance(gold, sympy.Eq) != isinstance(found, sympy.Eq):
        gold, found = map(_as_set, (gold, found))
    if gold is None or found is None:
        return False
    if gold in _INFINITE or found in _INFINITE:
        return gold == found
    if _is_matrix(gold) or _is_matrix(found):
        return _same_matrix(gold, found)
    if isinstance(gold, sympy.Expr) and isinstance(found, sympy.Expr):
        if _reckons_with_infinity(answer) or _reckons_with_infinity(reference):
            return False
        if (
            not gold.free_symbols
            and not found.free_symbols
            and _near(gold, found, answer, reference, closeness)
        ):
            return True
        return same_function(gold, found)
    if isinstance(gold, sympy.Eq) and isinstance(found, sympy.Eq):
        return _same_equation(gold, found)
    if any(isinstance(thing, (sympy.Eq, sympy.Expr)) for thing in (gold, found)):
        return False  # an equation is not a value, and a value is not a set
    if gold == found:
        return True
    if _names(gold) != _names(found) and not _set_and_relation(gold, found):
        return False
    if _infinities(gold) != _infinities(found) and not _set_and_relation(gold, found):
        return False
    if _same_inequality(gold, found):
        return True
    gold, found = map(_among_reals, (gold, found))
    return bool(math_verify.verify(gold, found, timeout_seconds=None, allow_set_relation_comp=True))


def _reckons_with_infinity(text: str) -> bool:
    r"""Whether infinity is an operand, as in e^{-\infty}, not a bound of a sum or a limit."""
    return "\\infty" in _BOUNDS.sub("", text)


def found_in(text: str) -> list[str]:
    """What math-verify takes for the answer in a text, normalised; the last of its forms."""
    found = math_verify.parse(text, parsing_timeout=None)
    return [normal(one) for one in found[-1:] if isinstance(one, str)]


def _near(gold, found, answer: str, reference: str, closeness: Closeness) -> bool:
    """Whether one of two real constants is a decimal that rounds the other, or is near enough."""
    decimals = number(answer), number(reference)
    if closeness == EXACT and not any(d and d.decimals is not None for d in decimals):
        return False
    values = [Evaluation({}).value(e) for e in (found, gold)]
    if any(isinstance(value, mpmath.mpc) for value in values):
        return False
    mine, theirs = map(_as_fraction, values)
    return (
        (closeness != EXACT and closeness.same(mine, theirs))
        or (decimals[0] is not None and rounds_to(decimals[0], theirs))
        or (decimals[1] is not None and rounds_to(decimals[1], mine))
    )


def _as_fraction(value) -> Fraction:
    if isinstance(value, Fraction):
        return value
    with mpmath.workdps(DIGITS):
        return Fraction(mpmath.nstr(value, DIGITS))


def _as_set(thing):
    """The set in "x is in a set", which the parser reads as an equation."""
    if isinstance(thing, sympy.Eq) and thing.lhs.is_Symbol and isinstance(thing.rhs, sympy.Set):
        return thing.rhs
    return thing


def _single(thing):
    """The only element of a set that has no other."""
    while (
        isinstance(thing, sympy.FiniteSet)
        and len(thing.args) == 1
        and isinstance(thing.args[0], sympy.Expr)
    ):
        thing = thing.args[0]
    return thing


def _is_matrix(thing) -> bool:
    return bool(getattr(thing, "is_Matrix", False))


def _same_matrix(gold, found) -> bool:
    """The same shape and, carried out, the same entries."""
    if not (_is_matrix(gold) and _is_matrix(found)):
        return False
    gold, found = gold.doit(), found.doit()
    return gold.shape == found.shape and all(map(same_function, gold, found))


def _same_equation(gold, found) -> bool:
    """The same solutions: one side minus the other is the same, up to a factor.

    An equation in one unknown that is solved is a value with its name: restating the problem
    does not answer it.
    """
    if _solved(gold) and not _solved(found):
        return False
    sides = [e.lhs - e.rhs for e in (gold, found) if _has_sides(e)]
    if len(sides) < 2:
        return gold == found
    if any(side.has(*_NOT_FINITE) for side in sides):
        return gold == found
    if constant_ratio(*sides):
        return True
    cleared = [sympy.fraction(sympy.together(side))[0] for side in sides]
    return cleared != sides and bool(constant_ratio(*cleared))


def _same_inequality(gold, found) -> bool:
    """One side minus the other is the same, up to a positive factor."""
    inequalities = (
        sympy.StrictGreaterThan,
        sympy.StrictLessThan,
        sympy.GreaterThan,
        sympy.LessThan,
    )
    if not all(isinstance(e, inequalities) and _has_sides(e) for e in (gold, found)):
        return False
    strict = [isinstance(e, (sympy.StrictGreaterThan, sympy.StrictLessThan)) for e in (gold, found)]
    return strict[0] == strict[1] and constant_ratio(*(e.gts - e.lts for e in (gold, found))) == 1


def _among_reals(thing):
    """With symbols for real numbers, without which sympy solves no inequality."""
    names = _names(thing)
    return thing.xreplace({s: sympy.Symbol(s.name, real=True) for s in names}) if names else thing


def _has_sides(equation) -> bool:
    return all(isinstance(side, sympy.Expr) for side in equation.args)


def _solved(equation) -> bool:
    sides = (equation.args, equation.args[::-1])
    return any(a.is_Symbol and not b.free_symbols for a, b in sides)


def _names(thing) -> set:
    return getattr(thing, "free_symbols", set())


def _infinities(thing) -> tuple:
    atoms = getattr(thing, "atoms", lambda *_: set())(*map(type, _NOT_FINITE))
    return tuple(sorted(map(str, atoms)))


def _set_and_relation(first, second) -> bool:
    return isinstance(first, sympy.Set) != isinstance(second, sympy.Set)
