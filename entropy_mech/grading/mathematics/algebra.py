"""Ask math-verify, and sympy behind it, whether two expressions are equal.

Runs only in a worker process that can be killed: sympy may take for ever on a short text.
"""

from __future__ import annotations

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
_CLOSE_DIGITS, _WORKING_DIGITS = 60, 2000  # digits wanted, digits that may be spent on them


def same_algebra(answer: str, reference: str) -> bool:
    """Whether two normalised texts denote the same mathematical object.

    math-verify compares numbers to 15 digits; where both are exact constants its yes is
    checked much further, so that neighbours of a huge number do not pass for it. A decimal is
    right if it is the exact constant, rounded to five digits or more.
    """
    gold, found = _read(reference), _read(answer)
    if gold is None or found is None:
        return False
    decimal = number(answer)
    if decimal and decimal.decimals is not None and _is_exact_constant(gold):
        value = sympy.N(gold, _CLOSE_DIGITS, maxn=_WORKING_DIGITS)
        return bool(value.is_Float) and rounds_to(decimal, Fraction(str(value)))
    if _is_equation(gold) != _is_equation(found):
        return False
    if not math_verify.verify(gold, found, timeout_seconds=None, allow_set_relation_comp=True):
        return False
    if _is_exact_constant(gold) and _is_exact_constant(found):
        return _same_constant(gold, found)
    return True


def same_in_prose(answer: str, reference: str) -> bool:
    """Whether what math-verify finds in a text is what it finds in the reference.

    For texts with words in them, which have not been normalised.
    """
    gold, found = ([*math_verify.parse(t, parsing_timeout=None)] for t in (reference, answer))
    if not is_prose(reference):
        gold = [_read(normal(reference))]
    return bool(found) and bool(math_verify.verify(gold, found, timeout_seconds=None))


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
    return isinstance(value, sympy.Expr) and value.is_number and not value.has(sympy.Float)


def _same_constant(gold, found) -> bool:
    difference = sympy.N(gold - found, _CLOSE_DIGITS, maxn=_WORKING_DIGITS)
    scale = max(abs(sympy.N(value, _CLOSE_DIGITS)) for value in (gold, found))
    return bool(abs(difference) <= scale * sympy.Float(10) ** (200 - _WORKING_DIGITS))
