"""Arithmetic with a ladder of difficulty: problems for language models, from a seed."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from entropy_mech.grading.verdict import Verdict
from entropy_mech.problems.toy import SeededProblem

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_SMALLEST, _LARGEST = 2, 9
# The form of an answer: arithmetic alone, whose end is a number by itself or after an equals sign.
_FORM = re.compile(r"(?:[-+*=0-9\s]*=)?\s*(-?[0-9]+)\s*")


@dataclass(frozen=True)
class ArithmeticProblem(SeededProblem):
    """A start and the operations on it, from the left to the right; a level is their number.

    All numbers have one digit. A product comes first or not at all, so that the order is also
    that of everybody's arithmetic, and no value on the way is negative. The answer may be given
    alone or worked out: each step repeats what is left with its first two numbers combined.

    >>> problem = ArithmeticProblem(7, "*+-", (8, 9, 4))
    >>> problem.prompt + problem.solution, problem.reference
    ('7 * 8 + 9 - 4 = 56 + 9 - 4 = 65 - 4 = 61', '61')
    """

    start: int
    operations: str
    operands: tuple[int, ...]

    domain: ClassVar[str] = "arithmetic"

    @cached_property
    def values(self) -> list[int]:
        """The start and what it has become after each operation."""
        values = [self.start]
        for name, operand in zip(self.operations, self.operands, strict=True):
            values.append(_OPERATIONS[name](values[-1], operand))
        return values

    def _left(self, done: int) -> str:
        """Return the expression with so many operations carried out."""
        pairs = zip(self.operations[done:], self.operands[done:], strict=True)
        return " ".join([str(self.values[done]), *(f"{name} {operand}" for name, operand in pairs)])

    @cached_property
    def prompt(self) -> str:
        """The expression, ending in an equals sign."""
        return f"{self._left(0)} ="

    @property
    def solution(self) -> str:
        """All steps, right, as they follow the prompt."""
        return " " + " = ".join(self._left(done) for done in range(1, len(self.values)))

    @property
    def reference(self) -> str:
        """The value of the expression."""
        return str(self.values[-1])

    @property
    def level(self) -> str:
        """How many operations there are."""
        return f"{len(self.operations)} steps"

    def grade(self, response: str) -> Verdict:
        """Judge the number that a response ends in, alone or after an equals sign."""
        form = _FORM.fullmatch(response)
        if form is None:
            return Verdict("no_answer", "the response does not end in a number after =")
        answer = form[1]
        if (answer.lstrip("0") or "0") != self.reference:
            return Verdict("wrong", f"answered {answer[:20]}, not {self.reference}")
        return Verdict("correct", passed=1)

    def has_form(self, response: str) -> bool:
        """Whether a response is arithmetic that ends in a number, alone or after an equals sign."""
        return _FORM.fullmatch(response) is not None

    def demonstrate(self, rng: np.random.Generator, direct_fraction: float) -> str:
        """Return a right answer: with this probability its value alone, else worked out."""
        return f" {self.reference}" if rng.random() < direct_fraction else self.solution

    @classmethod
    def draw(cls, rng: np.random.Generator, level_shares: Mapping[int, float]) -> Iterator[Self]:
        """Yield problems without end, each level (number of operations) with its share."""
        levels = np.array(sorted(level_shares))
        shares = np.array([level_shares[level] for level in levels], dtype=float)
        while True:
            count = int(rng.choice(levels, p=shares / shares.sum()))
            first = "+-*"[int(rng.integers(3))]
            others = "".join("+-"[int(i)] for i in rng.integers(2, size=count - 1))
            start, *operands = rng.integers(_SMALLEST, _LARGEST + 1, size=count + 1).tolist()
            problem = cls(start, first + others, tuple(operands))
            if min(problem.values) >= 0:
                yield problem
