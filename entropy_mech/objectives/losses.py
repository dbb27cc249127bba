"""Policy losses: plain policy gradient, PPO clip, Clip-Cov and KL-Cov.

Every loss is the token mean of the paper's (negated) objective. To split a batch over several
backward passes, give ``token_count``, the tokens of the whole optimizer step: losses and
metrics of the parts then add up to those of the whole (``*_max`` metrics combine by maximum).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from entropy_mech.errors import bad_value
from entropy_mech.objectives.covariance import (
    check_shapes,
    select_in_band,
    select_largest,
    token_covariance,
)

KL_ESTIMATORS = ("abs_log_ratio", "k3")


class InertPenaltyWarning(UserWarning):
    """KL-Cov was asked for where the policy has not moved, so its penalty has no gradient."""


@dataclass(frozen=True)
class PolicyLoss:
    """What a loss returns.

    Attributes:
        loss: scalar, token mean, differentiable with respect to ``logp_new``.
        selected_mask: B x T, bool: the tokens that the method touched (PPO: those whose gradient
            the clip removed; Clip-Cov and KL-Cov: those chosen by covariance).
        metrics: detached scalars; token means unless the name ends in ``_max``.

    """

    loss: Tensor
    selected_mask: Tensor
    metrics: dict[str, Tensor]


def policy_gradient_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    token_count: int | None = None,
) -> PolicyLoss:
    """-A log pi, the on-policy gradient without a surrogate (Eq. 2; used for Fig. 8).

    Shapes: all B x T. ``logp_old`` only feeds the metrics.
    """
    ratio = _ratio(logp_new, logp_old, advantages, response_mask)
    none = torch.zeros_like(response_mask)
    return _record(-advantages * logp_new, none, ratio, response_mask, token_count)


def ppo_clip_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    token_count: int | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate, -min(w A, clip(w, 1 - low, 1 + high) A) (paper, Eq. 4).

    ``w = exp(logp_new - logp_old)``. Clip-higher is the same with ``clip_high=0.28`` (section
    4.3). Shapes: all B x T. Where the clip is active the gradient is exactly 0.

    >>> logp_old = torch.log(torch.tensor([[0.5]]))
    >>> logp_new = torch.log(torch.tensor([[0.75]]))     # ratio 1.5, clipped to 1.2
    >>> out = ppo_clip_loss(logp_new, logp_old, torch.tensor([[2.0]]), torch.tensor([[True]]))
    >>> round(out.loss.item(), 6), out.selected_mask.item()
    (-2.4, True)
    """
    ratio = _ratio(logp_new, logp_old, advantages, response_mask)
    surrogate, clipped = _clipped_surrogate(ratio, advantages, clip_low, clip_high)
    return _record(surrogate, clipped & response_mask, ratio, response_mask, token_count)


def clip_cov_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip_fraction: float = 2e-4,
    cov_low: float = 1.0,
    cov_high: float = 5.0,
    clip_low: float = 1.0,
    clip_high: float = 1.0,
    generator: torch.Generator | None = None,
    selected_mask: Tensor | None = None,
    token_count: int | None = None,
) -> PolicyLoss:
    """Clip-Cov: the policy gradient of some tokens of high covariance is removed (Eqs. 11, 12).

    floor(clip_fraction * N) tokens with covariance in [cov_low, cov_high] are drawn uniformly
    with ``generator`` (torch's own where None); their term is 0 in value and gradient, and they
    still count in the mean. As in the released code a token that the PPO clip holds already is
    not drawn. The released scripts set the PPO clip beside the method to 1 (ratios up to 2),
    which is the default here; Eq. 12 has none.

    Shapes: all B x T. N and the covariance come from the tokens given, under ``logp_new``; for
    a wider scope than this call give ``selected_mask`` (B x T) instead.
    """
    ratio = _ratio(logp_new, logp_old, advantages, response_mask)
    surrogate, clipped = _clipped_surrogate(ratio, advantages, clip_low, clip_high)
    if selected_mask is None:
        covariance = token_covariance(logp_new, advantages, response_mask)
        # In CPU memory whatever the device, so that one seed names one choice everywhere.
        scores = torch.rand(response_mask.shape, generator=generator, dtype=torch.float64)
        selected_mask = select_in_band(
            covariance,
            response_mask,
            torch.where(clipped, torch.inf, scores.to(logp_new.device)),
            clip_fraction=clip_fraction,
            cov_low=cov_low,
            cov_high=cov_high,
        )
    kept = torch.where(selected_mask, 0.0, surrogate)
    return _record(kept, selected_mask, ratio, response_mask, token_count, clipped)


def kl_cov_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    penalty_fraction: float = 2e-3,
    penalty_coefficient: float = 1.0,
    kl_estimator: str = "abs_log_ratio",
    selected_mask: Tensor | None = None,
    token_count: int | None = None,
) -> PolicyLoss:
    """KL-Cov: the floor(k N) tokens of the largest covariance pay a KL penalty (Eqs. 13, 14).

    ``-w A + beta KL`` on those tokens and ``-w A`` on the others, with no PPO clip. Shapes: all
    B x T; scope and ``selected_mask`` as in ``clip_cov_loss``.

    Args:
        logp_new: under the policy being trained.
        logp_old: under the policy that sampled.
        advantages: B x T.
        response_mask: True for response tokens.
        penalty_fraction: k, a fraction. (The authors' code takes percent.)
        penalty_coefficient: beta.
        kl_estimator: ``abs_log_ratio``, |log w|, as in Listing 1 and the released code; or
            ``k3``, w - 1 - log w, unbiased for KL(pi_old || pi) under samples of pi_old.
        selected_mask: tokens chosen elsewhere, on a wider scope.
        token_count: tokens of the whole optimizer step.

    Warns:
        InertPenaltyWarning: no chosen token has moved. Both penalties have gradient 0 at ratio
        1, so on the first update after sampling the method is plain policy gradient.

    """
    if kl_estimator not in KL_ESTIMATORS:
        raise bad_value(
            "loss.kl_estimator", kl_estimator, f"give one of {', '.join(KL_ESTIMATORS)}"
        )
    ratio = _ratio(logp_new, logp_old, advantages, response_mask)
    if selected_mask is None:
        covariance = token_covariance(logp_new, advantages, response_mask)
        selected_mask = select_largest(covariance, response_mask, penalty_fraction=penalty_fraction)
    log_ratio = logp_new - logp_old
    if selected_mask.any() and not (log_ratio.detach()[selected_mask] != 0).any():
        warnings.warn(
            "KL-Cov does nothing here: logp_new equals logp_old on every chosen token, where the "
            "penalty has gradient 0; it acts from the second update of a rollout on",
            InertPenaltyWarning,
            stacklevel=2,
        )
    kl = log_ratio.abs() if kl_estimator == "abs_log_ratio" else ratio - 1 - log_ratio
    penalised = torch.where(selected_mask, penalty_coefficient * kl, 0.0)
    return _record(
        -ratio * advantages + penalised, selected_mask, ratio, response_mask, token_count
    )


def _ratio(logp_new: Tensor, logp_old: Tensor, advantages: Tensor, response_mask: Tensor) -> Tensor:
    """exp(logp_new - logp_old), 1 outside the mask, so that padding can hold anything finite."""
    check_shapes(response_mask, logp_new=logp_new, logp_old=logp_old, advantages=advantages)
    return torch.where(response_mask, logp_new - logp_old, 0.0).exp()


def _clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float):
    """Return PPO's negated surrogate and where its clip is active, both B x T."""
    for name, value in (("clip_low", clip_low), ("clip_high", clip_high)):
        if value < 0:
            raise bad_value(f"loss.{name}", value, "a clip range is at least 0")
    plain = -ratio * advantages
    held = -ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    return torch.maximum(plain, held), (held > plain).detach()


def _record(
    token_loss: Tensor,
    selected_mask: Tensor,
    ratio: Tensor,
    response_mask: Tensor,
    token_count: int | None,
    clipped: Tensor | None = None,
) -> PolicyLoss:
    count = token_count if token_count is not None else max(int(response_mask.sum()), 1)

    def token_mean(values: Tensor) -> Tensor:
        return torch.where(response_mask, values, 0.0).sum() / count

    w = ratio.detach()
    metrics = {
        "selected_fraction": token_mean(selected_mask.to(w.dtype)),
        "ratio_mean": token_mean(w),
        "ratio_max": torch.where(response_mask, w, 0.0).max(),
        "kl_old_new_nats": token_mean(w - 1 - w.log()),  # k3: unbiased and never negative
    }
    if clipped is not None:
        metrics["ppo_clipped_fraction"] = token_mean(clipped.to(w.dtype))
    return PolicyLoss(token_mean(token_loss), selected_mask, metrics)
