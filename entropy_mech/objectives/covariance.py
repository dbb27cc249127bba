"""The covariance between log-probability and advantage, and the tokens chosen by it.

A covariance needs a population. These functions take the tokens that they are given as the
population, so the caller chooses the *scope* (rollout batch, mini-batch, micro-batch): see
``entropy_mech.train.update``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from entropy_mech.errors import bad_value, fraction_fix
from entropy_mech.objectives.logprobs import at_least_float32
from entropy_mech.random_streams import stream_key, uniforms


def check_shapes(response_mask: Tensor, **tensors: Tensor) -> None:
    """Raise ValueError unless all are tensors, B x T, and the masks boolean."""
    for name, tensor in {"response_mask": response_mask, **tensors}.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is of type {type(tensor).__name__}: give a tensor, B x T")
        if name.endswith("mask") and tensor.dtype != torch.bool:
            raise ValueError(f"{name} is {tensor.dtype}, not bool (True = keep)")
        if tensor.shape != response_mask.shape or tensor.ndim != 2:
            of_mask = f", response_mask {tuple(response_mask.shape)}" * (name != "response_mask")
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}{of_mask}; all are B x T")


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
    n = torch.count_nonzero(response_mask).clamp(min=1)
    # In place: at a million tokens new memory costs more than the arithmetic.
    covariance = torch.where(response_mask, at_least_float32(logp.detach()), 0.0)
    covariance -= covariance.sum() / n
    advantages = torch.where(response_mask, at_least_float32(advantages.detach()), 0.0)
    advantages -= advantages.sum() / n
    covariance *= advantages
    return covariance.masked_fill_(~response_mask, 0.0)


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
    if responses < 1 or len(logp) % responses:
        raise ValueError(f"{len(logp)} rows are no multiple of responses = {responses}")
    length = response_mask.sum(dim=1).clamp(min=1)

    def by_response(values: Tensor) -> Tensor:
        total = torch.where(response_mask, at_least_float32(values.detach()), 0.0).sum(dim=1)
        return (total / length).view(-1, responses)

    def centred(values: Tensor) -> Tensor:
        return values - values.mean(dim=1, keepdim=True)

    mean_logp, advantage = by_response(logp), by_response(advantages)
    theorems = {"theorem1": mean_logp.exp() * advantage, "theorem2": advantage}
    return {name: (centred(mean_logp) * centred(y)).mean(dim=1) for name, y in theorems.items()}


# -- Choosing tokens -----------------------------------------------------------------------------


def choose_tokens(
    loss: Any,
    logp: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    scores: Tensor | None = None,
) -> Tensor:
    """Choose the method's tokens among those given, by Eq. 10 under ``logp``.

    ``loss`` is a section ``clip_cov`` or ``kl_cov`` of ``entropy_mech.config.objective``;
    ``scores`` are Clip-Cov's draw (``select_in_band``), KL-Cov draws nothing. All are B x T, the
    result is bool.
    """
    covariance = token_covariance(logp, advantages, response_mask)
    names = ("clip_fraction", "cov_low", "cov_high", "penalty_fraction", "minimum_tokens")
    settings = {name: getattr(loss, name) for name in names if hasattr(loss, name)}
    if loss.method == "kl_cov":
        return select_largest(covariance, response_mask, **settings)
    ratio = (logp - logp_old).exp()
    held = held_by_clip(ratio, advantages, loss.clip_low, loss.clip_high)
    return select_in_band(covariance, response_mask, scores, excluded=held, **settings)


def named_scores(problem: NDArray, sample: NDArray, tokens: Tensor, seed: int, step: int) -> Tensor:
    """Return a uniform number for each token, B x T, float64, whatever the order of the rows.

    It depends on ``seed``, ``step``, the row's ``problem`` and ``sample`` (B, integers) and the
    position in the response.
    """
    keys = stream_key("clip-cov", seed, step, problem, sample)
    positions = torch.arange(tokens.shape[1]).numpy()
    return torch.from_numpy(uniforms(keys[:, None], positions)).to(tokens.device)


def held_by_clip(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Return where PPO's clip takes a token's gradient away; B x T, bool.

    That is above 1 + clip_high where the advantage is positive and below 1 - clip_low where it is
    negative. At advantage 0 there is no gradient to take: such a token is not held, as in the
    released code, and Clip-Cov may choose it.
    """
    above = (advantages > 0) & (ratio > 1 + clip_high)
    return above | ((advantages < 0) & (ratio < 1 - clip_low))


def select_in_band(
    covariance: Tensor,
    response_mask: Tensor,
    scores: Tensor | None = None,
    *,
    clip_fraction: float,
    cov_low: float,
    cov_high: float,
    minimum_tokens: int = 0,
    excluded: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Clip-Cov's tokens: floor(r N) of those in [omega_low, omega_high], at random (Eq. 11).

    Args:
        covariance: B x T, from ``token_covariance``.
        response_mask: B x T; N is its sum.
        scores: B x T, independent uniform numbers: the lowest in the band are chosen; infinity
            excludes a token. Scores that are a function of the token, not of its place in the
            batch, make the choice independent of batching. None draws them with ``generator``.
        clip_fraction: r, a fraction.
        cov_low: omega_low.
        cov_high: omega_high.
        minimum_tokens: tokens at the least, where the band has them: 0, or 1 as released.
        excluded: B x T, True for tokens that are not to be chosen.
        generator: of a CPU; torch's own where None.

    Returns:
        B x T, bool. Fewer than floor(r N) where the band holds fewer.

    """
    check_shapes(response_mask, covariance=covariance)
    if not cov_low <= cov_high:
        raise bad_value("loss.cov_low", cov_low, f"must not exceed cov_high = {cov_high:g}")
    band = response_mask & (covariance >= cov_low) & (covariance <= cov_high)
    if excluded is not None:
        band &= ~excluded
    if scores is not None:
        band &= scores < torch.inf
    places = band.flatten().nonzero().squeeze(1)
    count = _count(clip_fraction, response_mask, minimum_tokens, field="loss.clip_fraction")
    if count < len(places):
        if scores is None:
            # In CPU memory whatever the device, so that one seed names one choice everywhere.
            drawn = torch.rand(len(places), generator=generator, dtype=torch.float64)
        else:
            drawn = scores.flatten()[places]
        places = places[_lowest(drawn.to(places.device), count)]
    return _mask_of(places, response_mask)


def select_largest(
    covariance: Tensor, response_mask: Tensor, *, penalty_fraction: float, minimum_tokens: int = 0
) -> Tensor:
    """KL-Cov's tokens: the floor(k N) of the largest covariance (paper, Eq. 13); B x T, bool.

    Of equal ones the first in row order is taken. ``minimum_tokens`` as in ``select_in_band``.
    """
    check_shapes(response_mask, covariance=covariance)
    count = _count(penalty_fraction, response_mask, minimum_tokens, field="loss.penalty_fraction")
    values = torch.where(response_mask, covariance, -torch.inf).neg_().flatten()
    return _mask_of(_lowest(values, count), response_mask)


def _count(fraction: float, response_mask: Tensor, minimum_tokens: int, *, field: str) -> int:
    """floor(fraction * N), forgiving the rounding of products such as 0.29 * 100."""
    if not 0 <= fraction <= 1:
        raise bad_value(field, fraction, fraction_fix(fraction))
    tokens = int(torch.count_nonzero(response_mask))
    return min(max(math.floor(fraction * tokens + 1e-9), minimum_tokens), tokens)


def _lowest(values: Tensor, count: int) -> Tensor:
    """Return the indices of the ``count`` lowest of a flat tensor; of equal ones the first."""
    if not count:
        return torch.zeros(0, dtype=torch.long, device=values.device)
    # Of values equal to the last, top-k takes any; here the first in order are taken.
    lowest, places = values.topk(count, largest=False, sorted=False)
    last = lowest.max()
    below = places[lowest < last]
    ties = (values == last).nonzero().squeeze(1)
    return torch.cat([below, ties[: count - len(below)]])


def _mask_of(places: Tensor, like: Tensor) -> Tensor:
    chosen = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    return chosen.index_fill_(0, places, True).view_as(like)
