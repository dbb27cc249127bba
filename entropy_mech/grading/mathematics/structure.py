"""Compare two answers part by part: lists, tuples, intervals, sets, unions, matrices, numbers.

What the shape decides is decided here, exactly. What needs algebra is asked of ``same_algebra``,
the only part that can be slow; without it :class:`NeedsAlgebra` is raised instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from entropy_mech.grading.mathematics.chains import computation, is_relation, unnamed
from entropy_mech.grading.mathematics.quantity import Number, number
from entropy_mech.grading.mathematics.shapes import NAMED, as_intervals, parts
from entropy_mech.grading.mathematics.units import split_unit
from entropy_mech.grading.mathematics.words import (
    as_words,
    choice,
    same_moment,
)

_BASE = re.compile(r"\(?([0-9A-Za-z]*\d[0-9A-Za-z]*)\)?_\{?(-?\d+)\}?")
_COMMA = re.compile(r"-?\d+,(?:\d{1,2}|\d{4,})")
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
    same_algebra: Callable[[str, str, Closeness], bool] | None = None

    def same(self, answer: str, reference: str, depth: int = 0) -> bool:
        """Whether two normalised answers are the same; raises NeedsAlgebra without algebra."""
        if answer == reference:
            return True
        if depth > MAX_DEPTH:
            return False
        by_value = self._numbers(answer, reference, lone_letters=depth == 0)
        if by_value is not None:
            return by_value
        for decide in (same_moment, self._choices) if depth == 0 else ():
            if (decided := decide(answer, reference)) is not None:
                return decided
        answer, reference = unnamed(answer, reference)
        if answer == reference:
            return True
        by_value = self._numbers(answer, reference)
        if by_value is not None:
            return by_value
        mine, theirs = parts(answer), parts(reference)
        if "list" not in (mine[0], theirs[0]):
            (name, values), (other_name, others) = computation(answer), computation(reference)
            if len(values) > 1 or len(others) > 1:
                return self._computed(name, values, other_name, others, depth + 1)
            if bool(name) != bool(other_name) and not is_relation(reference if name else answer):
                return self.same(values[0][0], others[0][0], depth + 1)
        if mine[0] == theirs[0] == "leaf":
            return self._leaves(answer, reference, depth + 1)
        if mine[0] == theirs[0]:
            return self._same_parts(mine, theirs, depth + 1)
        kinds = {mine[0], theirs[0]}
        if kinds == {"list", "leaf"}:
            leaf = answer if mine[0] == "leaf" else reference
            if number(leaf) is not None:
                return False  # one number is not several
        if kinds == {"list", "tuple"}:
            return self._in_order(answer, mine, reference, theirs, depth + 1)
        unions = as_intervals(answer) or answer, as_intervals(reference) or reference
        if unions != (answer, reference):
            return self.same(*unions, depth + 1)
        return self._algebra(answer, reference)

    def _in_order(self, answer, mine, reference, theirs, depth) -> bool:
        """Whether a list without braces, or one of named values, is the tuple of its items."""
        lists = [(text, kind[2]) for text, kind in ((answer, mine), (reference, theirs))
                 if kind[0] == "list"]  # fmt: skip
        text, items = lists[0]
        named = [NAMED.fullmatch(item) for item in items]
        if all(named) and len({match.group(1) for match in named}) == len(items):
            items = [m.group(2) for m in sorted(named, key=lambda m: m.group(1))]
        elif text.startswith("\\{"):
            return False
        tuples = [("tuple", "()", items) if kind[0] == "list" else kind for kind in (mine, theirs)]
        return self._same_parts(*tuples, depth)

    def _computed(self, name, values, other_name, other_values, depth) -> bool:
        """Compare computations: the answer's must be right in every step."""
        if name and other_name and name != other_name:
            return False
        for (before, _), (after, about) in pairwise(values):
            if not about and not self.same(after, before, depth):
                return False
        exact = [value for value, about in values if not about]
        mine = [*exact[-1:], *(v for v, about in values if about and self._rounds(v, exact, depth))]
        theirs = [value for value, _ in other_values][-1:] + [
            value for value, about in other_values if not about
        ]
        return any(self.same(a, r, depth) for r in theirs for a in mine)

    def _rounds(self, about: str, exact: list[str], depth: int) -> bool:
        """Whether a decimal is what rounding the exact value gives, to three digits or more."""
        decimal = number(about)
        if not exact or decimal is None or decimal.decimals is None:
            return False
        half = Fraction(1, 2 * 10**decimal.decimals)
        if abs(decimal.value) < 200 * half:
            return False
        nearly = Comparison(Closeness(absolute=float(half)), self.same_algebra)
        return nearly.same(about, exact[-1], depth)

    def _choices(self, answer: str, reference: str) -> bool | None:
        """Compare lettered choices with what they say; None where neither side is one."""
        mine, theirs = choice(answer), choice(reference)
        if mine and theirs:
            return mine[0] == theirs[0] and self.same(mine[1], theirs[1], 1)
        if mine is None and theirs is None:
            return None
        (letter, said), other = (mine, reference) if mine else (theirs, answer)
        if as_words(other) == letter:
            return True
        if as_words(other) is not None and len(as_words(other)) == 1:
            return False
        return self.same(said, other, 1) if mine else self.same(other, said, 1)

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

    def _numbers(self, answer: str, reference: str, *, lone_letters: bool = False) -> bool | None:
        mine, theirs = (number(t, lone_letters=lone_letters) for t in (answer, reference))
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

    def _leaves(self, answer: str, reference: str, depth: int) -> bool:
        words, expected = as_words(answer), as_words(reference)
        if words is not None and expected is not None:
            return words == expected
        mine, theirs = _BASE.fullmatch(answer), _BASE.fullmatch(reference)
        if mine and theirs:
            return _digits(mine) == _digits(theirs)
        if (mine and number(reference)) or (theirs and number(answer)):
            digits, plain = (mine, reference) if mine else (theirs, answer)
            if any(int(d, 36) >= int(digits.group(2)) for d in digits.group(1)):
                return False
            return digits.group(1).lstrip("0") == plain.lstrip("0")  # the base left out
        (mine, unit), (theirs, expected_unit) = (
            split_unit(text, lone_letters=False) for text in (answer, reference)
        )
        if unit and expected_unit and unit != expected_unit:
            return False
        if "degree" in (unit, expected_unit) and "\\pi" in answer + reference:
            mine, theirs = (
                rf"\frac{{({text})\cdot\pi}}{{180}}" if name == "degree" else text
                for text, name in ((mine, unit), (theirs, expected_unit))
            )
        if (mine, theirs) != (answer, reference) and mine and theirs:
            return self.same(mine, theirs, depth)
        return self._algebra(answer, reference)

    def _algebra(self, answer: str, reference: str) -> bool:
        if self.same_algebra is None:
            raise NeedsAlgebra
        return self.same_algebra(answer, reference, self.closeness)


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
