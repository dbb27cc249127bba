"""The toy world: chains that are answered in steps, each step a fact of a fixed random table."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from transformers import PreTrainedTokenizerFast

from entropy_mech.errors import bad_value
from entropy_mech.grading.verdict import Verdict
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


# -- Chains --------------------------------------------------------------------------------------

MOST_STEPS = 20
_DRAWN_TOGETHER = 256
# How many repeats and training problems in a row say that there are no more held-out ones.
_PATIENCE = 20_000


def is_held_out(prompt: str) -> bool:
    """Return whether a problem is for validation: one in five, by a hash of its text alone.

    So whatever the seed or the size, a held-out problem is never a training problem.
    """
    return zlib.crc32(prompt.encode()) % 5 == 0


class SeededProblem:
    """A problem drawn from a seed, and the training and held-out sets that are made of it."""

    domain: ClassVar[str]
    prompt: str

    @cached_property
    def held_out(self) -> bool:
        """Whether this text belongs to validation, whatever the seed."""
        return is_held_out(self.prompt)

    @classmethod
    def draw(cls, rng: np.random.Generator, level_shares: Mapping[int, float]) -> Iterator[Self]:
        """Yield problems without end, each level with its share."""
        raise NotImplementedError

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
                    raise bad_value(
                        f"problems.validation_counts.{level}",
                        count,
                        f"only {len(of_level)} held-out problems of this level could be found",
                    )
            chosen |= of_level
        if not chosen:
            raise bad_value("problems.validation_counts", dict(level_counts), "no problem is asked")
        return list(chosen)


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


# -- Maths ---------------------------------------------------------------------------------------

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

    @cached_property
    def solution(self) -> str:
        """All steps, right."""
        return self.demonstrate(np.random.default_rng(0), 0.0, 0.0)

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
