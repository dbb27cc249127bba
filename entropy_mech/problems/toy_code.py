"""Toy code: write a Python expression in x that passes unit tests, run by the real sandbox."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from entropy_mech.errors import unknown_name
from entropy_mech.grading import Verdict, default_pool
from entropy_mech.problems.toy import ALPHABET, cumulative_shares, is_held_out
from entropy_mech.random_streams import generator

# What the hidden function is: how it is drawn, and its Python text.
FAMILIES = {"shift": "x+{b}", "scale": "{a}*x", "affine": "{a}*x+{b}"}
_LARGEST_CONSTANT = 9
_POINTS = range(10)
_PROGRAMS_TOGETHER = 256
# An expression of a few characters at ten points takes microseconds, unless it never ends.
_TIMEOUT_S = 2.0
# What follows the programs in their common process: one line of JSON a program.
_RUN_ALL = f"""
import json, sys
def value(program, x):
    try:
        found = program(x)
    except Exception:
        return None
    return found if type(found) is int and abs(found) < 10 ** 9 else None
sys.stdout.write("".join(
    json.dumps([value(program, x) for x in {list(_POINTS)}]) + "\\n" for program in programs
))
"""


@dataclass(frozen=True)
class ToyCodeProblem:
    """A function of one digit, shown at two points and tested at all ten.

    >>> problem = ToyCodeProblem("affine", 2, 3, (1, 4))
    >>> problem.prompt, problem.reference, problem.grade("(2*x)+3").name
    ('f(1)=5;f(4)=11;f(x)=', '2*x+3', 'correct')
    """

    family: str
    a: int
    b: int
    shown: tuple[int, ...]

    @cached_property
    def prompt(self) -> str:
        """The examples, and the start of the definition."""
        points = "".join(f"f({x})={self._value(x)};" for x in self.shown)
        return f"{points}f(x)="

    @cached_property
    def reference(self) -> str:
        """A right expression."""
        return FAMILIES[self.family].format(a=self.a, b=self.b)

    @property
    def level(self) -> str:
        """The family of functions."""
        return self.family

    @property
    def held_out(self) -> bool:
        """Whether this prompt is for evaluation: a hash of its text, whatever the seed."""
        return is_held_out(self.prompt)

    @property
    def outputs(self) -> list[int]:
        """The right values at the ten points that an answer is tested at."""
        return [self._value(x) for x in _POINTS]

    def grade(self, response: str) -> Verdict:
        """Run ``def f(x): return <response>`` against all ten points."""
        if not response.strip():
            return Verdict("no_answer", "the response is empty")
        tests = {"fn_name": "f", "inputs": [[x] for x in _POINTS], "outputs": self.outputs}
        program = _definition("f", response.strip())
        return default_pool().grade_code(program, tests, timeout_s=_TIMEOUT_S)

    def _value(self, x: int) -> int:
        a = 1 if self.family == "shift" else self.a
        return a * x + (0 if self.family == "scale" else self.b)


def _draw(family: str, rng: np.random.Generator) -> ToyCodeProblem:
    a, b = (int(v) for v in rng.integers(1, _LARGEST_CONSTANT + 1, 2))
    first, step = (int(v) for v in rng.integers(0, (len(_POINTS), len(_POINTS) - 1)))
    shown = (first, (first + 1 + step) % len(_POINTS))  # two different points
    # A constant that the family does not use is fixed, so that equal problems compare equal.
    a, b = 1 if family == "shift" else a, 0 if family == "scale" else b
    return ToyCodeProblem(family, a, b, shown)


def toy_code_set(family: str, size: int, *, held_out: bool, seed: int = 0) -> list[ToyCodeProblem]:
    """Return distinct problems of a family, all held out or none."""
    if family not in FAMILIES:
        raise unknown_name("toy code family", family, FAMILIES)
    rng = generator("toy code", seed, zlib.crc32(family.encode()), int(held_out))
    chosen: dict[str, ToyCodeProblem] = {}  # by prompt: no question is asked twice
    while len(chosen) < size:
        problem = _draw(family, rng)
        if problem.held_out == held_out:
            chosen.setdefault(problem.prompt, problem)
    return list(chosen.values())


def toy_code_stream(seed: int, family_shares: Mapping[str, float]) -> Iterator[ToyCodeProblem]:
    """Yield training problems without end, each family with its share; held-out ones never come."""
    for family in family_shares:
        if family not in FAMILIES:
            raise unknown_name("toy code family", family, FAMILIES)
    families, ends = cumulative_shares(
        family_shares, field="problems.family_shares", fix="give positive shares"
    )
    rng = generator("toy code stream", seed)
    while True:
        family = families[min(int(ends.searchsorted(rng.random(), "right")), len(families) - 1)]
        problem = _draw(family, rng)
        if not problem.held_out:
            yield problem


@dataclass(frozen=True)
class CodeDemonstrations:
    """How the base model's training examples write code: one form, not always right.

    ``error_fraction``: answers with one constant wrong.
    """

    error_fraction: float = 0.2

    def answer(self, problem: ToyCodeProblem, rng: np.random.Generator) -> str:
        """Return one demonstration for a problem.

        >>> rng = np.random.default_rng(0)
        >>> CodeDemonstrations(0.0).answer(ToyCodeProblem("affine", 2, 3, (1, 4)), rng)
        '2*x+3'
        """
        a, b = problem.a, problem.b
        if rng.random() < self.error_fraction:
            in_a = problem.family == "scale" or (problem.family == "affine" and rng.random() < 0.5)
            a, b = (_other(rng, a), b) if in_a else (a, _other(rng, b))
        return FAMILIES[problem.family].format(a=a, b=b)


def _other(rng: np.random.Generator, value: int) -> int:
    """Return one of the other constants, all equally likely."""
    return (value - 1 + int(rng.integers(1, _LARGEST_CONSTANT))) % _LARGEST_CONSTANT + 1


def grade_toy_code(problems: Sequence[ToyCodeProblem], texts: Sequence[str]) -> list[Verdict]:
    """Return the verdicts of ``ToyCodeProblem.grade``, with many programs in one sandbox.

    Programs share a sandboxed process if they use only the toys' alphabet, which has no name for
    another program or for the grader. If the process times out or dies, each is run alone.
    """
    values: dict[str, list[int | None]] = {}
    distinct = dict.fromkeys(text.strip() for text in texts if _in_alphabet(text))
    broken = {text for text in distinct if not _compiles(text)}
    together = [text for text in distinct if text not in broken]
    for start in range(0, len(together), _PROGRAMS_TOGETHER):
        values.update(_values(together[start : start + _PROGRAMS_TOGETHER]))
    alone: dict[tuple[ToyCodeProblem, str], Verdict] = {}
    verdicts = []
    for problem, text in zip(problems, texts, strict=True):
        found = values.get(text.strip())
        if found is not None:
            verdicts.append(_judged(found, problem.outputs))
        elif not text.strip():
            verdicts.append(problem.grade(text))
        elif text.strip() in broken:
            verdicts.append(Verdict("wrong", "not a Python expression", 0, len(_POINTS)))
        else:
            key = (problem, text.strip())
            if key not in alone:
                alone[key] = problem.grade(text)
            verdicts.append(alone[key])
    return verdicts


def _in_alphabet(text: str) -> bool:
    return bool(text.strip()) and set(text) <= set(ALPHABET)


def _definition(name: str, text: str) -> str:
    return f"def {name}(x):\n    return {text}\n"


def _compiles(text: str) -> bool:
    try:
        with warnings.catch_warnings():  # of calls on numbers, such as 3(x): wrong, and known
            warnings.simplefilter("ignore")
            compile(_definition("f", text), "response", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return False
    return True


def _values(texts: Sequence[str]) -> dict[str, list[int | None]]:
    """Return each program's values at the ten points, None where it fails.

    All run in one sandboxed process; {} if that fails. The names of the programs have a letter
    that is not in the alphabet.
    """
    definitions = "".join(_definition(f"g_{i}", text) for i, text in enumerate(texts))
    names = ", ".join(f"g_{i}" for i in range(len(texts)))
    program = f"{definitions}\nprograms = [{names}]\n{_RUN_ALL}"
    reply = default_pool().run_program(program, timeout_s=_TIMEOUT_S)
    if reply["ended"] != "exit" or reply["exit"] != 0:
        return {}
    rows = [json.loads(line) for line in reply["stdout"].splitlines()]
    return dict(zip(texts, rows, strict=True))


def _judged(values: Sequence[int | None], outputs: Sequence[int]) -> Verdict:
    passed = sum(a == b for a, b in zip(values, outputs, strict=True))
    if passed == len(outputs):
        return Verdict("correct", "", passed, passed)
    x = next(i for i, (a, b) in enumerate(zip(values, outputs, strict=True)) if a != b)
    return Verdict("wrong", f"f({x}) is {values[x]}, not {outputs[x]}", passed, len(outputs))
