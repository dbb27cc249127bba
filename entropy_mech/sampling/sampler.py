"""The samplers' interface, and sampling, decoding and grading responses to problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
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
    response does not depend on what else is sampled with it or in which order.
    """

    prompt_tokens: tuple[int, ...]
    key: int


@dataclass(frozen=True)
class Completions:
    """Sampled responses, row i for request i.

    Attributes:
        tokens: B x T, int64, padded on the right; the end-of-sequence token belongs to a response.
        response_mask: B x T, bool.
        logp_sampler: B x T, float32, nats, as the sampler computed it, at its temperature.
        finished: B, bool; False where the token limit cut the response.
        policy_version: the number of optimizer steps behind the weights that sampled.
        entropy: B x T, float32, nats, of the policy (temperature 1) where each token was drawn;
            None from a sampler that does not see all logits, or was not asked.

    """

    tokens: Tensor
    response_mask: Tensor
    logp_sampler: Tensor
    finished: Tensor
    policy_version: int
    entropy: Tensor | None = None


class SamplerError(UserError):
    """A sampler's engine was lost, was silent for too long, or failed. The message names it."""

    exit_code = 1


class StaleWeightsError(SamplerError):
    """A sampler has other weights than the trainer."""


class Sampler(Protocol):
    """Anything that samples responses from the current policy."""

    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; ``temperature`` 0 takes the likeliest token."""
        ...


class StreamingSampler(Protocol):
    """A sampler that gives responses as they finish."""

    def stream(
        self, requests: Sequence[SamplingRequest], **settings: Any
    ) -> Iterator[tuple[Sequence[int], Completions]]:
        """Yield places among the requests, and their responses; settings as for ``sample``."""
        ...


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
    **settings: Any,
) -> Answers:
    """Sample one response a problem, decode and grade it: in rollouts, validation, evaluation.

    ``prompts`` are the problems as token ids, ``keys`` name the random streams, ``settings`` are
    the sampler's: temperature, max_new_tokens, policy_version.
    """
    out = sampler.sample(requests_of(prompts, keys), **settings)
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
    prompts: Sequence[Sequence[int]], keys: NDArray[np.uint64]
) -> list[SamplingRequest]:
    """Return the requests of prompts (token ids) and their streams."""
    return [SamplingRequest(tuple(p), int(key)) for p, key in zip(prompts, keys, strict=True)]


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
    if not 1 <= k <= samples:
        raise bad_value("k", k, f"pass@k of {samples} samples: give 1 to {samples}")
    wrong, drawn = samples - np.asarray(right), np.arange(k)
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


def evaluate(
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    *,
    temperature: float,
    samples: int,
    max_new_tokens: int,
    stream: tuple[int, ...],
    policy_version: int = 0,
    encode: Callable[[Sequence[Problem]], Sequence[Sequence[int]]] | None = None,
    grade: Grade | None = None,
) -> EvalResult:
    """Sample ``samples`` responses a problem and grade them.

    ``temperature`` 0 is greedy. ``stream`` holds the integers that, with the places of problem
    and sample, name the random numbers. ``encode`` turns problems into token ids (default: the
    tokenizer on the prompts), ``grade`` judges responses (default: each problem's own grader).
    """
    encode = encode or (lambda asked: tokenizer([problem.prompt for problem in asked])["input_ids"])
    grade = grade or (
        lambda asked, texts: [p.grade(text) for p, text in zip(asked, texts, strict=True)]
    )
    encoded = encode(problems)
    problem = np.repeat(np.arange(len(problems)), samples)
    asked = [problems[i] for i in problem]
    answers = answer(
        sampler,
        tokenizer,
        asked,
        [encoded[i] for i in problem],
        stream_key("evaluation", *stream, problem, np.tile(np.arange(samples), len(problems))),
        grade,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        policy_version=policy_version,
    )
    graded = zip(asked, answers.texts, answers.verdicts, strict=True)
    return EvalResult([Sample(*one) for one in graded], samples)
