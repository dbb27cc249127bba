"""The probe: whether a sampler holds the trainer's weights, asked of its log-probabilities.

A version number says what a sampler was told; the probe says what it does. It finds weights that
never arrived, arrived in the wrong place, or were not taken over (a tied head's packed copy), and
keys and values that outlived the weights they were computed with. It cannot find an update smaller
than the sampler's own rounding: that is about 1e-5 nats in float32, but 0.1 in bfloat16, where one
step of learning rate 5e-7 may move less. Against a sync that was skipped stand the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from entropy_mech.random_streams import generator, stream_key
from entropy_mech.sampling.sampler import Sampler, SamplingRequest, StaleWeightsError

# vLLM keeps a prompt's keys and values in blocks: of 16 tokens on a GPU, of 128 on a CPU.
_PROBE_TOKENS = 160
_FLOAT32_TOLERANCE, _BFLOAT16_TOLERANCE = 1e-3, 0.5


class ProbedSampler(Sampler, Protocol):
    """What the probe needs of a sampler."""

    policy_version: int | None

    def logprobs(self, prompt_tokens: Sequence[int], response_tokens: Sequence[int]) -> Tensor:
        """Return log-probabilities of given response tokens at temperature 1."""
        ...


def probe_prompts(
    vocabulary: int, max_model_len: int, *, seed: int = 0, count: int = 3
) -> list[tuple[int, ...]]:
    """Return token sequences of one length, the same for the same arguments.

    They are longer than a block of the prefix cache where the model's length allows it.

    >>> [len(prompt) for prompt in probe_prompts(50, 64)]
    [63, 63, 63]
    """
    length = min(_PROBE_TOKENS, max_model_len - 1)
    draws = generator("probe", seed).integers(0, vocabulary, (count, length))
    return [tuple(row) for row in draws.tolist()]


def probe_gap(
    sampler: ProbedSampler,
    logp_of: Callable[[Tensor], Tensor],
    prompts: Sequence[Sequence[int]],
) -> float:
    """Return the largest gap in nats between a sampler's and the trainer's log-probabilities.

    Two things are compared: the log-probabilities of the prompts' own tokens, computed anew, and
    that of one greedy token after each, which reads the prefix cache. A gap that is not a number
    counts as infinite.

    Args:
        sampler: it is asked at the policy version that it holds.
        logp_of: the trainer's function: token rows (B x L, int64) to the log-probabilities at
            temperature 1 of all tokens but the first, given those before (B x (L - 1)).
        prompts: of one length, as ``probe_prompts`` makes them.

    """
    given = torch.stack([sampler.logprobs(prompt[:1], prompt[1:]) for prompt in prompts])
    greedy = sampler.sample(
        [SamplingRequest(tuple(p), int(stream_key("probe", i))) for i, p in enumerate(prompts)],
        temperature=0.0,
        max_new_tokens=1,
        policy_version=sampler.policy_version,
    )
    logp_sampler = torch.cat([given, greedy.logp_sampler.cpu()], dim=1)
    rows = torch.cat([torch.tensor(prompts), greedy.tokens.cpu()], dim=1)
    logp_trainer = logp_of(rows).detach().float().cpu()
    return float((logp_sampler - logp_trainer).abs().nan_to_num(nan=float("inf")).max())


def probe_tolerance(dtype: torch.dtype, asked: float | None = None) -> float:
    """Return the gap to let pass, in nats: what was asked for, or the default of the dtype."""
    if asked is not None:
        return asked
    return _FLOAT32_TOLERANCE if dtype == torch.float32 else _BFLOAT16_TOLERANCE


def check_probe(gap: float, tolerance: float, peer: str) -> None:
    """Refuse a sampler that does not agree with the trainer.

    Raises:
        StaleWeightsError: ``gap`` exceeds ``tolerance``; names ``peer``.

    """
    if not gap <= tolerance:
        raise StaleWeightsError(
            f"{peer}: its log-probabilities differ from the trainer's by {gap:.3g} nats, more than "
            f"the {tolerance:.3g} of sampler.probe_tolerance; it does not hold the weights that "
            "were synced"
        )
