"""What every sampler takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


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
