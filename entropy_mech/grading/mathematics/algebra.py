"""Ask math-verify, and sympy behind it, whether two expressions are equal.

Runs only in a worker process that can be killed: sympy may take for ever on a short text.
"""

from __future__ import annotations

import logging

logging.disable(logging.CRITICAL)  # math-verify logs every text that it cannot read

import math_verify  # noqa: E402
import sympy  # noqa: E402
from math_verify.errors import TimeoutException  # noqa: E402, F401

_WORKING_DIGITS = 60


def same_algebra(answer: str, reference: str) -> bool:
    """Whether two texts denote the same mathematical object.

    math-verify compares numbers to 15 digits; where both are exact constants its yes is
    checked to 60, so that neighbours of a huge number do not pass for it.
    """
    gold, found = _read(reference), _read(answer)
    if not gold or not found:
        return False
    if not math_verify.verify(gold, found, timeout_seconds=None):
        return False
    return not _differ_exactly(gold[0], found[0])


def _read(text: str) -> list:
    latex = text if any(mark in text for mark in ("$", "\\(", "\\[", "\\boxed")) else f"${text}$"
    return math_verify.parse(latex, parsing_timeout=None)


def _differ_exactly(gold, found) -> bool:
    both = (gold, found)
    if not all(isinstance(x, sympy.Expr) and x.is_number and not x.has(sympy.Float) for x in both):
        return False
    difference = sympy.N(gold - found, _WORKING_DIGITS, maxn=4000)
    scale = max(abs(sympy.N(x, _WORKING_DIGITS, maxn=4000)) for x in both)
    return bool(abs(difference) > scale * sympy.Float(10) ** (-_WORKING_DIGITS // 2))
