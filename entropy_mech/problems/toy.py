"""Problems drawn from a seed: the toy world's maths and code, and arithmetic for language models.

The toy world's are chains that are answered in steps, each step a fact of a fixed random table.
"""

from __future__ import annotations

import itertools
import json
import operator
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from transformers import PreTrainedTokenizerFast

from entropy_mech.errors import bad_value
from entropy_mech.grading import Verdict, default_pool
from entropy_mech.random_streams import generator

# -- The tokenizer -------------------------------------------------------------------------------

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
_LATIN = "abcdefghijklmnopqrstuvwxyz"
VALUES = "0123456789" + _LATIN
FUNCTIONS = _LATIN.upper() + "!#$%&,./:<>?@[]^_{|}~"
VARIABLES = _LATIN
# All that toy maths and toy code are written in.
ALPHABET = VALUES + FUNCTIONS + "+-*=;()"


def character_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a character, after pad (0), eos (1) and unknown (2)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate([PAD, EOS, UNK, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNK
    )


# -- What problems drawn from a seed have in common ----------------------------------------------

MOST_STEPS = 20
_DRAWN_TOGETHER = 256
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
# How many repeats and training problems in a row say that there are no more held-out ones.
_PATIENCE = 20_000


class SeededProblem:
    """A problem drawn from a seed, and the training and held-out sets that are made of it.

    ``draw`` of each kind yields problems without end, each level (of ``level_shares``) with its
    share.
    """

    domain: ClassVar[str]
    prompt: str

    @cached_property
    def held_out(self) -> bool:
        """Whether this is for validation: one in five, by a hash of its text alone.

        So whatever the seed or the size, a held-out problem is never a training problem.
        """
        return zlib.crc32(self.prompt.encode()) % 5 == 0

    @classmethod
    def training(
        cls, rng: np.random.Generator, level_shares: Mapping[int, float]
    ) -> Iterator[Self]:
        """Yield training problems without end; held-out ones never come."""
        return (chain for chain in cls.draw(rng, level_shares) if not chain.held_out)

    @classmethod
    def training_set(cls, seed: int, size: int, level_shares: Mapping[int, float]) -> list[Self]:
        """Return the first ``size`` training problems that the seed names."""
        rng = generator(f"toy {cls.domain}", seed)
        return list(itertools.islice(cls.training(rng, level_shares), size))

    @classmethod
    def validation_set(cls, seed: int, level_counts: Mapping[int, int]) -> list[Self]:
        """Return distinct held-out problems, ``level_counts[steps]`` of each level."""
        chosen: dict[Self, None] = {}
        for level, count in sorted(level_counts.items()):
            drawn = cls.draw(generator(f"toy {cls.domain} validation", seed, level), {level: 1.0})
            of_level: dict[Self, None] = {}
            missed = 0
            while len(of_level) < count:
                chain = next(drawn)
                if chain.held_out and chain not in of_level:
                    of_level[chain], missed = None, 0
                elif (missed := missed + 1) > _PATIENCE:
                    fix = f"only {len(of_level)} held-out problems of this level could be found"
                    raise bad_value(f"problems.validation_counts.{level}", count, fix)
            chosen |= of_level
        if not chosen:
            raise bad_value("problems.validation_counts", dict(level_counts), "no problem is asked")
        return list(chosen)


# -- Chains --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain(SeededProblem):
    """A letter to start from and names that follow: what problems of both domains are made of.

    Names are drawn without replacement with weights 1 / rank, so that some facts are met all the
    time and others hardly ever: what a model knows of them grows with its size.
    """

    start: str
    names: str

    starts: ClassVar[str]  # what a start is drawn from
    alphabet: ClassVar[str]  # what the names are drawn from, the commonest first

    @cached_property
    def prompt(self) -> str:
        """The chain as text, ending in an equals sign."""
        return f"{self.start}{self.names}="

    @property
    def level(self) -> str:
        """How many steps the chain has."""
        return f"{len(self.names)} steps"

    @cached_property
    def solution(self) -> str:
        """All steps, right."""
        return self.demonstrate(np.random.default_rng(0), 0.0, 0.0)

    @classmethod
    def draw(cls, rng: np.random.Generator, level_shares: Mapping[int, float]) -> Iterator[Self]:
        """Yield chains without end, each level (number of steps) with its share."""
        levels = np.array(sorted(level_shares))
        shares = np.array([level_shares[level] for level in levels], dtype=float)
        log_weights = -np.log(np.arange(1, len(cls.alphabet) + 1))
        while True:  # many at a time: a call of the generator costs more than a number
            count = _DRAWN_TOGETHER
            steps = rng.choice(levels, count, p=shares / shares.sum())
            starts = rng.integers(0, len(cls.starts), count)
            # The order of log weights with Gumbel noise is that of drawing without replacement.
            order = np.argsort(-log_weights - rng.gumbel(size=(count, len(log_weights))))
            for length, i, names in zip(steps, starts.tolist(), order.tolist(), strict=True):
                start = cls.starts[i]
                others = (cls.alphabet[j] for j in names if cls.alphabet[j] != start)
                yield cls(start, "".join(itertools.islice(others, int(length))))


def slipped(rng: np.random.Generator, right: str, among: str, fraction: float) -> str:
    """Return ``right``, or with probability ``fraction`` another character of ``among``."""
    if rng.random() >= fraction:
        return right
    others = among.replace(right, "")
    return others[int(rng.integers(len(others)))]


# -- Toy maths -----------------------------------------------------------------------------------

# TABLES[function][value] is the function's value there. There is no rule to find.
TABLES = {
    function: dict(zip(VALUES, (VALUES[i] for i in row), strict=True))
    for function, row in zip(
        FUNCTIONS,
        generator("toy tables").integers(len(VALUES), size=(len(FUNCTIONS), len(VALUES))).tolist(),
        strict=True,
    )
}


@dataclass(frozen=True)
class ToyProblem(Chain):
    """A value and the functions to apply to it, one after the other.

    ``3AD=`` asks for D(A(3)). A step of the answer says what one function makes of one value; the
    last value is given again in brackets.

    >>> problem = ToyProblem("3", "AD")
    >>> problem.prompt, problem.solution, problem.grade(problem.solution).name
    ('3AD=', '3A=6;6D=u;(u)', 'correct')
    """

    domain = "maths"
    starts, alphabet = VALUES, FUNCTIONS

    @property
    def reference(self) -> str:
        """The right value."""
        return self.solution[-2]

    def grade(self, response: str) -> Verdict:
        """Judge the last ``(value)``; what stands before it is not looked at (section 2.1)."""
        answers = re.findall(r"\(([0-9a-z])\)", response)
        if not answers:
            return Verdict("no_answer", "no (value) in the response")
        if answers[-1] != self.reference:
            return Verdict("wrong", f"answered {answers[-1]}, not {self.reference}")
        return Verdict("correct", passed=1)

    def demonstrate(
        self, rng: np.random.Generator, error_fraction: float, slip_fraction: float
    ) -> str:
        """Return an answer of which so many values are wrong and so many copies slipped.

        A step goes on from what the step before says, right or wrong.
        """
        written, value = [], self.start
        for name in self.names:
            source = slipped(rng, value, VALUES, slip_fraction)
            function = slipped(rng, name, FUNCTIONS, slip_fraction)
            value = slipped(rng, TABLES[function][source], VALUES, error_fraction)
            written.append(f"{source}{function}={value};")
        return "".join(written) + f"({value})"


# -- Toy code: straight-line programs that pass unit tests, run by the real sandbox ---------------

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
        program = self.program(response.strip())
        return default_pool().grade_code(program, tests, timeout_s=_TIMEOUT_S)

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

    def verdict(problem: ToyCodeProblem, body: str) -> Verdict:
        if (problem, body) in broken:
            return Verdict("wrong", "not a Python program", 0, len(_POINTS))
        if (problem, body) in values:
            return _judged(values[problem, body], problem.outputs)
        return problem.grade(body)

    verdicts = {key: verdict(*key) for key in distinct}
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


# -- Arithmetic with a ladder of difficulty, for language models ---------------------------------

_LEAST_DIGIT, _MOST_DIGIT = 2, 9
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
            values.append(OPERATIONS[name](values[-1], operand))
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
            start, *operands = rng.integers(_LEAST_DIGIT, _MOST_DIGIT + 1, size=count + 1).tolist()
            problem = cls(start, first + others, tuple(operands))
            if min(problem.values) >= 0:
                yield problem


TOYS: dict[str, type[ToyProblem] | type[ToyCodeProblem]] = {
    "maths": ToyProblem,
    "code": ToyCodeProblem,
}
# All that are made from a seed, by the name in problems.domain.
SEEDED: dict[str, type[SeededProblem]] = {**TOYS, "arithmetic": ArithmeticProblem}
