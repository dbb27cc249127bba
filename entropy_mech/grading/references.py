"""What a data set's answer column holds, as texts that an answer can be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real

# What a missing value becomes when a table is written as text and read again.
_MISSING = {"", "nan", "NaN", "<NA>", "NaT", "None", "null", "NULL"}
_BOOLEANS = ("bool", "bool_")  # Python's, and NumPy's by either name


class NoReference(ValueError):
    """A value that no answer can be compared with; the message says why."""


def reference_texts(value: object) -> list[str]:
    r"""The forms of a reference as texts: of a text, a number of any library, or several of them.

    Raises NoReference for what is none: None, NaN, an empty text or list, a table.

    >>> import numpy as np
    >>> reference_texts(142.0), reference_texts(np.int64(7)), reference_texts(["1/2", 0.5])
    (['142'], ['7'], ['1/2', '0.5'])
    >>> reference_texts(float("nan"))
    Traceback (most recent call last):
        ...
    entropy_mech.grading.references.NoReference: nan is no reference
    """
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        if value.strip() in _MISSING:
            raise NoReference(f"the reference is empty: {value!r}")
        return [value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        # NumPy's own number where there is one: item() would widen a float32, and show it.
        value = value[()] if type(value).__module__ == "numpy" else value.item()
    if isinstance(value, (Real, Decimal)) or type(value).__name__ in _BOOLEANS:
        return [_number_text(value)]
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        forms = [text for one in value for text in reference_texts(one)]
        if forms:
            return forms
    raise NoReference(f"{value!r:.80} is no reference")


def _number_text(value) -> str:
    if type(value).__name__ in _BOOLEANS:
        return str(bool(value))
    if isinstance(value, Fraction):
        return str(value)
    number = Decimal(int(value)) if isinstance(value, Integral) else Decimal(str(value))
    if number.is_nan():
        raise NoReference(f"{value} is no reference")
    if number.is_infinite():
        return r"\infty" if number > 0 else r"-\infty"
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def after_hashes(text: str) -> str:
    r"""The answer of a worked solution in GSM8K's form: what follows its last ``####``.

    >>> after_hashes("24+48=<<24+48=72>>72 in all.\n#### 72")
    '72'
    """
    _, hashes, answer = text.rpartition("####")
    return answer.strip() if hashes else text
