"""The covariance between log-probability and advantage, and the tokens chosen by it.

A covariance needs a population. These functions take the tokens that they are given as the
population, so the *scope* (rollout batch, mini-batch, micro-batch) is the caller's choice; see
``entropy_mech.train.update``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entropy_mech.errors import bad_value, fraction_fix
from entropy_mech.objectives.logprobs import at_least_float32


def token_covariance(logp: Tensor, advantages: Tensor, response_mask: Tensor) -> Tensor:
    """Each token's share of the covariance, (log p - mean log p)(A - mean A) (paper, Eq. 10).

    Both means run over the N response tokens given. The mean over those tokens is the (biased)
    covariance itself. With one sequence A is constant and every value is 0.

    Args:
        logp: B x T, log-probabilities of the tokens taken, in nats.
        advantages: B x T.
        response_mask: B x T, True for response tokens.

    Returns:
        B x T, float32 or float64, detached; 0 outside the mask.

    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> logp = torch.tensor([[-1.0, -2.0], [-3.0, 9.0]])
    >>> advantages = torch.tensor([[1.0, 1.0], [-2.0, 9.0]])
    >>> token_covariance(logp, advantages, mask)   # means: -2 and 0
    tensor([[1., 0.],
            [2., 0.]])

    """
    check_shapes(response_mask, logp=logp, advantages=advantages)
    keep = response_mask
    logp, advantages = at_least_float32(logp.detach()), at_least_float32(advantages.detach())
    n = keep.sum().clamp(min=1)
    logp_mean = torch.where(keep, logp, 0.0).sum() / n
    advantage_mean = torch.where(keep, advantages, 0.0).sum() / n
    return torch.where(keep, (logp - logp_mean) * (advantages - advantage_mean), 0.0)


def group_covariance(
    logp: Tensor, advantages: Tensor, response_mask: Tensor, responses: int
) -> dict[str, Tensor]:
    """The bandit view of Fig. 8: a response is one action (paper, Eq. 9).

    With the length-normalised log-probability l(y) = mean_t log pi(y_t) and its exponential p(y),
    the biased covariance over the G responses of each prompt.

    Args:
        logp: B x T, rows of a prompt adjacent.
        advantages: B x T, constant along each row.
        response_mask: B x T.
        responses: G, with B a multiple of it.

    Returns:
        ``theorem1``: Cov(l, p A), P values; ``theorem2``: Cov(l, A), P values.

    """
    check_shapes(response_mask, logp=logp, advantages=advantages)
    length = response_mask.sum(dim=1).clamp(min=1)
    mean_logp = torch.where(response_mask, logp.detach().float(), 0.0).sum(dim=1) / length
    mean_logp = mean_logp.view(-1, responses)
    row_advantage = torch.where(response_mask, advantages.detach().float(), 0.0).sum(dim=1) / length
    row_advantage = row_advantage.view(-1, responses)

    def covariance(y: Tensor) -> Tensor:
        centred = mean_logp - mean_logp.mean(dim=1, keepdim=True)
        return (centred * (y - y.mean(dim=1, keepdim=True))).mean(dim=1)

    return {
        "theorem1": covariance(mean_logp.exp() * row_advantage),
        "theorem2": covariance(row_advantage),
    }


def selection_count(fraction: float, tokens: int, *, field: str) -> int:
    """floor(fraction * N), forgiving the rounding of products such as 0.29 * 100."""
    if not 0 <= fraction <= 1:
        raise bad_value(field, fraction, fraction_fix(fraction))
    return math.floor(fraction * tokens + 1e-9)


def select_in_band(
    covariance: Tensor,
    response_mask: Tensor,
    scores: Tensor,
    *,
    clip_fraction: float,
    cov_low: float,
    cov_high: float,
) -> Tensor:
    """Clip-Cov's tokens: floor(r N) of those in [omega_low, omega_high], at random (Eq. 11).

    Args:
        covariance: B x T, from ``token_covariance``.
        response_mask: B x T; N is its sum.
        scores: B x T, independent uniform numbers: the lowest in the band win; infinity keeps a
            token out. Scores that belong to a token rather than to its place make the choice
            independent of batching.
        clip_fraction: r, a fraction.
        cov_low: omega_low.
        cov_high: omega_high.

    Returns:
        B x T, bool. Fewer than floor(r N) where the band holds fewer.

    """
    if cov_low > cov_high:
        raise bad_value("loss.cov_low", cov_low, f"must not exceed cov_high = {cov_high:g}")
    band = response_mask & (covariance >= cov_low) & (covariance <= cov_high) & scores.isfinite()
    count = selection_count(clip_fraction, int(response_mask.sum()), field="loss.clip_fraction")
    return _lowest(torch.where(band, scores, torch.inf), min(count, int(band.sum())))


def select_largest(covariance: Tensor, response_mask: Tensor, *, penalty_fraction: float) -> Tensor:
    """KL-Cov's tokens: the floor(k N) of the largest covariance (paper, Eq. 13); B x T, bool.

    Of equal ones the first in row order is taken.
    """
    count = selection_count(
        penalty_fraction, int(response_mask.sum()), field="loss.penalty_fraction"
    )
    return _lowest(torch.where(response_mask, -covariance, torch.inf), count)


def _lowest(values: Tensor, count: int) -> Tensor:
    """Mark the ``count`` lowest entries; a stable sort, so that ties go to the first."""
    chosen = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    if count:
        chosen[values.flatten().sort(stable=True).indices[:count]] = True
    return chosen.view_as(values)


def check_shapes(response_mask: Tensor, **tensors: Tensor) -> None:
    """Raise ValueError unless all are B x T and the mask is boolean."""
    if response_mask.dtype != torch.bool:
        raise ValueError(f"response_mask is {response_mask.dtype}, not bool (True = keep)")
    for name, tensor in tensors.items():
        if tensor.shape != response_mask.shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, "
                f"response_mask {tuple(response_mask.shape)}; all are B x T"
            )
