"""Tokens of a rollout on which Listing 1 and the trainer's losses are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_mech.errors import bad_value, fraction_fix
from entropy_mech.objectives import (
    group_advantages,
    select_in_band,
    select_largest,
    token_covariance,
)

_MOVE_NATS = 0.1  # how far log-probabilities are moved, so that ratios differ from 1


@dataclass(frozen=True)
class Settings:
    """The two methods' settings; fractions in [0, 1]."""

    clip_fraction: float
    cov_low: float
    cov_high: float
    penalty_fraction: float
    penalty_coefficient: float

    def __post_init__(self):
        for name in ("clip_fraction", "penalty_fraction"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise bad_value(name, value, fraction_fix(value))


@dataclass(frozen=True)
class TokenBatch:
    """The tokens of one rollout: B x T tensors, and random numbers of the same shape.

    Attributes:
        name: where they come from.
        logp_old: under the policy that sampled, nats.
        logp_new: the same moved a little at random, as an update would.
        advantages: constant along a response.
        response_mask: True for response tokens.
        lottery: uniform in [0, 1); the lowest win where tokens are drawn.

    """

    name: str
    logp_old: Tensor
    logp_new: Tensor
    advantages: Tensor
    response_mask: Tensor
    lottery: Tensor


def token_batches(tokens: pd.DataFrame) -> list[TokenBatch]:
    """Return the rollout of each seed of ``Report.tokens()``; a made-up one where it is empty."""
    if tokens.empty:
        return [_made_up()]
    batches = []
    for seed, part in tokens.groupby("seed"):
        shape = int(part["row"].max()) + 1, int(part["position"].max()) + 1
        where = part["row"].to_numpy(), part["position"].to_numpy()
        mask = np.zeros(shape, bool)
        logp, advantages = np.zeros((2, *shape), np.float32)
        mask[where], logp[where], advantages[where] = True, part["logp"], part["advantage"]
        name = f"rollout 0, seed {seed}"
        arrays = [torch.from_numpy(array) for array in (logp, advantages, mask)]
        batches.append(_batch(name, *arrays, seed=int(seed)))
    return batches


def select(
    method: str,
    batch: TokenBatch,
    logp: Tensor,
    rows: Tensor,
    settings: Settings,
    minimum_tokens: int = 0,
) -> Tensor:
    """Return the tokens that the library chooses among ``rows``, under ``logp``: rows x T, bool.

    ``method`` is ``clip_cov`` or ``kl_cov``; the rows are the covariance's whole population.
    """
    mask = batch.response_mask[rows]
    covariance = token_covariance(logp[rows], batch.advantages[rows], mask)
    if method == "kl_cov":
        return select_largest(
            covariance,
            mask,
            penalty_fraction=settings.penalty_fraction,
            minimum_tokens=minimum_tokens,
        )
    return select_in_band(
        covariance,
        mask,
        batch.lottery[rows],
        clip_fraction=settings.clip_fraction,
        cov_low=settings.cov_low,
        cov_high=settings.cov_high,
        minimum_tokens=minimum_tokens,
    )


def all_rows(batch: TokenBatch) -> Tensor:
    """Return the places of all responses of a batch."""
    return torch.arange(len(batch.response_mask))


def flat_tokens(batch: TokenBatch) -> dict[str, Tensor]:
    """Return the N response tokens without padding, by name; ``logp_new`` takes a gradient."""
    names = ("logp_new", "logp_old", "advantages", "lottery")
    flat = {name: getattr(batch, name)[batch.response_mask].clone() for name in names}
    flat["logp_new"].requires_grad_()
    return flat


def _made_up() -> TokenBatch:
    """8 responses each to 64 prompts; random lengths, log-probabilities and rewards."""
    generator = torch.Generator().manual_seed(0)
    logp = -torch.empty(512, 12).exponential_(generator=generator)
    lengths = torch.randint(4, 13, (512, 1), generator=generator)
    rewards = (torch.rand(64, 8, generator=generator) < 0.5).float()
    advantages = group_advantages(rewards).flatten()[:, None].expand(512, 12).contiguous()
    mask = torch.arange(12) < lengths
    return _batch("made up: the profile has no runs", logp, advantages, mask, seed=0)


def _batch(name: str, logp: Tensor, advantages: Tensor, mask: Tensor, *, seed: int) -> TokenBatch:
    generator = torch.Generator().manual_seed(seed)
    move = _MOVE_NATS * torch.randn(logp.shape, generator=generator)
    lottery = torch.rand(logp.shape, generator=generator, dtype=torch.float64)
    return TokenBatch(name, logp, logp + move, advantages, mask, lottery)
