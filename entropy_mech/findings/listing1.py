"""Listing 1: Clip-Cov and KL-Cov in a few lines, to be read; the trainer's are in ``objectives``.

Each takes the N response tokens of a batch as flat tensors, without padding, and returns the loss
and the places of the tokens it touched.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_covariances(logp: Tensor, advantages: Tensor) -> Tensor:
    """Eq. 10: each token's product of deviations from the mean; N values."""
    return (logp - logp.mean()) * (advantages - advantages.mean())


def clip_cov(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    lottery: Tensor,
    *,
    clip_fraction: float,
    cov_low: float,
    cov_high: float,
) -> tuple[Tensor, Tensor]:
    """Some tokens of high covariance, drawn at random, lose their gradient."""
    covariance = token_covariances(logp_new, advantages)
    band = ((cov_low < covariance) & (covariance < cov_high)).nonzero().flatten()
    count = int(clip_fraction * len(covariance))
    touched = band[lottery[band].argsort()[:count]]  # lottery: a random number for every token

    ratio = torch.exp(logp_new - logp_old)
    loss = -torch.minimum(ratio * advantages, ratio.clamp(0, 2) * advantages)
    loss[touched] = loss[touched].detach()
    return loss.mean(), touched


def kl_cov(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    *,
    penalty_fraction: float,
    penalty_coefficient: float,
) -> tuple[Tensor, Tensor]:
    """The tokens of the highest covariance pay for moving, in either direction."""
    covariance = token_covariances(logp_new, advantages)
    count = int(penalty_fraction * len(covariance))
    touched = covariance.topk(count).indices

    loss = -torch.exp(logp_new - logp_old) * advantages
    loss[touched] = loss[touched] + penalty_coefficient * (logp_new - logp_old)[touched].abs()
    return loss.mean(), touched
