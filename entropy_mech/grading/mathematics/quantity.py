"""Exact numbers, with the units that stand beside them.

All functions are linear in the text and safe on any text: they run in the caller's process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from entropy_mech.grading.mathematics.units import split_unit


@dataclass(frozen=True)
class Number:
    """An exact rational with the unit that stood beside it ("" for none).

    ``decimals`` counts the digits after the point of a plain decimal, None for other forms.
    """

    value: Fraction
    unit: str = ""
    decimals: int | None = None


_UNSIGNED = r"(?:\d+(?:\.\d*)?|\.\d+)"
_POWER = r"(?:(?:\\times|\\cdot|\*|x)10\^(?:\{([-+]?\d{1,4})\}|([-+]?\d{1,4}))|[eE]([-+]?\d{1,4}))?"
_DECIMAL = re.compile(rf"([-+]?)({_UNSIGNED}){_POWER}")
_SLASH = re.compile(rf"([-+]?)\(?([-+]?{_UNSIGNED})\)?/\(?({_UNSIGNED})\)?")
_FRAC_ARGUMENT = r"(?:\{([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\}|(\d))"
_FRACTION = re.compile(rf"([-+]?)(\d*) ?\\frac ?{_FRAC_ARGUMENT} ?{_FRAC_ARGUMENT}")
_MIXED = re.compile(r"([-+]?)(\d+) (\d+)/(\d+)")
_TEN = re.compile(r"([-+]?)10\^(?:\{([-+]?\d{1,4})\}|(\d))")
_REPEATING = re.compile(
    r"([-+]?)(\d*)\.(\d*)(?:\\(?:overline|bar|dot) ?\{?(\d+)\}?|\((\d+)\))"
    r"(?:\.\.\.|\\ldots|\\dots)?"
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+)(?![\d,])")
MAX_DIGITS = 4000


def number(text: str, *, lone_letters: bool = True) -> Number | None:
    r"""Read normalised text as an exact number; None if it is anything else.

    Integers, decimals that end or repeat, fractions, mixed numbers, e-notation, powers of ten and
    numbers in words, with thousands separators, leading zeros, a currency sign, a percent or
    degree sign, or a unit.

    >>> number(r"1\frac{4}{5}").value, number("10,080").value
    (Fraction(9, 5), Fraction(10080, 1))
    """
    if len(text) > MAX_DIGITS:
        return None
    if text.isdigit() and text.isascii():
        return Number(Fraction(_integer(text)))
    text, unit = split_unit(text, lone_letters=lone_letters)
    plain = re.sub(r"^([-+]?0),(\d+)$", r"\1.\2", text)  # a decimal comma: no list starts so
    plain = _THOUSANDS.sub(lambda m: re.sub(r"[, ]", "", m.group()), plain).strip()
    if plain.startswith("(") and plain.endswith(")") and "," not in plain:
        plain = plain[1:-1]
    value = _rational(plain)
    if value is None:
        value = _in_words(plain)
    if value is None:
        return None
    point = re.fullmatch(r"[-+]?\d*\.(\d*)", plain)
    return Number(value, unit, len(point.group(1)) if point else None)


def _rational(text: str) -> Fraction | None:
    if match := _DECIMAL.fullmatch(text):
        sign, digits, *powers = match.groups()
        power = next((int(p) for p in powers if p), 0)
        whole, _, part = digits.partition(".")
        value = Fraction(_integer(whole + part or "0")) * Fraction(10) ** (power - len(part))
        return -value if sign == "-" else value
    if match := _FRACTION.fullmatch(text):
        sign, whole, *parts = match.groups()
        top, bottom = (_rational(p) for p in (parts[0] or parts[1], parts[2] or parts[3]))
        if not bottom or (whole and (top < 0 or bottom < 0)):
            return None
        value = (Fraction(_integer(whole)) if whole else 0) + top / bottom
        return -value if sign == "-" else value
    if match := _SLASH.fullmatch(text):
        sign, top, bottom = match.groups()
        top, bottom = _rational(top), _rational(bottom)
        return None if not bottom else (-top if sign == "-" else top) / bottom
    if match := _MIXED.fullmatch(text):
        sign, *parts = match.groups()
        whole, top, bottom = map(_integer, parts)
        value = whole + Fraction(top, bottom) if bottom else None
        return -value if value is not None and sign == "-" else value
    if match := _TEN.fullmatch(text):
        sign, braced, bare = match.groups()
        value = Fraction(10) ** int(braced or bare)
        return -value if sign == "-" else value
    if match := _REPEATING.fullmatch(text):
        sign, whole, once, *again = match.groups()
        again = again[0] or again[1]
        value = Fraction(_integer(whole + once + again) - _integer(whole + once or "0"),
                         10 ** len(once) * (10 ** len(again) - 1))  # fmt: skip
        return -value if sign == "-" else value
    return None


def _integer(digits: str) -> int:
    """int() without its limit on digits, which callers may have set low."""
    if len(digits) < 600:
        return int(digits or "0")
    return sum(
        int(digits[-i - 1000 : len(digits) - i] or "0") * 10**i for i in range(0, len(digits), 1000)
    )


_BELOW_TWENTY = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: i for i, word in enumerate(_BELOW_TWENTY.split())} | {
    word: 10 * i for i, word in enumerate(_TENS.split(), 2)
}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
           "trillion": 10**12}  # fmt: skip


def _in_words(text: str) -> Fraction | None:
    """The value of a number in words, or of digits with a scale behind ("2.5 million").

    >>> _in_words("forty-two"), _in_words("2 million"), _in_words("half")
    (Fraction(42, 1), Fraction(2000000, 1), None)
    """
    words = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).lower().replace("-", " ").split()
    if not words or len(words) > 12 or not words[-1].isalpha():
        return None
    total, group, last = Fraction(0), None, 10**15
    for i, word in enumerate(words):
        if word in _SMALL:
            value = _SMALL[word]
            if group is not None and (group % 10 or (value >= 10 and group % 100) or value == 0):
                return None
            group = (group or 0) + value
        elif word in _SCALES:
            if group is None and word != "dozen" and i:
                return None
            if word in ("hundred", "dozen"):
                group = (group or 1) * _SCALES[word]
            elif _SCALES[word] >= last:
                return None
            else:
                total, group, last = total + (group or 1) * _SCALES[word], None, _SCALES[word]
        elif i == 0 and re.fullmatch(_UNSIGNED, word):
            group = Fraction(word)
        elif not (word == "and" and 0 < i < len(words) - 1):
            return None
    return total + (group or 0)
