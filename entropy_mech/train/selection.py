"""Which tokens Clip-Cov and KL-Cov touch, among those of a batch given."""

from __future__ import annotations

import torch
from torch import Tensor

from entropy_mech.objectives import select_in_band, select_largest, token_covariance
from entropy_mech.random_streams import stream_key, uniforms
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import ClipCov, KLCov


def select_tokens(
    loss: ClipCov | KLCov, logp: Tensor, batch: RolloutBatch, seed: int, step: int
) -> Tensor:
    """Choose the method's tokens among all of ``batch``, by Eq. 10 under ``logp``; B x T, bool."""
    covariance = token_covariance(logp, batch.advantages, batch.response_mask)
    if isinstance(loss, KLCov):
        return select_largest(
            covariance,
            batch.response_mask,
            penalty_fraction=loss.penalty_fraction,
            minimum_tokens=loss.minimum_tokens,
        )
    ratio = (logp - batch.logp_old).exp()
    # The PPO clip holds those already.
    too_far = torch.where(
        batch.advantages > 0, ratio > 1 + loss.clip_high, ratio < 1 - loss.clip_low
    )
    return select_in_band(
        covariance,
        batch.response_mask,
        token_scores(batch, seed, step),
        clip_fraction=loss.clip_fraction,
        cov_low=loss.cov_low,
        cov_high=loss.cov_high,
        minimum_tokens=loss.minimum_tokens,
        excluded=too_far,
    )


def token_scores(batch: RolloutBatch, seed: int, step: int) -> Tensor:
    """Uniform numbers that belong to tokens, not to places: B x T, float64."""
    problem, sample = batch.problem.cpu().numpy(), batch.sample.cpu().numpy()
    keys = stream_key("clip-cov", seed, step, problem, sample)
    positions = torch.arange(batch.tokens.shape[1]).numpy()
    return torch.from_numpy(uniforms(keys[:, None], positions)).to(batch.tokens.device)
