"""Toy maths: chains of operations on digits modulo m, answered at once or in steps."""

from __future__ import annotations

import operator
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from entropy_mech.errors import bad_value
from entropy_mech.grading.verdict import Verdict
from entropy_mech.random_streams import generator

# -- The tokenizer -------------------------------------------------------------------------------

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"


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


# -- The problems --------------------------------------------------------------------------------
# ``6+0*4=`` is evaluated from left to right and may be answered at once, ``(4)``, or in steps,
# ``6+0=6;6*4=4;(4)``. Answering at once is a table look-up for two terms and nearly a guess for
# five; with steps every chain is easy, but steps are rare in the base model. So a policy can
# improve by becoming more certain of what it knows, and by exploring the rarer, longer way: the
# exploitation and exploration of the paper's section 2.

# The characters of toy maths and toy code.
ALPHABET = "0123456789+-*=;()fx"
DEFAULT_MODULUS = 10
_FEW_TEXTS = 10_000
_DRAWN_TOGETHER = 256
_ANSWER = re.compile(r"\((\d)\)")
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def is_held_out(prompt: str) -> bool:
    """Return whether a problem is for validation: one in five, by a hash of its text alone.

    So whatever the seed or the size, a held-out problem is never a training problem.
    """
    return zlib.crc32(prompt.encode()) % 5 == 0


@dataclass(frozen=True)
class ToyProblem:
    """One chain: digits, and the operations between them, from left to right, modulo ``modulus``.

    Without ``operations`` it is a sum.

    >>> problem = ToyProblem((6, 0, 4), 10, "+*")
    >>> problem.prompt, problem.reference, problem.grade("6+0=6;6*4=4;(4)").name
    ('6+0*4=', '4', 'correct')
    """

    terms: tuple[int, ...]
    modulus: int
    operations: str = ""

    @cached_property
    def prompt(self) -> str:
        """The chain as text, ending in an equals sign."""
        rest = (f"{sign}{term}" for sign, term in self.steps())
        return f"{self.terms[0]}{''.join(rest)}="

    @cached_property
    def reference(self) -> str:
        """The right digit."""
        value = self.terms[0]
        for sign, term in self.steps():
            value = OPERATIONS[sign](value, term) % self.modulus
        return str(value)

    def steps(self) -> Iterator[tuple[str, int]]:
        """Yield the operations with their right-hand terms."""
        signs = self.operations or "+" * (len(self.terms) - 1)
        yield from zip(signs, self.terms[1:], strict=True)

    @property
    def level(self) -> str:
        """How many terms the chain has."""
        return f"{len(self.terms)} terms"

    @cached_property
    def held_out(self) -> bool:
        """Whether this text belongs to validation, whatever the seed."""
        return is_held_out(self.prompt)

    def grade(self, response: str) -> Verdict:
        """Grade the last ``(digit)``; the steps before it do not count (section 2.1)."""
        answers = _ANSWER.findall(response)
        if not answers:
            return Verdict("no_answer", "no (digit) in the response")
        if answers[-1] != self.reference:
            return Verdict("wrong", f"answered {answers[-1]}, not {self.reference}")
        return Verdict("correct", passed=1)


@dataclass(frozen=True)
class ModularChains:
    """The family of chains modulo ``modulus`` (2 to 10, so that an answer is one digit).

    ``operations``: those that occur, equally often.
    """

    modulus: int = DEFAULT_MODULUS
    operations: str = "+"

    def __post_init__(self):
        if not 2 <= self.modulus <= 10:
            raise bad_value("problems.modulus", self.modulus, "give a whole number from 2 to 10")
        known = set(self.operations) <= set(OPERATIONS)
        if not self.operations or not known or len(set(self.operations)) < len(self.operations):
            raise bad_value("problems.operations", self.operations, "give some of +-*, each once")

    @property
    def _key(self) -> tuple[int, ...]:
        """The operations, as integers for the key of a random stream."""
        return tuple(map(ord, self.operations))

    def _problem(self, terms: Sequence[int], signs: Sequence[int]) -> ToyProblem:
        text = "".join(self.operations[sign] for sign in signs)
        return ToyProblem(tuple(terms), self.modulus, text)

    def stream(self, seed: int, level_shares: Mapping[int, float]) -> Iterator[ToyProblem]:
        """Yield training problems without end, each level (number of terms) with its share.

        Short chains are few, so they recur; held-out ones never come.
        """
        levels, ends = cumulative_shares(
            level_shares, field="problems.level_shares", fix="give a positive share a level"
        )
        if min(levels) < 2:
            fix = "a chain has at least 2 terms"
            raise bad_value("problems.level_shares", dict(level_shares), fix)
        rng = generator("toy problems", seed, self.modulus, *self._key)
        longest = max(levels)
        while True:  # many at a time, as each call of the generator is slow
            drawn = ends.searchsorted(rng.random(_DRAWN_TOGETHER), side="right")
            terms = rng.integers(0, self.modulus, (_DRAWN_TOGETHER, longest)).tolist()
            signs = rng.integers(0, len(self.operations), (_DRAWN_TOGETHER, longest - 1)).tolist()
            for i, of_terms, of_signs in zip(drawn.tolist(), terms, signs, strict=True):
                length = levels[min(i, len(levels) - 1)]
                problem = self._problem(of_terms[:length], of_signs[: length - 1])
                if not problem.held_out:
                    yield problem

    def training_set(
        self, seed: int, size: int, level_shares: Mapping[int, float]
    ) -> list[ToyProblem]:
        """Return the first ``size`` problems of ``stream``."""
        if size < 1:
            fix = "the training set is empty; give 1 or more"
            raise bad_value("problems.train_size", size, fix)
        stream = self.stream(seed, level_shares)
        return [next(stream) for _ in range(size)]

    def validation_set(self, seed: int, level_counts: Mapping[int, int]) -> list[ToyProblem]:
        """Return distinct held-out problems, ``level_counts[terms]`` of each level."""
        rng = generator("toy validation", seed, self.modulus, *self._key)
        chosen: list[ToyProblem] = []
        for terms, count in sorted(level_counts.items()):
            chosen += self._distinct_held_out(rng, terms, count)
        if not chosen:
            raise bad_value("problems.validation_counts", dict(level_counts), "no problem is asked")
        return chosen

    def _distinct_held_out(self, rng, terms: int, count: int) -> list[ToyProblem]:
        field = f"problems.validation_counts.{terms}"
        if terms < 2:
            raise bad_value(field, count, "a chain has at least 2 terms")
        texts = self.modulus**terms * len(self.operations) ** (terms - 1)
        if texts <= _FEW_TEXTS:  # list them all, then choose
            sizes = [self.modulus] * terms + [len(self.operations)] * (terms - 1)
            every = (self._problem(t[:terms], t[terms:]) for t in np.ndindex(*sizes))
            pool = [problem for problem in every if problem.held_out]
            if count > len(pool):
                fix = f"only {len(pool)} held-out problems have {terms} terms"
                raise bad_value(field, count, fix)
            return [pool[i] for i in rng.permutation(len(pool))[:count]]
        found: dict[ToyProblem, None] = {}
        while len(found) < count:
            problem = self._problem(
                rng.integers(0, self.modulus, terms).tolist(),
                rng.integers(0, len(self.operations), terms - 1).tolist(),
            )
            if problem.held_out:
                found[problem] = None
        return list(found)


@dataclass(frozen=True)
class Demonstrations:
    """How the base model's training examples answer: seldom in steps, not always right."""

    step_fraction: float = 0.2
    step_error_fraction: float = 0.08
    direct_error_fraction: float = 0.15

    def answer(self, problem: ToyProblem, rng: np.random.Generator) -> str:
        """Return one demonstration for a problem.

        >>> rng = np.random.default_rng(0)
        >>> Demonstrations(1.0, 0.0, 0.0).answer(ToyProblem((6, 0, 4), 10, "+*"), rng)
        '6+0=6;6*4=4;(4)'
        """
        modulus = problem.modulus
        if rng.random() >= self.step_fraction:
            wrong = rng.random() < self.direct_error_fraction
            return f"({_other_digit(rng, int(problem.reference), modulus, wrong)})"
        steps, value = [], problem.terms[0]
        for sign, term in problem.steps():
            wrong = rng.random() < self.step_error_fraction
            right = OPERATIONS[sign](value, term) % modulus
            result = _other_digit(rng, right, modulus, wrong)
            steps.append(f"{value}{sign}{term}={result};")
            value = result
        return "".join(steps) + f"({value})"


def _other_digit(rng: np.random.Generator, value: int, modulus: int, wrong: bool) -> int:
    """Return ``value``, or where ``wrong`` one of the other digits, all equally likely."""
    return (value + int(rng.integers(1, modulus))) % modulus if wrong else value


def cumulative_shares(
    shares: Mapping[Any, float], *, field: str, fix: str
) -> tuple[list[Any], np.ndarray]:
    """Return the names in order and where each one's share of [0, 1] ends.

    Raises UserError, with ``field`` and ``fix``, unless there is a share and none is negative.
    """
    names = sorted(shares)
    values = np.array([shares[name] for name in names], dtype=float)
    if not names or values.min() < 0 or values.sum() <= 0:
        raise bad_value(field, dict(shares), fix)
    return names, values.cumsum() / values.sum()
