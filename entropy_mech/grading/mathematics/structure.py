"""Compare two answers part by part: lists, tuples, intervals, sets, unions, matrices, numbers.

What the shape decides is decided here, exactly. What needs algebra is asked of ``same_algebra``,
the only part that can be slow; without it :class:`NeedsAlgebra` is raised instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from entropy_mech.grading.mathematics.normal import Number, as_words, normal, number, split_unit

_AND = re.compile(
    r",?\\text\{ ?(?:and|or) ?\},?|,? (?:and|or) |\\(?:text)?\{ ?,? ?(?:and|or) ?\}|\\lor|\\vee"
)
_NAME = r"(?:[A-Za-z]|\\[a-z]+)(?:_\w|_\{[^{}]*\}|_\\[a-z]+)?"
_NAMED = re.compile(rf"({_NAME}(?:\([\w, ]{{1,12}}\))?|\({_NAME}(?:, ?{_NAME})+\))=(.+)", re.DOTALL)
_MEMBER = re.compile(r"[A-Za-z](?:_\{?\w\}?)?\\in ?(.+)", re.DOTALL)
_BASE = re.compile(r"\(?([0-9A-Za-z]*\d[0-9A-Za-z]*)\)?_\{?(-?\d+)\}?")
_MATRIX = re.compile(
    r"\\begin\{([a-z]*(?:matrix|array))\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL
)
_COMMA = re.compile(r"-?\d+,(?:\d{1,2}|\d{4,})")
_RATIO = re.compile(r"[\d.]+(?::[\d.]+)+")
MAX_DEPTH = 40


class NeedsAlgebra(Exception):
    """The shapes agree, but some part can only be decided by a computer algebra system."""


@dataclass(frozen=True)
class Closeness:
    """How far numbers may differ and still be the same: the larger of the two bounds."""

    relative: float = 0.0
    absolute: float = 0.0

    def same(self, answer: Fraction, reference: Fraction) -> bool:
        bound = max(Fraction(self.relative) * abs(reference), Fraction(self.absolute))
        return abs(answer - reference) <= bound


@dataclass(frozen=True)
class Comparison:
    """One way of comparing; ``same(answer, reference)`` takes normalised texts."""

    closeness: Closeness = Closeness()
    same_algebra: Callable[[str, str], bool] | None = None

    def same(self, answer: str, reference: str, depth: int = 0) -> bool:
        """Whether two normalised answers are the same; raises NeedsAlgebra without algebra."""
        if answer == reference:
            return True
        if depth > MAX_DEPTH:
            return False
        answer, reference = _unnamed(answer, reference)
        if answer == reference:
            return True
        by_value = self._numbers(answer, reference)
        if by_value is not None:
            return by_value
        mine, theirs = parts(answer), parts(reference)
        if mine[0] == theirs[0] == "leaf":
            return self._leaves(answer, reference)
        if mine[0] == theirs[0]:
            return self._same_parts(mine, theirs, depth + 1)
        if {mine[0], theirs[0]} == {"list", "leaf"}:
            leaf = answer if mine[0] == "leaf" else reference
            if number(leaf) is not None:
                return False  # one number is not several
        return self._algebra(answer, reference)

    def _same_parts(self, mine, theirs, depth) -> bool:
        kind, shape, answers = mine
        _, other_shape, references = theirs
        if shape != other_shape:
            return False
        if kind in ("tuple", "matrix", "ratio"):
            return len(answers) == len(references) and all(
                self.same(a, r, depth) for a, r in zip(answers, references, strict=True)
            )
        return self._same_items(answers, references, depth)

    def _same_items(self, answers, references, depth) -> bool:
        """In any order; repeated items count only where the reference itself repeats one."""
        repeats = len(set(references)) < len(references)
        if len(answers) < len(references) or (repeats and len(answers) != len(references)):
            return False
        free = list(references)
        for answer in answers:
            match = self._find(answer, free, depth)
            if match is not None:
                free.remove(match)
            elif repeats or self._find(answer, references, depth) is None:
                return False
        return not free

    def _find(self, answer, references, depth):
        if answer in references:
            return answer
        undecided = None
        for reference in references:
            try:
                if self.same(answer, reference, depth):
                    return reference
            except NeedsAlgebra as needed:
                undecided = needed
        if undecided:
            raise undecided
        return None

    def _numbers(self, answer: str, reference: str) -> bool | None:
        mine, theirs = number(answer), number(reference)
        if mine is None and theirs is not None and theirs.decimals and _COMMA.fullmatch(answer):
            mine = number(answer.replace(",", "."))
        if theirs is None and mine is not None and mine.decimals and _COMMA.fullmatch(reference):
            theirs = number(reference.replace(",", "."))
        if mine is None or theirs is None:
            return None
        if mine.unit and theirs.unit and mine.unit != theirs.unit:
            return False
        if self.closeness.same(mine.value, theirs.value) or _is_rounded(mine, theirs):
            return True
        if {mine.unit, theirs.unit} == {"percent", ""}:
            scale = {"percent": Fraction(1, 100), "": Fraction(1)}
            values = [n.value * scale[n.unit] for n in (mine, theirs)]
            return self.closeness.same(*values)
        return False

    def _leaves(self, answer: str, reference: str) -> bool:
        words, expected = as_words(answer), as_words(reference)
        if words is not None and expected is not None:
            return words == expected
        mine, theirs = _BASE.fullmatch(answer), _BASE.fullmatch(reference)
        if mine and theirs:
            return _digits(mine) == _digits(theirs)
        if (mine and number(reference)) or (theirs and number(answer)):
            digits, plain = (mine, reference) if mine else (theirs, answer)
            return digits.group(1).lstrip("0") == plain.lstrip("0")  # the base left out
        (mine, unit), (theirs, expected_unit) = split_unit(answer), split_unit(reference)
        if (
            unit
            and expected_unit
            and unit != expected_unit
            and not (number(mine) is None and number(theirs) is None)
        ):
            return False
        if (mine, theirs) != (answer, reference) and mine and theirs:
            return self.same(mine, theirs, MAX_DEPTH - 1)
        return self._algebra(answer, reference)

    def _algebra(self, answer: str, reference: str) -> bool:
        if self.same_algebra is None:
            raise NeedsAlgebra
        return self.same_algebra(answer, reference)


def _is_rounded(answer: Number, reference: Number) -> bool:
    """Whether a decimal is a fraction, rounded or cut off."""
    return reference.decimals is None and rounds_to(answer, reference.value)


def rounds_to(answer: Number, exact: Fraction) -> bool:
    """Whether a decimal of five digits or more is what rounding or cutting off ``exact`` gives.

    >>> rounds_to(number("2.6667"), Fraction(8, 3)), rounds_to(number("2.67"), Fraction(8, 3))
    (True, False)
    """
    if answer.decimals is None:
        return False
    unit = Fraction(1, 10**answer.decimals)
    if abs(answer.value) < 10**4 * unit:
        return False
    cut_off = abs(answer.value) <= abs(exact)
    return abs(answer.value - exact) * (1 if cut_off else 2) < unit


def _digits(match) -> tuple[str, int]:
    return match.group(1).lstrip("0").lower(), int(match.group(2))


def _unnamed(answer: str, reference: str) -> tuple[str, str]:
    """Drop "x=" or "x in" where only one side has it, or both have the same."""
    answer, reference = (re.sub(r"\\in(?![a-z]) ?", r"\\in ", t) for t in (answer, reference))
    for pattern in (_NAMED, _MEMBER):
        mine, theirs = pattern.fullmatch(answer), pattern.fullmatch(reference)
        same_name = mine and theirs and (pattern is _MEMBER or mine.group(1) == theirs.group(1))
        alone = bool(mine) != bool(theirs)
        if alone and (
            "=" in (reference if mine else answer) or _relation(reference if mine else answer)
        ):
            continue  # an equation is not a value
        if same_name or alone:
            if mine and not _several(mine.group(mine.lastindex)):
                answer = mine.group(mine.lastindex)
            if theirs and not _several(theirs.group(theirs.lastindex)):
                reference = theirs.group(theirs.lastindex)
    return answer, reference


def _relation(text: str) -> bool:
    return bool(re.search(r"[<>]|\\geq|\\leq|\\ne(?![a-z])", text))


def _several(text: str) -> bool:
    return len(split_top(text, "=")) > 1 and not text.startswith(("\\sum", "\\prod"))


def split_top(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside all brackets.

    >>> split_top("(1,2),3", ",")
    ['(1,2)', '3']
    """
    pieces, depth, start, i = [], 0, 0, 0
    while i < len(text):
        if text.startswith(("\\{", "\\}"), i):
            depth += 1 if text[i + 1] == "{" else -1
            i += 2
            continue
        if depth <= 0 and text.startswith(separator, i):
            pieces.append(text[start:i])
            i += len(separator)
            start = i
            continue
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
        i += 1
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces]


def parts(text: str) -> tuple[str, str, list[str]]:
    r"""What an answer is made of: (kind, shape, parts); kind is leaf where it has none.

    >>> parts("(0,1]"), parts(r"\{1,2\}")
    (('tuple', '(]', ['0', '1']), ('list', '', ['1', '2']))
    """
    if match := _MATRIX.fullmatch(text):
        rows = [row for row in match.group(2).split("\\\\") if row.strip()]
        cells = [[normal(cell) for cell in row.split("&")] for row in rows]
        kind = "determinant" if match.group(1)[:1] in ("v", "V") else ""
        shape = f"{kind}{[len(row) for row in cells]}"
        return "matrix", shape, [cell for row in cells for cell in row]
    if _RATIO.fullmatch(text):
        return "ratio", "", text.split(":")
    listed = _AND.sub(",", text)
    items = [item for piece in split_top(listed, ",") for item in split_top(piece, ";")]
    items = [item for item in map(normal, items) if item]
    if len(items) > 1:
        return "list", "", _shared_name([i for item in items for i in plus_minus(item)])
    if text.startswith("\\{") and text.endswith("\\}") and len(split_top(text, ",")) == 1:
        inside = [i for item in split_top(text[2:-2], ",") for i in plus_minus(normal(item))]
        return "list", "", inside
    if len(both := plus_minus(text)) > 1:
        return "list", "", both
    union = split_top(text, "\\cup")
    if len(union) > 1:
        return "union", "", [normal(part) for part in union]
    if text[:1] in "([" and text[-1:] in ")]" and len(split_top(text[1:-1], ",")) > 1:
        return "tuple", text[0] + text[-1], [normal(i) for i in split_top(text[1:-1], ",")]
    return "leaf", "", []


def _shared_name(items: list[str]) -> list[str]:
    """Without "x=" before the items, where all that have a name have the same one."""
    named = [_NAMED.fullmatch(item) for item in items]
    names = {match.group(1) for match in named if match}
    if len(names) != 1 or not named[0]:
        return items
    return [match.group(2) if match else item for match, item in zip(named, items, strict=True)]


def plus_minus(text: str) -> list[str]:
    r"""The two values of an expression with \\pm (and \\mp, its opposite)."""
    if "\\pm" not in text:
        return [text]
    plus = re.sub(r"\\pm ?", "+", re.sub(r"\\mp ?", "-", text))
    minus = re.sub(r"\\pm ?", "-", re.sub(r"\\mp ?", "+", text))
    return [re.sub(r"(^|[=(,])\+", r"\1", plus), minus]
