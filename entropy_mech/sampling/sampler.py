"""The samplers' interface, and sampling, decoding and grading responses to problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedTokenizerBase

from entropy_mech.errors import UserError, bad_value
from entropy_mech.grading.verdict import Verdict
from entropy_mech.problems import Problem
from entropy_mech.random_streams import stream_key

# -- Requests and responses ----------------------------------------------------------------------


@dataclass(frozen=True)
class SamplingRequest:
    """One response to be sampled.

    ``key`` is a 64-bit word that names its random stream (``random_streams.stream_key``), so a
    response does not depend on what else is sampled with it or in which order. ``temperature``
    is in place of the call's, so that one call samples for benchmarks of different protocols.
    """

    prompt_tokens: tuple[int, ...]
    key: int
    temperature: float | None = None


def places_by_temperature(
    requests: Sequence[SamplingRequest], temperature: float
) -> dict[float, list[int]]:
    """Return the places of the requests of each temperature; ``temperature`` is the call's own.

    Raises:
        UserError: a temperature below 0.

    """
    places: dict[float, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        places[temperature if request.temperature is None else request.temperature].append(place)
    for one in (temperature, *places):
        if one < 0:
            raise bad_value("rollout.temperature", one, "give 0 (greedy) or more")
    return dict(places)


@dataclass(frozen=True)
class Completions:
    """Sampled responses, row i for request i.

    Attributes:
        tokens: B x T, int64, padded on the right; the end-of-sequence token belongs to a response.
        response_mask: B x T, bool.
        logp_sampler: B x T, float32, nats, as the sampler computed it, at its temperature.
        finished: B, bool; False where the token limit cut the response.
        entropy: B x T, float32, nats, of the policy (temperature 1) where each token was drawn;
            None from a sampler that does not see all logits, or was not asked.

    """

    tokens: Tensor
    response_mask: Tensor
    logp_sampler: Tensor
    finished: Tensor
    entropy: Tensor | None = None


def stacked(parts: Sequence[Tensor], padding: float = 0) -> Tensor:
    """Lay tensors one under the other; rows of several columns are padded to the longest."""
    if parts[0].dim() > 1:
        longest = max(part.shape[1] for part in parts)
        parts = [pad(part, (0, longest - part.shape[1]), value=padding) for part in parts]
    return torch.cat(list(parts))


class SamplerError(UserError):
    """A sampler's engine was lost, was silent for too long, or failed. The message names it."""

    exit_code = 1


class StaleWeightsError(SamplerError):
    """A sampler has other weights than the trainer."""


class Sampler(Protocol):
    """Anything that samples responses from the current policy."""

    def sample(
        self, requests: Sequence[SamplingRequest], *, temperature: float, max_new_tokens: int
    ) -> Completions:
        """Sample one response a request; ``temperature`` 0 takes the likeliest token."""
        ...

    def stream(
        self, requests: Sequence[SamplingRequest], **settings: Any
    ) -> Iterator[tuple[Sequence[int], Completions]]:
        """Yield places among the requests and their responses, as they finish; for evaluation."""
        ...


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return what a sampler has to know of a tokenizer."""
    return {"pad_token": tokenizer.pad_token_id, "eos_token": tokenizer.eos_token_id}


# -- From problems to verdicts -------------------------------------------------------------------

Grade = Callable[[Sequence[Problem], Sequence[str]], list[Verdict]]


@dataclass(frozen=True)
class Answers:
    """Responses to problems, decoded and graded; row i for the i-th problem asked."""

    completions: Completions
    texts: list[str]
    verdicts: list[Verdict]


def answer(
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[int]],
    keys: NDArray[np.uint64],
    grade: Grade,
    *,
    temperatures: Sequence[float] | None = None,
    **settings: Any,
) -> Answers:
    """Sample one response a problem, decode and grade it: in rollouts and validation.

    ``prompts`` are the problems as token ids, ``keys`` name the random streams, ``temperatures``
    are one a problem where they differ, ``settings`` are the sampler's: temperature and
    max_new_tokens.
    """
    out = sampler.sample(requests_of(prompts, keys, temperatures), **settings)
    texts = response_texts(tokenizer, out.tokens, out.response_mask)
    return Answers(out, texts, grade(problems, texts))


Part = tuple[Sequence[int], Completions]  # places among what was asked, and the responses there


def graded_in_threads(
    parts: Iterable[Part],
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    grade: Grade,
    threads: Executor,
) -> Iterator[tuple[Sequence[int], Answers]]:
    """Decode and grade responses as a sampler gives them, which goes on meanwhile.

    Yields places among the problems, and their answers, as they are graded.
    """
    waiting: dict[Future[list[Verdict]], tuple[Sequence[int], Completions, list[str]]] = {}

    def finished(futures: Iterable[Future]) -> Iterator[tuple[Sequence[int], Answers]]:
        for future in futures:
            places, out, texts = waiting.pop(future)
            yield places, Answers(out, texts, future.result())

    try:
        for places, out in parts:
            texts = response_texts(tokenizer, out.tokens, out.response_mask)
            future = threads.submit(grade, [problems[place] for place in places], texts)
            waiting[future] = (places, out, texts)
            yield from finished([future for future in waiting if future.done()])
        yield from finished(as_completed(waiting))
    finally:
        for future in waiting:  # after an error: results that nobody reads need not be graded
            future.cancel()


def requests_of(
    prompts: Sequence[Sequence[int]],
    keys: NDArray[np.uint64],
    temperatures: Sequence[float] | None = None,
) -> list[SamplingRequest]:
    """Return the requests of prompts (token ids), their streams and their own temperatures."""
    each = [None] * len(prompts) if temperatures is None else temperatures
    rows = zip(prompts, keys, each, strict=True)
    return [SamplingRequest(tuple(p), int(key), temperature) for p, key, temperature in rows]


def response_texts(
    tokenizer: PreTrainedTokenizerBase, tokens: Tensor, response_mask: Tensor
) -> list[str]:
    """Decode responses (B x T), without special tokens and padding."""
    rows = [row[mask] for row, mask in zip(tokens, response_mask, strict=True)]
    return tokenizer.batch_decode(rows, skip_special_tokens=True)


# -- Accuracy with every sample ------------------------------------------------------------------


def pass_at(k: int, right: NDArray, samples: int) -> float:
    """Return pass@k without bias: the mean chance that k of a problem's samples hold a right one.

    Of n samples with c right ones, 1 - C(n - c, k) / C(n, k), as a product (Chen et al., 2021).

    Args:
        k: at most ``samples``.
        right: how many of each problem's samples are right.
        samples: n.

    >>> pass_at(2, np.array([1, 0, 3]), 4)  # 1 - 3/6, 0, 1
    0.5

    """
    right = np.asarray(right)
    if not np.isin(right, np.arange(samples + 1)).all():
        raise bad_value("right", right.tolist(), f"give counts from 0 to {samples}")
    if k not in range(1, samples + 1):
        raise bad_value("k", k, f"pass@k of {samples} samples: give 1 to {samples}")
    wrong, drawn = samples - right, np.arange(k)
    # Once the wrong ones are used up a factor is 0; those after it would be negative.
    factors = np.maximum(wrong[:, None] - drawn, 0) / (samples - drawn)
    return float(1 - factors.prod(axis=1).mean())


def powers_of_two(samples: int) -> list[int]:
    """Return the k of a table of pass@k: 1, 2, 4, ... up to the number of samples.

    >>> powers_of_two(6)
    [1, 2, 4]
    """
    return [2**i for i in range(samples.bit_length())]


@dataclass(frozen=True)
class Sample:
    """One answered problem, kept for audit."""

    problem: Problem
    response: str
    verdict: Verdict


@dataclass(frozen=True)
class EvalResult:
    """Responses to problems, each graded by the problem's own grader; problem by problem."""

    samples: list[Sample]
    samples_per_problem: int

    @property
    def rewards(self) -> NDArray[np.float64]:
        """Rewards, problems x samples."""
        flat = [sample.verdict.reward for sample in self.samples]
        return np.array(flat).reshape(-1, self.samples_per_problem)

    @property
    def accuracy(self) -> float:
        """Mean reward: avg@k for k samples a problem."""
        return float(self.rewards.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of ``accuracy`` over problems; samples of one problem go together."""
        by_problem = self.rewards.mean(axis=1)
        return float(by_problem.std(ddof=1) / np.sqrt(len(by_problem)))

    def pass_at(self, k: int) -> float:
        """pass@k, for k up to the samples of a problem; see ``pass_at``."""
        return pass_at(k, self.rewards.sum(axis=1), self.samples_per_problem)

    def read_as(self, right: NDArray[np.bool_]) -> EvalResult:
        """Return the same samples, right where ``right`` says so and nowhere else."""
        correct = Verdict("correct", passed=1)
        wrong = Verdict("wrong", "right, but not by this reading")

        def again(verdict: Verdict, ok: bool) -> Verdict:
            return correct if ok else wrong if verdict.name == "correct" else verdict

        pairs = zip(self.samples, right, strict=True)
        samples = [replace(one, verdict=again(one.verdict, ok)) for one, ok in pairs]
        return replace(self, samples=samples)

    @property
    def by_level(self) -> dict[str, float]:
        """Accuracy of each level of difficulty."""
        rewards = defaultdict(list)
        for sample in self.samples:
            rewards[sample.problem.level].append(sample.verdict.reward)
        return {level: float(np.mean(values)) for level, values in sorted(rewards.items())}


@dataclass(frozen=True)
class EvalRequest:
    """Problems, and how each is to be answered: so often, at a temperature (0 is greedy)."""

    problems: Sequence[Problem]
    temperature: float
    samples: int


def evaluate(
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    *,
    temperature: float,
    samples: int,
    **settings: Any,
) -> EvalResult:
    """Sample ``samples`` responses a problem and grade them; as ``evaluate_together`` otherwise."""
    asked = [EvalRequest(problems, temperature, samples)]
    return evaluate_together(sampler, tokenizer, asked, **settings)[0]


def evaluate_together(
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[EvalRequest],
    *,
    max_new_tokens: int,
    stream: tuple[int, ...],
    encode: Callable[[Sequence[Problem]], Sequence[Sequence[int]]] | None = None,
    grade: Grade | None = None,
) -> list[EvalResult]:
    """Answer several sets of problems in one call of the sampler, and grade the answers.

    One call waits once for the longest response, and not once a set.

    ``stream`` holds the integers that, with the places of problem and sample, name the random
    numbers. ``encode`` turns problems into token ids (default: the tokenizer on the prompts),
    ``grade`` judges responses (default: each problem's own grader).
    """
    encode = encode or (lambda some: tokenizer([problem.prompt for problem in some])["input_ids"])
    grade = grade or (
        lambda some, texts: [p.grade(text) for p, text in zip(some, texts, strict=True)]
    )
    problems, prompts, keys, temperatures = [], [], [], []
    for one in asked:
        encoded, count = encode(one.problems), len(one.problems)
        problem = np.repeat(np.arange(count), one.samples)
        problems += [one.problems[i] for i in problem]
        prompts += [encoded[i] for i in problem]
        sample = np.tile(np.arange(one.samples), count)
        keys.append(stream_key("evaluation", *stream, problem, sample))
        temperatures += [one.temperature] * len(problem)
    answers = answer(
        sampler,
        tokenizer,
        problems,
        prompts,
        np.concatenate(keys),
        grade,
        temperatures=temperatures,
        temperature=asked[0].temperature,
        max_new_tokens=max_new_tokens,
    )
    graded = zip(problems, answers.texts, answers.verdicts, strict=True)
    samples = (Sample(*one) for one in graded)
    return [
        EvalResult(list(islice(samples, one.samples * len(one.problems))), one.samples)
        for one in asked
    ]
