"""What an answer is that has no parts: a number with its unit, words, a choice, a date.

All functions are linear in the text and safe on any text: they run in the caller's process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

_UNIT_NAMES = {
    "degree": ("^\\circ", "degrees", "degree", "deg"),
    "percent": ("%", "percent", "pct", "percentage"),
    "dollar": ("\\$", "dollars", "dollar", "usd", "us\\$"), "euro": ("€", "euros", "euro", "eur"),
    "pound": ("£", "pounds", "pound", "gbp", "lb", "lbs"),
    "yuan": ("元", "yuan", "cny", "rmb", "¥"),
    "rupee": ("₹", "rs", "rs.", "inr", "rupees", "rupee"), "yen": ("yen", "jpy"),
    "cent": ("cents", "cent", "¢"),
    "inch": ("inches", "inch", "in", "in."), "foot": ("feet", "foot", "ft"),
    "mile": ("miles", "mile", "mi"), "yard": ("yards", "yard", "yd"),
    "mm": ("mm", "millimeters", "millimetres"),
    "cm": ("cm", "centimeters", "centimeter", "centimetres"),
    "m": ("m", "meters", "meter", "metres", "metre"), "km": ("km", "kilometers", "kilometres"),
    "second": ("s", "sec", "seconds", "second"), "minute": ("min", "mins", "minutes", "minute"),
    "hour": ("h", "hr", "hrs", "hours", "hour"), "day": ("days", "day"),
    "week": ("weeks", "week"), "month": ("months", "month"), "year": ("years", "year", "yr", "yrs"),
    "g": ("g", "grams", "gram"), "kg": ("kg", "kilograms", "kilogram"),
    "liter": ("l", "liters", "liter", "litres", "litre"), "ml": ("ml", "milliliters"),
    "gallon": ("gallons", "gallon"), "ounce": ("oz", "ounces", "ounce"), "unit": ("units", "unit"),
    "newton": ("n", "newtons"), "joule": ("j", "joules"), "watt": ("w", "watts"),
    "radian": ("rad", "radians", "radian"), "mph": ("mph",), "square": ("sq", "square"),
    "person": ("people", "person", "persons"), "child": ("children", "child"),
    "man": ("men", "man"), "woman": ("women", "woman"), "mouse": ("mice",), "fish": ("fish",),
    "sheep": ("sheep",), "goose": ("geese",), "tooth": ("teeth",), "o'clock": ("o'clock",),
}  # fmt: skip
_UNITS = {spelling: name for name, spellings in _UNIT_NAMES.items() for spelling in spellings}
# What these say changes the number that they stand behind, or leaves it open.
_NO_NOUNS = """
    twice thrice double triple opposite reciprocal inverse cannot can't won't don't fails works
    and or but not no nor never none if unless when where for with without is isn't are aren't
    was were be as at in on of off to from than then that times plus minus over under above
    below less more fewer fewest greater least most about around approximately roughly almost
    nearly perhaps maybe possibly probably squared cubed factorial mod modulo modulus half
    halves third thirds quarter quarters fourths fifths sixths sevenths eighths ninths tenths
    hundredths thousandths dozen dozens score scores pair pairs couple couples hundred hundreds
    thousand thousands million millions billion billions trillion trillions tens ones twos
    versus vs negative positive inclusive exclusive both either neither choose root powers power
    digits base bases always only just also is's does yes false true wrong correct this its his
    hers ours yours thus unlike otherwise instead excess besides across towards afterwards
    backwards forwards sometimes needs equals exceeds differs divides misses lacks cos sin has"""
_NOT_NOUNS = frozenset(_NO_NOUNS.split())
_NO_NOUN_SIGNS = re.compile("[不非没否或错約约半倍几多十百千万亿]")
_POWER_OF_UNIT = r"(?:\^\{?-?\d\}?)?"
_TEXT_UNIT = rf"\\text\{{[^{{}}]*\}}{_POWER_OF_UNIT}"
_NOUNS = r"[a-zA-Z][a-zA-Z']*(?:[ -][a-zA-Z']+){0,3}(?:/[a-zA-Z]{1,6})?(?:\^\{?\d\}?)?"
_TRAILING_UNIT = re.compile(
    rf"(?: ?{_TEXT_UNIT}(?:/{_TEXT_UNIT})?"
    r"| ?\^\\circ ?(?:C|F|\\text\{ ?[CF] ?\})?| ?%| ?\\\$| ?[€£¥₹¢]"
    r"| ?[\u3400-\u9fff]{1,4}"
    rf"| {_NOUNS}|(?<=\d){_NOUNS})$"
)
_CURRENCY = re.compile(
    r"([-+]?)(?:\\text\{ ?)?(US\\\$|\\\$|[€£¥₹]|(?:USD|EUR|GBP|CNY|RMB|JPY|INR|Rs\.?)(?![a-zA-Z]))"
    r"(?: ?\})? ?(?=[-+.\d\\(])"
)
# A function of an angle, and one of a number, which the degrees behind it belong to.
OF_ANGLE = r"\\(?:sin|cos|tan|cot|sec|csc)"
_OF_NUMBER = re.compile(rf"{OF_ANGLE}(?:\^\d|\^\{{\d+\}})? ?[\d.]+$")
_LETTER = re.compile(r"\\(?!pi|frac|sqrt|times|cdot|text)[a-zA-Z]+|(?<![a-zA-Z\\])[a-zA-Z]")


def split_unit(text: str, *, lone_letters: bool = True) -> tuple[str, str]:
    r"""Split a unit or currency sign from a quantity: (quantity, canonical unit).

    A letter is a unit only behind a quantity that has no letters: in 4k+7h it is a symbol; and
    one that is not marked as text (``7h``) only where the caller allows it.

    >>> split_unit(r"864\text{inches}^2"), split_unit(r"\$32,348")
    (('864', 'inch^2'), ('32,348', 'dollar'))
    """
    if match := _CURRENCY.match(text):
        name = match.group(2).lower()
        return match.group(1) + text[match.end() :].strip(), _UNITS.get(name, name)
    match = _TRAILING_UNIT.search(text)
    if not match or not match.start() or not re.search(r"[\d\\}]", text[: match.start()]):
        return text, ""
    quantity, spelled = text[: match.start()].strip(), match.group().strip()
    if spelled.startswith("^\\circ"):
        return (text, "") if _OF_NUMBER.search(quantity) else (quantity, "degree")
    unit = re.sub(r"\\text\{ ?([^{}]*?) ?\}", r"\1", spelled).replace("{", "").replace("}", "")
    base, hat, power = unit.partition("^")
    base = base.strip().lower().rstrip(".")
    words = re.split(r"[ /-]", base)
    symbol = base in tuple("eixyz") or not re.search(r"[^\W\d_]|[%$€£¥₹¢]", base)
    if symbol or (changes_a_number(words) and base not in _UNITS):
        return text, ""
    in_text = spelled.startswith("\\text")
    if (not in_text or len(base) == 1) and _LETTER.search(quantity):
        return text, ""
    lone = len(spelled) == 1 and spelled.isascii() and spelled.isalpha()
    refused = lone and not (lone_letters and spelled in "mgsh")
    if not in_text and (refused or not any(map(_is_unit, words))):
        return text, ""
    if words[0] in ("square", "sq", "cubic") and len(words) > 1:
        hat, power = "^", "3" if words[0] == "cubic" else "2"
        base = base.partition(" ")[2]
    return quantity, _UNITS.get(base, base) + hat + power


def changes_a_number(words: list[str]) -> bool:
    """Whether words beside a number or a name say more than what it counts or is called."""
    return any(word.lower() in _NOT_NOUNS or _NO_NOUN_SIGNS.search(word) for word in words)


def _is_unit(word: str) -> bool:
    """A known unit, or a noun in the plural."""
    return word in _UNITS or not word.isascii() or bool(re.fullmatch(r"[a-z]{3,}s", word))


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
_DECIMAL = re.compile(rf"({_UNSIGNED}){_POWER}")
_SLASH = re.compile(rf"\(?([-+]?{_UNSIGNED})\)?/\(?({_UNSIGNED})\)?")
_FRAC_ARGUMENT = r"(?:\{([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\}|(\d))"
_FRACTION = re.compile(rf"(\d*) ?\\frac ?{_FRAC_ARGUMENT} ?{_FRAC_ARGUMENT}")
_MIXED = re.compile(r"(\d+) (\d+)/(\d+)")
_TEN = re.compile(r"10\^(?:\{([-+]?\d{1,4})\}|(\d))")
_REPEATING = re.compile(
    r"(\d*)\.(\d*)(?:\\(?:overline|bar|dot) ?\{?(\d+)\}?|\((\d+)\))"
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
    value = _unsigned(text[1:] if text[:1] in ("+", "-") else text)
    return -value if value is not None and text[:1] == "-" else value


def _unsigned(text: str) -> Fraction | None:
    if match := _DECIMAL.fullmatch(text):
        digits, *powers = match.groups()
        return Fraction(Decimal(digits)) * Fraction(10) ** next((int(p) for p in powers if p), 0)
    if match := _FRACTION.fullmatch(text):
        whole, *parts = match.groups()
        top, bottom = (_rational(p) for p in (parts[0] or parts[1], parts[2] or parts[3]))
        if not bottom or (whole and (top < 0 or bottom < 0)):
            return None
        return _integer(whole) + top / bottom
    if match := _SLASH.fullmatch(text):
        top, bottom = map(_rational, match.groups())
        return top / bottom if bottom else None
    if match := _MIXED.fullmatch(text):
        whole, top, bottom = map(_integer, match.groups())
        return whole + Fraction(top, bottom) if bottom else None
    if match := _TEN.fullmatch(text):
        return Fraction(10) ** int(match[1] or match[2])
    if match := _REPEATING.fullmatch(text):
        whole, once, *again = match.groups()
        again = again[0] or again[1]
        return Fraction(_integer(whole + once + again) - _integer(whole + once),
                        10 ** len(once) * (10 ** len(again) - 1))  # fmt: skip
    return None


def _integer(digits: str) -> int:
    """int() without its limit on digits, which callers may have set low."""
    return int(Decimal(digits or 0))


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


_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_SAME_WORDS = {
    "dne": "does not exist", "no solutions": "no solution", "\\emptyset": "no solution",
    "empty set": "no solution", "the empty set": "no solution", "\\mathbb{R}": "all real numbers",
    "all reals": "all real numbers", "all real values": "all real numbers",
}  # fmt: skip


def as_words(text: str) -> str | None:
    r"""The words of an answer that is text, lower case; None for mathematics.

    >>> as_words(r"\text{(C)}"), as_words(r"\text{ Evelyn}"), as_words("x+1")
    ('c', 'evelyn', None)
    """
    match = _TEXT.fullmatch(text)
    inner = (match.group(1) if match else text).strip()
    choice = re.fullmatch(r"\(?\s*([A-Za-z])\s*\)?", inner)
    if choice and (match or re.fullmatch(r"\([A-Z]\)|[A-Z]", inner)):
        return choice.group(1).lower()
    if match or re.fullmatch(r"[A-Za-z]{3,}|[A-Za-z]{2,}(?:[ '-][A-Za-z]+)+", inner):
        words = re.sub(r"\s+", " ", inner).lower().rstrip(".")
        return _SAME_WORDS.get(words, words) or None
    return _SAME_WORDS.get(text)


_CHOICE = re.compile(
    r"(?:\\text\{)? ?\(?([A-J])(?:\)|\.|:)[:.]?(?:\})? ?(?!\W*(?:or|and)\b)(.*\w.*)", re.DOTALL
)


def choice(text: str) -> tuple[str, str] | None:
    r"""A lettered choice with what it says: (letter, text); None for anything else.

    >>> choice(r"\text{(C)}42"), choice("B.7"), choice("(A,B)")
    (('c', '42'), ('b', '7'), None)
    """
    match = _CHOICE.fullmatch(text)
    if not match or (text.startswith("(") and ")" not in text[:4]):
        return None
    said = match.group(2)
    return match.group(1).lower(), said.rstrip("}") if said.count("}") > said.count("{") else said


_MONTH_NAMES = (
    "january february march april may june july august september october november december"
)
_MONTHS = {"sept": 9} | {
    name: month for month, full in enumerate(_MONTH_NAMES.split(), 1) for name in (full, full[:3])
}
_CLOCK = re.compile(
    r"(\d{1,2})(?::(\d\d))?(?::(\d\d))?\s*(?:(?:\\text\{ ?)?([ap])\.?\s?m\.?(?: ?\})?)?",
    re.IGNORECASE,
)
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_DATES = (
    (re.compile(rf"({_MONTH})\.? {_DAY}(?:,? ?(\d{{4}}))?", re.IGNORECASE), (1, 2, 3)),
    (re.compile(rf"{_DAY} (?:of )?({_MONTH})\.?(?:,? ?(\d{{4}}))?", re.IGNORECASE), (2, 1, 3)),
)
_WEEKDAY = re.compile(r"^(?:mon|tues|wednes|thurs|fri|satur|sun)day,? ?", re.IGNORECASE)


def same_moment(first: str, second: str) -> bool | None:
    """Whether two clock times or two dates are the same; None where they are none."""
    for read, same in ((_time_of_day, _same_time), (_date, lambda a, b: a == b)):
        moments = read(first), read(second)
        if all(moments):
            return same(*moments)
    return None


def _time_of_day(text: str) -> tuple[int, int, int, str] | None:
    """(hour, minute, second, half of the day) of a clock time; "" where no half is named."""
    match = _CLOCK.fullmatch(re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip())
    if not match or not (match.group(2) or match.group(4)):
        return None
    hour, minute, second = (int(g or 0) for g in match.groups()[:3])
    half = (match.group(4) or "").lower()
    return (hour, minute, second, half) if not half or hour <= 12 else None


def _same_time(first: tuple, second: tuple) -> bool:
    """The same time of the day; which half of the day it is, one side may leave out."""
    if not first[3] and not second[3]:
        return first == second
    return first[1:3] == second[1:3] and bool(_hours(first) & _hours(second))


def _hours(time: tuple) -> set[int]:
    """The hours from 0 to 23 that it may be."""
    hour, _, _, half = time
    halves = {"a": {hour % 12}, "p": {hour % 12 + 12}}
    return halves[half] if half else {hour} | (set.union(*halves.values()) if hour <= 12 else set())


def _date(text: str) -> tuple[int, int, int] | None:
    """(month, day, year) of a date in words, 0 for a year that is not named."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip().replace(", ", ",")
    text = _WEEKDAY.sub("", text).replace(",", ", ")
    for pattern, (month, day, year) in _DATES:
        if match := pattern.fullmatch(text):
            return _MONTHS[match.group(month).lower()], int(match[day]), int(match[year] or 0)
    return None
