"""Toy code: write a straight-line program that passes unit tests, run by the real sandbox."""

from __future__ import annotations

import json
import operator
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from entropy_mech.grading import Verdict, default_pool
from entropy_mech.problems.arithmetic import ArithmeticProblem
from entropy_mech.problems.toy import VARIABLES, Chain, SeededProblem, ToyProblem, slipped
from entropy_mech.random_streams import generator

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
CONSTANTS = "23456789"
_POINTS = range(10)
_LARGEST = 10**15
_PROGRAMS_TOGETHER = 256
# A few lines of arithmetic at ten points take microseconds, unless they never end.
_TIMEOUT_S = 2.0
# A program that may share a process with others: assignments to variables of one letter. No name
# in it is longer, so there is none to reach another program, a builtin or the grader by; and no
# number has a letter, so that all values are whole.
_LINE = r"[a-z]=(?:(?![a-z][a-z0-9]|[0-9][a-z])[a-z0-9+*-])+"
_STATEMENTS = re.compile(rf"{_LINE}(?:;{_LINE})*;?")
# What follows the programs in their common process: one line of JSON a program.
_RUN_ALL = f"""
import json, sys
def value(program, x):
    try:
        found = program(x)
    except Exception:
        return None
    return found if type(found) is int and abs(found) < {_LARGEST} else None
sys.stdout.write("".join(
    json.dumps([value(program, x) for x in {list(_POINTS)}]) + "\\n" for program in programs
))
"""


def _rules() -> dict[str, str]:
    """Return, for each two variables, how the second is made of the first: such as ``*7``."""
    rng = generator("toy rules")
    pairs = [a + b for a in VARIABLES for b in VARIABLES if a != b]
    every = [operation + constant for operation in OPERATIONS for constant in CONSTANTS]
    chosen = rng.integers(len(every), size=len(pairs))
    return {pair: every[i] for pair, i in zip(pairs, chosen.tolist(), strict=True)}


# There is no rule behind the rules: as in maths, each is a fact to remember.
RULES = _rules()


@dataclass(frozen=True)
class ToyCodeProblem(Chain):
    """A chain of variables, each made of the one before by the rule for these two.

    ``dfa=`` asks for a function of d whose program makes f from d and a from f; it returns the
    last. A step is a line of Python; any program that passes the tests at ten points is right.

    >>> problem = ToyCodeProblem("d", "fa")
    >>> problem.prompt, problem.solution, problem.grade(problem.solution).name
    ('dfa=', 'f=d*5;a=f-3;', 'correct')
    """

    domain = "code"
    alphabet = starts = VARIABLES

    @cached_property
    def solution(self) -> str:
        """All lines, right."""
        return self.demonstrate(np.random.default_rng(0), 0.0, 0.0)

    @property
    def reference(self) -> str:
        """A right program."""
        return self.solution

    @cached_property
    def outputs(self) -> list[int]:
        """The right values at the ten points that an answer is tested at."""
        values = list(_POINTS)
        for a, b in zip(self.start + self.names, self.names, strict=False):
            operation, constant = RULES[a + b]
            values = [OPERATIONS[operation](value, int(constant)) for value in values]
        return values

    def program(self, response: str, name: str = "f") -> str:
        """Return the function whose body a response is."""
        return f"def {name}({self.start}):\n    {response}\n    return {self.names[-1]}\n"

    def grade(self, response: str) -> Verdict:
        """Run the response as a function's body against all ten points."""
        if not response.strip():
            return Verdict("no_answer", "the response is empty")
        tests = {"fn_name": "f", "inputs": [[x] for x in _POINTS], "outputs": self.outputs}
        return default_pool().grade_code(
            self.program(response.strip()), tests, timeout_s=_TIMEOUT_S
        )

    def demonstrate(
        self, rng: np.random.Generator, error_fraction: float, slip_fraction: float
    ) -> str:
        """Return a program of which so many operators and constants are wrong, and copies slipped.

        Operators err as often as constants do, independently.
        """
        written, previous = [], self.start
        for name in self.names:
            source = slipped(rng, previous, VARIABLES, slip_fraction)
            name = slipped(rng, name, VARIABLES, slip_fraction)
            rule = RULES.get(source + name, "+2")  # a variable made of itself has no rule
            operation = slipped(rng, rule[0], "+-*", error_fraction)
            constant = slipped(rng, rule[1], CONSTANTS, error_fraction)
            written.append(f"{name}={source}{operation}{constant};")
            previous = name
        return "".join(written)


TOYS: dict[str, type[ToyProblem] | type[ToyCodeProblem]] = {
    "maths": ToyProblem,
    "code": ToyCodeProblem,
}
# All that are made from a seed, by the name in problems.domain.
SEEDED: dict[str, type[SeededProblem]] = {**TOYS, "arithmetic": ArithmeticProblem}


def grade_toy_code(problems: Sequence[ToyCodeProblem], texts: Sequence[str]) -> list[Verdict]:
    """Return the verdicts of ``ToyCodeProblem.grade``, with many programs in one sandbox.

    Programs that are simple assignments go into one sandboxed process. If one of them takes too
    long or takes the process down, each is run alone, as is any other program.
    """
    asked = [(problem, text.strip()) for problem, text in zip(problems, texts, strict=True)]
    distinct = list(dict.fromkeys(asked))
    broken = {key for key in distinct if key[1] and not _compiles(key[0].program(key[1]))}
    together = [key for key in distinct if _STATEMENTS.fullmatch(key[1]) and key not in broken]
    values: dict[tuple[ToyCodeProblem, str], list[int | None]] = {}
    for start in range(0, len(together), _PROGRAMS_TOGETHER):
        values.update(_values(together[start : start + _PROGRAMS_TOGETHER]))
    verdicts = {}
    for problem, body in distinct:
        if (problem, body) in broken:
            verdict = Verdict("wrong", "not a Python program", 0, len(_POINTS))
        elif (problem, body) in values:
            verdict = _judged(values[problem, body], problem.outputs)
        else:
            verdict = problem.grade(body)
        verdicts[problem, body] = verdict
    return [verdicts[key] for key in asked]


def _compiles(program: str) -> bool:
    try:
        with warnings.catch_warnings():  # of calls on numbers, such as 3(x): wrong, and known
            warnings.simplefilter("ignore")
            compile(program, "response", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return False
    return True


def _values(
    asked: Sequence[tuple[ToyCodeProblem, str]],
) -> dict[tuple[ToyCodeProblem, str], list[int | None]]:
    """Return each program's values at the ten points; None where it fails, {} if none can be had.

    Run in one sandboxed process. Names of programs are longer than any name in a program.
    """
    definitions = "".join(p.program(body, f"g_{i}") for i, (p, body) in enumerate(asked))
    names = ", ".join(f"g_{i}" for i in range(len(asked)))
    program = f"{definitions}\nprograms = [{names}]\n{_RUN_ALL}"
    reply = default_pool().run_program(program, timeout_s=_TIMEOUT_S)
    if reply["ended"] != "exit" or reply["exit"] != 0:
        return {}
    rows = [json.loads(line) for line in reply["stdout"].splitlines()]
    return dict(zip(asked, rows, strict=True))


def _judged(values: Sequence[int | None], outputs: Sequence[int]) -> Verdict:
    passed = sum(a == b for a, b in zip(values, outputs, strict=True))
    if passed == len(outputs):
        return Verdict("correct", "", passed, passed)
    x = next(i for i, (a, b) in enumerate(zip(values, outputs, strict=True)) if a != b)
    return Verdict("wrong", f"f({x}) is {values[x]}, not {outputs[x]}", passed, len(outputs))
