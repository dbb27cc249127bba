"""Terms added to a policy loss: the entropy bonus (Fig. 9) and the reference KL (Fig. 10)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.objectives.aggregation import Aggregation
from entropy_mech.objectives.covariance import check_shapes
from entropy_mech.objectives.policy_loss import PolicyLoss, clamped
from entropy_mech.objectives.saturating import saturating_expm1

REFERENCE_KL_ESTIMATORS = ("k1", "k2", "k3")
TOKEN_MEAN = Aggregation()


def with_entropy_bonus(
    out: PolicyLoss,
    entropy_nats: Tensor,
    response_mask: Tensor,
    *,
    coefficient: float,
    aggregation: Aggregation = TOKEN_MEAN,
) -> PolicyLoss:
    """L - alpha H: reward the policy's entropy (section 4.1, Fig. 9).

    Args:
        out: the loss so far.
        entropy_nats: B x T, differentiable: an entropy that was made without a gradient would
            change the loss's value and teach nothing, and is refused.
        response_mask: B x T.
        coefficient: alpha; the paper tries 0.0001 to 0.01.
        aggregation: the same as the loss's, with the counts of the whole optimizer step.

    Returns:
        ``out`` with the term added and the metric ``entropy_bonus_nats``, H before alpha.

    """
    check_shapes(response_mask, entropy_nats=entropy_nats)
    if coefficient < 0:
        raise bad_value("loss.entropy_bonus", coefficient, "alpha is at least 0")
    if out.loss.requires_grad and not entropy_nats.requires_grad:
        raise ValueError("entropy_nats has no gradient: make it outside of torch.no_grad")
    return _added(out, -coefficient, aggregation(entropy_nats, response_mask), "entropy_bonus_nats")


def with_reference_kl(
    out: PolicyLoss,
    logp_new: Tensor,
    logp_ref: Tensor,
    response_mask: Tensor,
    *,
    coefficient: float,
    estimator: str = "k3",
    log_ratio_clamp: float | None = None,
    aggregation: Aggregation = TOKEN_MEAN,
) -> PolicyLoss:
    """L + beta KL(pi || pi_ref), estimated at the tokens taken (section 4.1, Fig. 10).

    Args:
        out: the loss so far.
        logp_new: B x T, nats, differentiable.
        logp_ref: B x T, nats, under the reference policy.
        response_mask: B x T.
        coefficient: beta; the paper tries 0.001 to 0.1.
        estimator: as in ``reference_kl_per_token``; the paper does not name its own, the released
            code's is k3.
        log_ratio_clamp: as in ``reference_kl_per_token``.
        aggregation: the same as the loss's, with the counts of the whole optimizer step.

    Returns:
        ``out`` with the term added and the metric ``reference_kl_nats``, before beta.

    """
    if coefficient < 0:
        raise bad_value("loss.reference_kl", coefficient, "beta is at least 0")
    kl = reference_kl_per_token(
        logp_new, logp_ref, response_mask, estimator=estimator, log_ratio_clamp=log_ratio_clamp
    )
    return _added(out, coefficient, aggregation(kl, response_mask), "reference_kl_nats")


def reference_kl_per_token(
    logp_new: Tensor,
    logp_ref: Tensor,
    response_mask: Tensor,
    *,
    estimator: str = "k3",
    log_ratio_clamp: float | None = None,
) -> Tensor:
    """Estimate KL(pi || pi_ref) from a token that pi took; with d = log pi - log pi_ref.

    - ``k1``, d: unbiased, of either sign. As a loss it teaches nothing: its gradient is 0 on
      average.
    - ``k2``, d^2 / 2: biased, and its gradient is that of KL(pi || pi_ref) on average.
    - ``k3``, exp(-d) - 1 + d: unbiased and never negative ("low variance"); on average its
      gradient is that of KL(pi_ref || pi).

    All of it where the tokens are the current policy's own; after several updates of a rollout
    they are nearly so. ``log_ratio_clamp`` cuts d off at plus and minus itself (20 in verl, which
    cuts k3 off at 10 besides); None, the default, nowhere.

    Returns:
        B x T, nats, differentiable; 0 outside the mask.

    Raises:
        UserError: unknown estimator.

    """
    check_shapes(response_mask, logp_new=logp_new, logp_ref=logp_ref)
    difference = clamped(logp_new - logp_ref.detach(), log_ratio_clamp)
    d = torch.where(response_mask, difference, 0.0)
    match estimator:
        case "k1":
            return d
        case "k2":
            return d.square() / 2
        case "k3":
            return saturating_expm1(-d) + d
    raise unknown_name("loss.reference_kl_estimator", estimator, REFERENCE_KL_ESTIMATORS)


def _added(out: PolicyLoss, factor: float, term: Tensor, metric: str) -> PolicyLoss:
    metrics = {**out.metrics, metric: term.detach()}
    return replace(out, loss=out.loss + factor * term, metrics=metrics)
