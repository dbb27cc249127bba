"""Units, currencies and nouns that stand beside a number, without which it is the same number.

All functions are linear in the text and safe on any text: they run in the caller's process.
"""

from __future__ import annotations

import re

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
        return quantity, "degree"
    unit = re.sub(r"\\text\{ ?([^{}]*?) ?\}", r"\1", spelled).replace("{", "").replace("}", "")
    base, hat, power = unit.partition("^")
    base = base.strip().lower().rstrip(".")
    words = re.split(r"[ /-]", base)
    if changes_a_number(words) and base not in _UNITS:
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
