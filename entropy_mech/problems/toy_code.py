"""Toy code: write a Python expression in x that passes unit tests, run by the real sandbox."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from entropy_mech.errors import unknown_name
from entropy_mech.grading import Verdict, grade_code
from entropy_mech.random_streams import generator

# What the hidden function is: how it is drawn, and its Python text.
FAMILIES = {"shift": "x+{b}", "scale": "{a}*x", "affine": "{a}*x+{b}"}
_SHOWN, _HIDDEN = 2, 4
_LARGEST_CONSTANT = 40
_HELD_OUT_ONE_IN = 5


@dataclass(frozen=True)
class ToyCodeProblem:
    """A function of one digit, shown at two points and tested at others.

    >>> problem = ToyCodeProblem("affine", 2, 3, (1, 4), (0, 7))
    >>> problem.prompt, problem.reference, problem.grade("(2*x)+3").name
    ('f(1)=5;f(4)=11;f(x)=', '2*x+3', 'correct')
    """

    family: str
    a: int
    b: int
    shown: tuple[int, ...]
    hidden: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """The examples, and the start of the definition."""
        points = "".join(f"f({x})={self._value(x)};" for x in self.shown)
        return f"{points}f(x)="

    @property
    def reference(self) -> str:
        """A right expression."""
        return FAMILIES[self.family].format(a=self.a, b=self.b)

    @property
    def level(self) -> str:
        """The family of functions."""
        return self.family

    @property
    def held_out(self) -> bool:
        """Whether this function is for evaluation: a hash of its text, whatever the examples."""
        return zlib.crc32(self.reference.encode()) % _HELD_OUT_ONE_IN == 0

    def grade(self, response: str) -> Verdict:
        """Run ``def f(x): return <response>`` against the shown and the hidden points."""
        if not response.strip():
            return Verdict("no_answer", "the response is empty")
        points = self.shown + self.hidden
        tests = {
            "fn_name": "f",
            "inputs": [[x] for x in points],
            "outputs": [self._value(x) for x in points],
        }
        return grade_code(f"def f(x):\n    return {response.strip()}\n", tests)

    def _value(self, x: int) -> int:
        a = 1 if self.family == "shift" else self.a
        return a * x + (0 if self.family == "scale" else self.b)


def toy_code_set(family: str, size: int, *, held_out: bool, seed: int = 0) -> list[ToyCodeProblem]:
    """Return distinct problems of a family, all held out or none."""
    if family not in FAMILIES:
        raise unknown_name("toy code family", family, FAMILIES)
    rng = generator("toy code", seed, zlib.crc32(family.encode()), int(held_out))
    chosen: dict[str, ToyCodeProblem] = {}  # by prompt: no question is asked twice
    while len(chosen) < size:
        a, b = (int(v) for v in rng.integers(1, _LARGEST_CONSTANT + 1, 2))
        points = tuple(int(x) for x in rng.permutation(10)[: _SHOWN + _HIDDEN])
        problem = ToyCodeProblem(family, a, b, points[:_SHOWN], points[_SHOWN:])
        if problem.held_out == held_out:
            chosen.setdefault(problem.prompt, problem)
    return list(chosen.values())
