"""One spelling for what LaTeX can spell in many ways, and exact numbers.

All functions are linear in the text and safe on any text: they run in the caller's process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from entropy_mech.grading.mathematics.extract import is_prose

_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_END = r"(?![a-zA-Z])"  # the end of a command's name
_STYLES = "textbf|textit|textnormal|textrm|mbox|mathrm|mathbf|mathit|mathsf|operatorname|rm"
_REPLACED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"\\(?:left|right|[bB]ig[lrm]?|[bB]igg[lrm]?){_END}\s*\.?", ""),
        (rf"\\[dtc]frac{_END}", r"\\frac"),
        (rf"\\(?:displaystyle|textstyle|limits|nolimits|mathopen|mathclose){_END}", ""),
        (r"(?<!\\)\\(?:!|,|;|:|>|/|@)\s*", ""),
        (rf"\\(?:quad|qquad|hspace\*?\{{[^{{}}]*\}}|hskip){_END}", " "),
        (r"~|(?<!\\)\\ |\u00a0|\u2009|\u202f", " "),
        (r"[\u2212\u2013\u2012]", "-"),
        (rf"\\geqslant|\\geq{_END}|\\ge{_END}|\u2265|>=", r"\\geq "),
        (rf"\\leqslant|\\leq{_END}|\\le{_END}|\u2264|<=", r"\\leq "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"\\neq{_END}", r"\\ne "),
        (r"\u221e", r"\\infty "),
        (r"\u03c0", r"\\pi "),
        (r"\u00d7", r"\\times "),
        (r"\u00b7|\u22c5", r"\\cdot "),
        (rf"\^\s*\{{?\s*\\+circ\s*\}}?|\\degree{_END}|\u00b0", r"^\\circ "),
        (r"\u00b2", "^2"),
        (rf"\\(?:{_STYLES})\s*(?=\{{)", r"\\text"),
        (r"\\\\text|\\text\s+(?=\{)", r"\\text"),
        (r"\{,\}", ","),
        (r"\{\\+%\}|\\+%", "%"),
        (r"\\+\$", "\\\\$"),
    )
)
_SPACE = re.compile(r"\s+")
# No space stays around these, but for the one that tells "32, 349" from "32,349".
_TIGHT = re.compile(r" ?([-+*/=<>(){}\[\]^_|:;!&%]|,(?! ?\d)|(?<!\d),) ?")
_SHORTENED = (
    (re.compile(r"(?<![\w})\]])\+(?=\\infty)"), ""),
    (re.compile(r" (?=\\[a-zA-Z])"), ""),
    (re.compile(r"(?<![a-zA-Z\\])([a-zA-Z0-9]) (?=[a-zA-Z](?![a-zA-Z]))"), r"\1"),  # 4 a x
    (re.compile(r"\^(?:\{((?:\\prime ?)+)\}|(\\prime))"), lambda m: "'" * m.group().count("prime")),
    (re.compile(r"([_^])\{(\w)\}"), r"\1\2"),
)
_TEXT_ONLY = re.compile(r"\\text\{([^{}]*)\}")


def normal(text: str) -> str:
    r"""A canonical spelling; two answers with the same one are the same answer.

    >>> normal(r"$\left( 3, \dfrac{\pi}{2} \right).$")
    '(3,\\frac{\\pi}{2})'
    """
    text = strip_delimiters(text)
    if not is_prose(text):  # dollar signs in the middle, as in "$1$ or $2$"
        text = re.sub(r"(?<!\\)\\[\[\]()]", " ", text)
        if len(marks := re.findall(r"(?<!\\)\$", text)) > 1 and len(marks) % 2 == 0:
            text = re.sub(r"(?<!\\)\$", " ", text)
    if text.count("$") == 1 and "\\$" not in text:  # a price, not a delimiter
        text = "\\$" + text.strip("$") if text[:1] == "$" or text[-1:] == "$" else text
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    text = _SPACE.sub(" ", text).strip()
    text = _TIGHT.sub(r"\1", _TIGHT.sub(r"\1", text))
    text = re.sub(r"(\\[a-zA-Z]+) (?![a-zA-Z])", r"\1", text)
    text = re.sub(r"_\{\\text\{ ?([^{}]*?) ?\}\}", r"_{\1}", text)
    for pattern, replacement in _SHORTENED:
        text = pattern.sub(replacement, text)
    return _outer_braces(_braced_arguments(text))


_COMMANDS = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])")
_ARGUMENT = re.compile(r" ?(\\[a-zA-Z]+|[^\\{}\s])")


def _braced_arguments(text: str) -> str:
    r"""Put braces around the arguments of fractions and roots that have none.

    >>> _braced_arguments(r"\frac n2+\frac{n^2}4+\sqrt3")
    '\\frac{n}{2}+\\frac{n^2}{4}+\\sqrt{3}'
    """
    pieces, position = [], 0
    for match in _COMMANDS.finditer(text):
        if match.start() < position:
            continue
        pieces.append(text[position : match.end()])
        position = match.end()
        for _ in range(1 if match.group(1) == "sqrt" else 2):
            argument = _ARGUMENT.match(text, position)
            if argument is None or (match.group(1) == "sqrt" and argument.group(1) == "["):
                end = _group_end(text, position)
                if end is None:
                    break
                # a group may hold fractions of its own
                inside = _braced_arguments(text[position + 1 : end])
                pieces.append("{" + inside + "}")
                position = end + 1
            else:
                pieces.append("{" + argument.group(1) + "}")
                position = argument.end()
    return "".join(pieces) + text[position:]


def _group_end(text: str, start: int) -> int | None:
    if text[start : start + 1] != "{":
        return None
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    return None


def strip_delimiters(text: str) -> str:
    """Without the dollar signs around it and the full stop behind."""
    text = text.strip()
    while True:
        before = text
        if (text.endswith(".") and not text.endswith("..")) or text.endswith((";", ",")):
            text = text[:-1].rstrip()
        for left, right in _DELIMITERS:
            inside = text[len(left) : -len(right)]
            whole = text.startswith(left) and text.endswith(right) and len(text) > len(left + right)
            if whole and left not in inside and right not in inside and inside[-1] != "\\":
                text = inside.strip()
        if text == before:
            return text


def _outer_braces(text: str) -> str:
    while text.startswith("{") and text.endswith("}"):
        depth = 0
        for i, character in enumerate(text):
            depth += (character == "{") - (character == "}")
            if depth == 0 and i < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text


def as_words(text: str) -> str | None:
    r"""The words of an answer that is text, lower case; None for mathematics.

    >>> as_words(r"\text{(C)}"), as_words(r"\text{ Evelyn}"), as_words("x+1")
    ('c', 'evelyn', None)
    """
    match = _TEXT_ONLY.fullmatch(text)
    inner = match.group(1) if match else text
    inner = re.sub(r"\\(?:text)?|[{}]", "", inner).strip() if match else inner.strip()
    choice = re.fullmatch(r"\(?\s*([A-Za-z])\s*\)?", inner)
    if choice and (match or re.fullmatch(r"\([A-Z]\)|[A-Z]", inner)):
        return choice.group(1).lower()
    if match or re.fullmatch(r"[A-Za-z]{3,}(?:[ '-][A-Za-z]+)*", inner):
        return _SPACE.sub(" ", inner).lower().rstrip(".") or None
    return None


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
_TEN = re.compile(r"([-+]?)10\^(?:\{([-+]?\d{1,4})\}|(\d))")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+)(?![\d,])")
MAX_DIGITS = 4000


def number(text: str) -> Number | None:
    r"""Read normalised text as an exact number; None if it is anything else.

    Integers, decimals, fractions, mixed numbers, e-notation and powers of ten, with thousands
    separators, leading zeros, a currency sign, a percent or degree sign, or a unit in \text.

    >>> number(normal(r"1\frac{4}{5}")).value, number(normal("10,\\!080")).value
    (Fraction(9, 5), Fraction(10080, 1))
    """
    if len(text) > MAX_DIGITS:
        return None
    text, unit = split_unit(text)
    plain = re.sub(r"^([-+]?0),(\d+)$", r"\1.\2", text)  # a decimal comma: no list starts so
    plain = _THOUSANDS.sub(lambda m: re.sub(r"[, ]", "", m.group()), plain).strip()
    if plain.startswith("(") and plain.endswith(")") and "," not in plain:
        plain = plain[1:-1]
    value = _rational(plain)
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
        if not bottom or (whole and top < 0):
            return None
        value = (Fraction(_integer(whole)) if whole else 0) + top / bottom
        return -value if sign == "-" else value
    if match := _SLASH.fullmatch(text):
        sign, top, bottom = match.groups()
        top, bottom = _rational(top), _rational(bottom)
        return None if not bottom else (-top if sign == "-" else top) / bottom
    if match := _TEN.fullmatch(text):
        sign, braced, bare = match.groups()
        value = Fraction(10) ** int(braced or bare)
        return -value if sign == "-" else value
    return None


def _integer(digits: str) -> int:
    """int() without its limit on digits, which callers may have set low."""
    return sum(
        int(digits[-i - 1000 : len(digits) - i] or "0") * 10**i for i in range(0, len(digits), 1000)
    )


_UNIT_NAMES = {
    "degree": ("^\\circ", "degrees", "degree", "deg"),
    "percent": ("%", "percent", "pct", "percentage"),
    "dollar": ("\\$", "dollars", "dollar", "usd"),
    "cent": ("cents", "cent"),
    "inch": ("inches", "inch", "in", "in."), "foot": ("feet", "foot", "ft"),
    "mile": ("miles", "mile", "mi"), "yard": ("yards", "yard"),
    "mm": ("mm", "millimeters"), "cm": ("cm", "centimeters", "centimeter"),
    "m": ("m", "meters", "meter", "metres"), "km": ("km", "kilometers"),
    "second": ("s", "sec", "seconds", "second"), "minute": ("min", "minutes", "minute"),
    "hour": ("h", "hr", "hours", "hour"), "day": ("days", "day"), "year": ("years", "year"),
    "g": ("g", "grams"), "kg": ("kg", "kilograms"), "unit": ("units", "unit"),
}  # fmt: skip
_UNITS = {spelling: name for name, spellings in _UNIT_NAMES.items() for spelling in spellings}
_POWER_OF_UNIT = r"(?:\^\{?-?\d\}?)?"
_TEXT_UNIT = rf"\\text\{{[^{{}}]*\}}{_POWER_OF_UNIT}"
_TRAILING_UNIT = re.compile(
    rf"(?: ?{_TEXT_UNIT}(?:/{_TEXT_UNIT})?"
    r"| ?\^\\circ ?(?:C|F|\\text\{ ?[CF] ?\})?| ?%| ?\\\$"
    r"| [a-zA-Z]{1,12}(?:/[a-zA-Z]{1,6})?(?:\^\{?\d\}?)?"
    r"|(?<=\d)(?:cm|mm|km|m|kg|g|s|h|pct|percent)(?:\^\{?\d\}?)?)$"
)


def split_unit(text: str) -> tuple[str, str]:
    r"""Split a unit or currency sign from a quantity: (quantity, canonical unit).

    >>> split_unit(normal(r"864 \mbox{ inches}^2")), split_unit(normal(r"\$32,\!348"))
    (('864', 'inch^2'), ('32,348', 'dollar'))
    """
    if text.startswith("\\$"):
        return text[2:].strip(), "dollar"
    match = _TRAILING_UNIT.search(text)
    if not match or not match.start() or not re.search(r"[\d\\}]", text[: match.start()]):
        return text, ""
    spelled = match.group().strip()
    if re.fullmatch(r"\\text\{ ?(?:and|or|if|where|for|with).*\}.*", spelled):
        return text, ""
    if re.fullmatch(r"[a-zA-Z]+.*", spelled) and spelled.partition("^")[0].lower() not in _UNITS:
        return text, ""
    unit = re.sub(r"\\text\{ ?([^{}]*?) ?\}", r"\1", spelled).replace("{", "").replace("}", "")
    base, hat, power = unit.partition("^")
    if unit.startswith("^\\circ"):
        return text[: match.start()].strip(), "degree"
    square = re.fullmatch(r"(?:square|sq\.?) (.*)", base.strip())
    if square:
        base, hat, power = square.group(1), "^", "2"
    name = _UNITS.get(base.strip().lower().rstrip("."), base.strip().lower())
    return text[: match.start()].strip(), name + hat + power
