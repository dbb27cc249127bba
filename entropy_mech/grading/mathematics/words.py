r"""Answers that are words, and the words that stand around an answer.

Words are never thrown away for being words. A word may stand before an answer only if it is one
of a closed list that says nothing but "here is the answer"; a noun may stand behind a number as
its unit. Everything else is part of the answer and has to be in the reference too.
"""

from __future__ import annotations

import re

_ANNOUNCES = """
    so thus hence therefore then finally the our my a final correct required desired requested
    answer answers result value values solution solutions exactly simply just is are equals equal
    be must we get have obtain find it its that which this there ans option choice both namely by
    given i.e ie here"""
# What problems ask for; they announce nothing without a word that says "is" behind them.
_DESCRIBES = """
    largest smallest greatest least maximum minimum possible sum total number numerical exact area
    volume perimeter length width height distance probability product ratio slope angle measure
    remainder average mean median range radius diameter circumference cost price speed rate age
    matrix vector point coordinates set interval domain root roots coefficient equation expression
    function polynomial term in simplest form of"""
_ANNOUNCING, _DESCRIBING = frozenset(_ANNOUNCES.split()), frozenset(_DESCRIBES.split())
_LEADING_TEXT = re.compile(r"\s*\\(?:text[a-z]*|mbox|mathrm)\s*\{([^{}]*)\}")
_WORD = re.compile(r"[\s,:]*([A-Za-z](?:[A-Za-z.]*[A-Za-z])?)(?![A-Za-z\\_^({=+*/'-])")
_CHINESE = re.compile(r"^\s*(?:最终|正确)?(?:答案|结果|选)(?:是|为)?\s*[:：]?\s*")
_NAME_IS = re.compile(
    r"\s*(?:(?:of|for) )?\s*(\$?\\?[A-Za-z](?:_\{?\w+\}?)?\$?)\s+(?:is|equals|is equal to)\s+(?=\S)"
)
_TRAILING = re.compile(
    r"[\s,]+(?:is|as) (?:the|our|my)(?: (?:final|correct|required|desired))? "
    r"(?:answer|result|value|solution)\s*[.!]?\s*$"
)


def without_filler(text: str) -> str:
    r"""Without the words that only announce an answer, or say afterwards that it was one.

    >>> without_filler("The answer is $5$."), without_filler("it is not 5")
    ('$5$.', 'not 5')
    """
    text = _TRAILING.sub("", text)
    if not text.isascii():
        text = _CHINESE.sub("", text)
    announced = _LEADING_TEXT.match(text)
    if announced and announced.end() < len(text):
        behind = text[announced.end() :].lstrip()[:1]
        rest = without_filler(announced.group(1) + (": 0" if behind in (":", "=") else " 0"))
        if rest == "0":
            return text[announced.end() :].lstrip(" :,=")
    position, said = 0, ""
    while True:
        named = _NAME_IS.match(text, position)
        if named and (said or position == 0):
            return f"{named.group(1)}={text[named.end() :]}".replace("$=", "=$", 1)
        word = _WORD.match(text, position)
        if not word or not _says_nothing(word.group(1), said):
            break
        position, said = word.end(), word.group(1).lower()
    if said in _DESCRIBING and text[position : position + 1] not in (":", "="):
        return text
    rest = text[position:].lstrip(" :,=\n")
    return rest if said and re.search(r"\w", rest) else text


def _says_nothing(word: str, said: str) -> bool:
    lower = word.lower()
    if lower == "to":
        return said == "equal"
    return len(word) > 1 and lower in _ANNOUNCING | _DESCRIBING  # a letter may be a name


_TEXT = re.compile(r"\\text\{([^{}]*)\}")


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
        return re.sub(r"\s+", " ", inner).lower().rstrip(".") or None
    return None


def sentence(text: str) -> str:
    """A text with words in it, without what layout and punctuation make of it."""
    return re.sub(r"[\s$.,;:!]|\\text|[{}]", "", text).lower()


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


_MONTHS = {
    name: i + 1
    for i, names in enumerate(
        ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul",
         "august aug", "september sep sept", "october oct", "november nov", "december dec")
    )
    for name in names.split()
}  # fmt: skip
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
    text = _WEEKDAY.sub("", re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip().replace(", ", ","))
    text = text.replace(",", ", ") if "," in text else text
    for pattern, (month, day, year) in _DATES:
        if match := pattern.fullmatch(text):
            return _MONTHS[match.group(month).lower()], int(match[day]), int(match[year] or 0)
    return None
