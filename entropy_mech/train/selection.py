"""Which tokens Clip-Cov and KL-Cov touch, among those of a batch given."""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor

from entropy_mech.config import ClipCov, KLCov
from entropy_mech.objectives import select_in_band, select_largest, token_covariance
from entropy_mech.random_streams import stream_key, uniforms
from entropy_mech.train.rollouts import RolloutBatch


def select_tokens(
    loss: ClipCov | KLCov, logp: Tensor, batch: RolloutBatch, seed: int, step: int
) -> Tensor:
    """Choose the method's tokens among all of ``batch``, by Eq. 10 under ``logp``; B x T, bool."""
    scores = None if isinstance(loss, KLCov) else token_scores(batch, seed, step)
    return choose_tokens(loss, logp, batch.logp_old, batch.advantages, batch.response_mask, scores)


def choose_tokens(
    loss: ClipCov | KLCov,
    logp: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    scores: Tensor | None = None,
) -> Tensor:
    """Choose the method's tokens among those given; all B x T, the result bool.

    ``scores`` are Clip-Cov's draw (``select_in_band``); KL-Cov draws nothing.
    """
    covariance = token_covariance(logp, advantages, response_mask)
    if isinstance(loss, KLCov):
        return select_largest(
            covariance,
            response_mask,
            penalty_fraction=loss.penalty_fraction,
            minimum_tokens=loss.minimum_tokens,
        )
    ratio = (logp - logp_old).exp()
    # The PPO clip holds those already.
    too_far = torch.where(advantages > 0, ratio > 1 + loss.clip_high, ratio < 1 - loss.clip_low)
    return select_in_band(
        covariance,
        response_mask,
        scores,
        clip_fraction=loss.clip_fraction,
        cov_low=loss.cov_low,
        cov_high=loss.cov_high,
        minimum_tokens=loss.minimum_tokens,
        excluded=too_far,
    )


def token_scores(batch: RolloutBatch, seed: int, step: int) -> Tensor:
    """Uniform numbers that belong to tokens, not to places: B x T, float64."""
    problem, sample = batch.problem.cpu().numpy(), batch.sample.cpu().numpy()
    return named_scores(problem, sample, batch.tokens, seed, step)


def named_scores(problem: NDArray, sample: NDArray, tokens: Tensor, seed: int, step: int) -> Tensor:
    """Return uniform numbers for the places of ``tokens`` (B x T), named by row and position.

    ``problem`` and ``sample`` (B, integers) name the rows.
    """
    keys = stream_key("clip-cov", seed, step, problem, sample)
    positions = torch.arange(tokens.shape[1]).numpy()
    return torch.from_numpy(uniforms(keys[:, None], positions)).to(tokens.device)
