"""Ask math-verify, and sympy behind it, whether two expressions are equal.

Runs only in a worker process that can be killed: sympy may take for ever on a short text.
"""

from __future__ import annotations

import functools
import logging
from fractions import Fraction

logging.disable(logging.CRITICAL)  # math-verify logs every text that it cannot read

import math_verify  # noqa: E402
import sympy  # noqa: E402
from latex2sympy2_extended.math_normalization import NormalizationConfig  # noqa: E402
from math_verify import LatexExtractionConfig  # noqa: E402

from entropy_mech.grading.mathematics.extract import is_prose  # noqa: E402
from entropy_mech.grading.mathematics.normal import normal, number  # noqa: E402
from entropy_mech.grading.mathematics.structure import rounds_to  # noqa: E402

# Without math-verify's own treatment of units, which would drop the t of "\\frac{1}{m}t".
_WHOLE = LatexExtractionConfig(
    normalization_config=NormalizationConfig(malformed_operators=True, nits=True, equations=True)
)
_CLOSE_DIGITS, _WORKING_DIGITS = 60, 10_000  # digits wanted, digits that may be spent on them


def same_algebra(answer: str, reference: str) -> bool:
    """Whether two normalised texts denote the same mathematical object.

    Exact constants are compared by value, much further than the 15 digits of math-verify, so
    that neighbours of a huge number do not pass for it. A decimal is right if it is the exact
    constant, rounded to five digits or more. All else is math-verify's to decide.
    """
    gold, found = _read(reference), _read(answer)
    if gold is None or found is None:
        return False
    decimal = number(answer)
    if decimal and decimal.decimals is not None and _is_exact_constant(gold):
        value = sympy.N(gold, _CLOSE_DIGITS, maxn=_WORKING_DIGITS)
        return bool(value.is_Float) and rounds_to(decimal, Fraction(str(value)))
    if _is_exact_constant(gold) and _is_exact_constant(found):
        return _same_constant(gold, found)
    if _is_equation(gold) != _is_equation(found) or _differ_at_a_point(gold, found):
        return False
    return bool(math_verify.verify(gold, found, timeout_seconds=None, allow_set_relation_comp=True))


def same_in_prose(answer: str, reference: str) -> bool:
    """Whether what math-verify finds in a text is what it finds in the reference.

    For texts with words in them, which have not been normalised.
    """
    gold, found = ([*math_verify.parse(t, parsing_timeout=None)] for t in (reference, answer))
    if not is_prose(reference):
        gold = [_read(normal(reference))]
    return bool(found) and bool(math_verify.verify(gold, found, timeout_seconds=None))


@functools.lru_cache(maxsize=4096)  # a reference meets many answers
def _read(text: str):
    """The object that a whole text denotes; None if some of it cannot be read.

    math-verify would fall back to the last number in the text, or to a piece of the text.
    """
    found = math_verify.parse(f"${text}$", extraction_config=[_WHOLE], parsing_timeout=None)
    return next((value for value in found if not isinstance(value, str)), None)


def _is_equation(value) -> bool:
    """Whether this is an equation proper, not a value with its name as in "AB/CD = 2"."""
    if not isinstance(value, sympy.Eq):
        return False
    left = value.lhs
    return left.has(sympy.Add) or left.as_coeff_Mul()[0] != 1 or not left.free_symbols


def _is_exact_constant(value) -> bool:
    return (
        isinstance(value, sympy.Expr)
        and bool(value.is_number)
        and not value.has(sympy.Float, sympy.oo, sympy.zoo, sympy.nan)
    )


def _same_constant(gold, found) -> bool:
    """Compare two constants: at 30 digits, which settles nearly all, then at 10,000."""
    scale = max(abs(sympy.N(value, 30)) for value in (gold, found))
    if abs(sympy.N(gold, 30) - sympy.N(found, 30)) > scale * sympy.Float(10) ** -20:
        return False
    difference = sympy.N(gold - found, _CLOSE_DIGITS, maxn=_WORKING_DIGITS)
    return bool(abs(difference) <= scale * sympy.Float(10) ** (200 - _WORKING_DIGITS))


def _differ_at_a_point(gold, found) -> bool:
    """Whether two expressions in the same symbols have different values somewhere.

    A quick no; equal values prove nothing, and then math-verify decides.
    """
    if not all(isinstance(value, sympy.Expr) for value in (gold, found)):
        return False
    symbols = gold.free_symbols
    if not symbols or symbols != found.free_symbols or not all(s.is_Symbol for s in symbols):
        return False
    names = sorted(symbols, key=str)
    point = {symbol: sympy.Rational(7 * i + 11, 5 * i + 9) for i, symbol in enumerate(names)}
    first, second = (sympy.N(value.subs(point), 30) for value in (gold, found))
    if not all(value.is_number and value.is_finite for value in (first, second)):
        return False
    return bool(abs(first - second) > max(abs(first), abs(second)) * sympy.Float(10) ** -9)
