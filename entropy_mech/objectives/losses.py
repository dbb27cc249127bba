"""Policy losses: plain policy gradient, PPO clip, Clip-Cov and KL-Cov.

Every loss is a mean of the paper's (negated) objective, by default over tokens; an ``Aggregation``
names another. To split a batch over several backward passes give the counts of the whole optimizer
step in it (or ``token_count``, for the token mean): losses and metrics of the parts then add up
to those of the whole (``*_max`` metrics combine by maximum).

Each loss takes ``token_weights``, B x T, which multiply the loss of a token: truncated importance
sampling (``truncated_importance_weights``). They carry no gradient.

Each takes ``log_ratio_clamp`` too: the log-ratio is cut off at plus and minus this before anything
is made of it, and beyond it a token has no gradient. The paper's text has none (None); verl's PPO
loss, and others after it, cut off at 20. A ratio beyond the largest float counts as that number, so
without the setting too a token whose gradient is 0 has gradient 0, however large its ratio.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from entropy_mech.errors import bad_value
from entropy_mech.objectives.aggregation import Aggregation
from entropy_mech.objectives.covariance import select_in_band, select_largest, token_covariance
from entropy_mech.objectives.policy_loss import (
    PolicyBatch,
    PolicyLoss,
    aggregation_of,
    policy_loss,
)
from entropy_mech.objectives.saturating import saturating_expm1

KL_ESTIMATORS = ("abs_log_ratio", "k3")


class InertPenaltyWarning(UserWarning):
    """KL-Cov was asked for where the policy has not moved, so its penalty has no gradient."""


def policy_gradient_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    log_ratio_clamp: float | None = None,
    token_count: int | None = None,
    aggregation: Aggregation | None = None,
    token_weights: Tensor | None = None,
) -> PolicyLoss:
    """-A log pi, the on-policy gradient without a surrogate (Eq. 2; used for Fig. 8).

    Shapes: all B x T. ``logp_old`` only feeds the metrics.
    """
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    none = torch.zeros_like(response_mask)
    mean = aggregation_of(aggregation, token_count)
    return policy_loss(batch, batch.minus_advantages * logp_new, none, mean, token_weights)


def ppo_clip_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    log_ratio_clamp: float | None = None,
    token_count: int | None = None,
    aggregation: Aggregation | None = None,
    token_weights: Tensor | None = None,
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
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    surrogate, clipped = batch.clipped_surrogate(clip_low, clip_high)
    mean = aggregation_of(aggregation, token_count)
    return policy_loss(batch, surrogate, clipped & response_mask, mean, token_weights)


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
    minimum_tokens: int = 0,
    generator: torch.Generator | None = None,
    selected_mask: Tensor | None = None,
    log_ratio_clamp: float | None = None,
    token_count: int | None = None,
    aggregation: Aggregation | None = None,
    token_weights: Tensor | None = None,
) -> PolicyLoss:
    """Clip-Cov: the policy gradient of some tokens of high covariance is removed (Eqs. 11, 12).

    floor(clip_fraction * N) tokens with covariance in [cov_low, cov_high] are drawn uniformly
    with ``generator`` (torch's own where None); their term is 0 in value and gradient, and they
    still count in the mean. As in the released code a token that the PPO clip holds already is
    not drawn. The released scripts set the PPO clip beside the method to 1 (ratios up to 2),
    which is the default here; Eq. 12 has none. The released code draws at least one token:
    ``minimum_tokens=1``.

    Shapes: all B x T. N and the covariance come from the tokens given, under ``logp_new``; for
    a wider scope than this call give ``selected_mask`` (B x T) instead.
    """
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    surrogate, clipped = batch.clipped_surrogate(clip_low, clip_high)
    if selected_mask is None:
        selected_mask = select_in_band(
            token_covariance(logp_new, advantages, response_mask),
            response_mask,
            clip_fraction=clip_fraction,
            cov_low=cov_low,
            cov_high=cov_high,
            minimum_tokens=minimum_tokens,
            excluded=clipped,
            generator=generator,
        )
    mean = aggregation_of(aggregation, token_count)
    return policy_loss(
        batch,
        surrogate,
        selected_mask,
        mean,
        token_weights,
        dropped=selected_mask,
        clipped=clipped,
    )


def kl_cov_loss(
    logp_new: Tensor,
    logp_old: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    penalty_fraction: float = 2e-3,
    penalty_coefficient: float = 1.0,
    kl_estimator: str = "abs_log_ratio",
    minimum_tokens: int = 0,
    selected_mask: Tensor | None = None,
    log_ratio_clamp: float | None = None,
    token_count: int | None = None,
    aggregation: Aggregation | None = None,
    token_weights: Tensor | None = None,
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
        minimum_tokens: tokens chosen at the least: 0, or 1 as released.
        selected_mask: tokens chosen elsewhere, on a wider scope.
        log_ratio_clamp: where the log-ratio is cut off; None: nowhere.
        token_count: tokens of the whole optimizer step.
        aggregation: another mean than that over tokens, with its own counts.
        token_weights: B x T, multiply the loss of a token.

    Warns:
        InertPenaltyWarning: no chosen token has moved. Both penalties have gradient 0 at ratio
        1, so on the first update after sampling the method is plain policy gradient.

    """
    if kl_estimator not in KL_ESTIMATORS:
        raise bad_value(
            "loss.kl_estimator", kl_estimator, f"give one of {', '.join(KL_ESTIMATORS)}"
        )
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    if selected_mask is None:
        selected_mask = select_largest(
            token_covariance(logp_new, advantages, response_mask),
            response_mask,
            penalty_fraction=penalty_fraction,
            minimum_tokens=minimum_tokens,
        )
    # A few tokens in a thousand: the penalty is computed for them alone.
    places = (selected_mask & response_mask).nonzero(as_tuple=True)
    log_ratio = batch.log_ratio[places]
    if len(log_ratio) and not log_ratio.any():
        warnings.warn(
            "KL-Cov does nothing here: logp_new equals logp_old on every chosen token, where the "
            "penalty has gradient 0; it acts from the second update of a rollout on",
            InertPenaltyWarning,
            stacklevel=2,
        )
    if kl_estimator == "abs_log_ratio":
        kl = log_ratio.abs()
    else:
        kl = saturating_expm1(log_ratio) - log_ratio
    token_loss = batch.surrogate()
    token_loss.index_put_(places, penalty_coefficient * kl, accumulate=True)
    mean = aggregation_of(aggregation, token_count)
    return policy_loss(batch, token_loss, selected_mask, mean, token_weights)
