"""The policy losses, Equations 2 to 14: policy gradient, PPO clip, Clip-Cov, KL-Cov.

With the aggregation over tokens, the entropy bonus, the reference KL, importance weights, and the
controller that steers KL-Cov to a level of entropy.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.objectives.covariance import (
    check_shapes,
    held_by_clip,
    select_in_band,
    select_largest,
    token_covariance,
)
from entropy_mech.objectives.logprobs import at_least_float32

# -- Ratios without overflow ---------------------------------------------------------------------
# A probability ratio overflows float32 where its logarithm exceeds 88. Often the loss does not
# depend on it there: the advantage is 0, the clip is active, the token is dropped. Its gradient is
# then 0, but autograd multiplies that 0 by the ratio, and 0 times infinity is NaN, which spreads to
# every weight.


def saturated(value: Tensor) -> Tensor:
    """Return the value with the largest numbers of its type for the infinities; NaN stays.

    >>> saturated(torch.tensor([1.0, float("inf")])).tolist() == [1.0, torch.finfo().max]
    True
    """
    largest = torch.finfo(value.dtype).max
    return value.clamp(-largest, largest)


def saturating_exp(x: Tensor) -> Tensor:
    """exp(x), at most the largest number of its type; so is the derivative. Differentiable once."""
    return _Saturating.apply(x, torch.exp, 0)


def saturating_expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, at most the largest number of its type; as ``saturating_exp``."""
    return _Saturating.apply(x, torch.expm1, 1)


class _Saturating(torch.autograd.Function):
    """A function whose derivative is its value plus a constant."""

    @staticmethod
    def forward(ctx, x, function, constant):
        value = function(x).clamp_(max=torch.finfo(x.dtype).max)
        ctx.save_for_backward(value)
        ctx.constant = constant
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (value,) = ctx.saved_tensors
        derivative = value + ctx.constant if ctx.constant else value
        return gradient * derivative, None, None


# -- From a value a token to one number ----------------------------------------------------------

AGGREGATIONS = ("token_mean", "sequence_mean_token_mean", "sequence_mean_token_sum")


@dataclass(frozen=True)
class Aggregation:
    """How B x T values become a scalar, with the denominators of the whole optimizer step.

    - ``token_mean``: the mean over all response tokens (the paper's released code, DAPO).
    - ``sequence_mean_token_mean``: the mean over responses of the mean over their tokens (GRPO's
      original form, and the paper's text for the entropy): a token of a short response weighs
      more.
    - ``sequence_mean_token_sum``: the mean over responses of the sum over their tokens, divided
      by one fixed length (Dr. GRPO, arXiv 2503.20783): no weight depends on a length. This is
      verl's ``seq-mean-token-sum-norm`` from verl 0.8 on; up to 0.7 verl divided by the length
      alone, not by the number of responses, so its loss was that many times larger.

    The counts are those of the whole step, over all its micro-batches and ranks: then the parts
    of a batch add up to the whole, however it is split. A count that is not given is counted in
    the tensors of the call; responses without a token do not count.

    Attributes:
        method: one of ``AGGREGATIONS``.
        token_count: response tokens of the optimizer step.
        sequence_count: responses of the optimizer step that have a token.
        normaliser_tokens: the fixed length of ``sequence_mean_token_sum``.

    Raises:
        UserError: unknown method; ``sequence_mean_token_sum`` without its length.

    >>> mask = torch.tensor([[True, False], [True, True]])
    >>> values = torch.tensor([[3.0, 9.0], [1.0, 2.0]])
    >>> Aggregation()(values, mask).item()      # (3 + 1 + 2) / 3
    2.0
    >>> Aggregation("sequence_mean_token_mean")(values, mask).item()     # (3 + 1.5) / 2
    2.25
    >>> Aggregation("sequence_mean_token_sum", normaliser_tokens=4)(values, mask).item()
    0.75

    """

    method: str = "token_mean"
    token_count: int | None = None
    sequence_count: int | None = None
    normaliser_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown method, and a sum without its length."""
        if self.method not in AGGREGATIONS:
            raise unknown_name("loss.aggregation", self.method, AGGREGATIONS)
        if self.method == "sequence_mean_token_sum" and not (self.normaliser_tokens or 0) > 0:
            fix = "sequence_mean_token_sum divides by a fixed length; give it, in tokens"
            raise bad_value("loss.normaliser_tokens", self.normaliser_tokens, fix)

    def __call__(
        self, values: Tensor, response_mask: Tensor, dropped: Tensor | None = None
    ) -> Tensor:
        """Return the scalar. ``dropped`` tokens add 0 and still count in the denominators."""
        keep = response_mask if dropped is None else response_mask & ~dropped
        kept = torch.where(keep, at_least_float32(values), 0.0)
        if self.method == "token_mean":
            return kept.sum() / self.tokens(response_mask)
        lengths = torch.count_nonzero(response_mask, dim=1)
        count = self.sequence_count
        sequences = max(int(torch.count_nonzero(lengths)), 1) if count is None else count
        if self.method == "sequence_mean_token_mean":
            return (kept.sum(dim=1) / lengths.clamp(min=1)).sum() / sequences
        return kept.sum() / (sequences * self.normaliser_tokens)

    def tokens(self, response_mask: Tensor) -> int:
        """Return the tokens of the optimizer step: the denominator of every token mean."""
        if self.token_count is not None:
            return self.token_count
        return max(int(torch.count_nonzero(response_mask)), 1)


TOKEN_MEAN = Aggregation()


# -- What all policy losses share ----------------------------------------------------------------


@dataclass(frozen=True)
class PolicyLoss:
    """What a loss returns.

    Attributes:
        loss: scalar, differentiable with respect to ``logp_new``.
        selected_mask: B x T, bool: the tokens that the method touched (PPO: those whose gradient
            the clip removed; Clip-Cov and KL-Cov: those chosen by covariance).
        metrics: detached scalars; token means unless the name ends in ``_max``.

    """

    loss: Tensor
    selected_mask: Tensor
    metrics: dict[str, Tensor]


class PolicyBatch:
    """The tensors of one call, with w = exp(logp_new - logp_old); B x T.

    Log-ratio and advantage are 0 outside the mask, so that padding can hold anything, and half
    precision is widened. A ratio beyond the largest number of its type is that number: where the
    advantage is 0 or the clip is active value and gradient are then those of Eq. 4, and not 0 times
    infinity. ``log_ratio_clamp`` cuts the log-ratio off at plus and minus itself, beyond which a
    token has no gradient.
    """

    def __init__(
        self,
        logp_new: Tensor,
        logp_old: Tensor,
        advantages: Tensor,
        mask: Tensor,
        log_ratio_clamp: float | None = None,
    ):
        check_shapes(mask, logp_new=logp_new, logp_old=logp_old, advantages=advantages)
        self.response_mask = mask
        self.minus_advantages = -torch.where(mask, at_least_float32(advantages), 0.0)
        log_ratio = at_least_float32(logp_new) - at_least_float32(logp_old)
        self.log_ratio = torch.where(mask, clamped(log_ratio, log_ratio_clamp), 0.0)
        self.ratio = saturating_exp(self.log_ratio)

    def surrogate(self) -> Tensor:
        """Return -w A."""
        return self.ratio * self.minus_advantages

    def clipped_surrogate(self, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
        """Return PPO's negated surrogate and where its clip is active."""
        for name, value in (("clip_low", clip_low), ("clip_high", clip_high)):
            if not value >= 0:
                raise bad_value(f"loss.{name}", value, "a clip range is at least 0")
        held = held_by_clip(self.ratio.detach(), -self.minus_advantages, clip_low, clip_high)
        bounded = self.ratio.clamp(1 - clip_low, 1 + clip_high) * self.minus_advantages
        return torch.where(held, bounded, self.surrogate()), held


def clamped(log_ratio: Tensor, bound: float | None) -> Tensor:
    """Return the log-ratio clamped to [-bound, bound]; unchanged where ``bound`` is None."""
    if bound is None:
        return log_ratio
    if not bound > 0:
        raise bad_value("loss.log_ratio_clamp", bound, "give more than 0; verl's is 20")
    return log_ratio.clamp(-bound, bound)


def policy_loss(
    batch: PolicyBatch,
    token_loss: Tensor,
    selected_mask: Tensor,
    aggregation: Aggregation,
    token_weights: Tensor | None,
    *,
    dropped: Tensor | None = None,
    clipped: Tensor | None = None,
) -> PolicyLoss:
    """Return the ``PolicyLoss`` of ``token_loss`` (B x T): mean, tokens touched and metrics.

    Where ``dropped`` (B x T, bool) a token's loss is 0, in value and gradient.
    """
    mask, ratio = batch.response_mask, batch.ratio.detach()
    check_shapes(mask, selected_mask=selected_mask)
    if token_weights is not None:
        check_shapes(mask, token_weights=token_weights)
        token_loss = token_loss * torch.where(mask, token_weights.detach(), 1.0)
    tokens = aggregation.tokens(mask)
    aggregation = replace(aggregation, token_count=tokens)

    def share(chosen: Tensor) -> Tensor:
        return torch.count_nonzero(chosen & mask).to(ratio.dtype) / tokens

    # Outside the mask the log-ratio is 0 and the ratio 1.
    padding = mask.numel() - torch.count_nonzero(mask)
    metrics = {
        "selected_fraction": share(selected_mask),
        "ratio_mean": saturated((ratio.sum() - padding) / tokens),
        "ratio_max": torch.where(mask, ratio, 0.0).max() if mask.numel() else ratio.sum(),
        # k3: unbiased and never negative
        "kl_old_new_nats": saturated((ratio - batch.log_ratio.detach()).sub_(1).sum() / tokens),
    }
    if clipped is not None:
        metrics["ppo_clipped_fraction"] = share(clipped)
    return PolicyLoss(aggregation(token_loss, mask, dropped), selected_mask, metrics)


# -- The losses ----------------------------------------------------------------------------------

KL_ESTIMATORS = ("abs_log_ratio", "k3")


class InertPenaltyWarning(UserWarning):
    """KL-Cov was asked for where the policy has not moved, so its penalty has no gradient."""


def policy_gradient_loss(
    logp_new: Tensor,  # B x T
    logp_old: Tensor,  # B x T
    advantages: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    log_ratio_clamp: float | None = None,
    aggregation: Aggregation = TOKEN_MEAN,
    token_weights: Tensor | None = None,  # B x T
) -> PolicyLoss:
    """-A log pi, the on-policy gradient without a surrogate (Eq. 2; used for Fig. 8).

    ``logp_old`` is for the metrics alone.
    """
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    none = torch.zeros_like(response_mask)
    return policy_loss(batch, batch.minus_advantages * logp_new, none, aggregation, token_weights)


def ppo_clip_loss(
    logp_new: Tensor,  # B x T
    logp_old: Tensor,  # B x T
    advantages: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    log_ratio_clamp: float | None = None,
    aggregation: Aggregation = TOKEN_MEAN,
    token_weights: Tensor | None = None,  # B x T
) -> PolicyLoss:
    """PPO's clipped surrogate, -min(w A, clip(w, 1 - low, 1 + high) A) (paper, Eq. 4).

    ``w = exp(logp_new - logp_old)``. Clip-higher is the same with ``clip_high=0.28`` (section
    4.3). Where the clip is active the gradient is exactly 0.

    >>> logp_old = torch.log(torch.tensor([[0.5]]))
    >>> logp_new = torch.log(torch.tensor([[0.75]]))     # ratio 1.5, clipped to 1.2
    >>> out = ppo_clip_loss(logp_new, logp_old, torch.tensor([[2.0]]), torch.tensor([[True]]))
    >>> round(out.loss.item(), 6), out.selected_mask.item()
    (-2.4, True)
    """
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    surrogate, clipped = batch.clipped_surrogate(clip_low, clip_high)
    return policy_loss(batch, surrogate, clipped & response_mask, aggregation, token_weights)


def clip_cov_loss(
    logp_new: Tensor,  # B x T
    logp_old: Tensor,  # B x T
    advantages: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    clip_fraction: float = 2e-4,
    cov_low: float = 1.0,
    cov_high: float = 5.0,
    clip_low: float = 1.0,
    clip_high: float = 1.0,
    minimum_tokens: int = 0,
    generator: torch.Generator | None = None,
    selected_mask: Tensor | None = None,  # B x T
    log_ratio_clamp: float | None = None,
    aggregation: Aggregation = TOKEN_MEAN,
    token_weights: Tensor | None = None,  # B x T
) -> PolicyLoss:
    """Clip-Cov: the policy gradient of some tokens of high covariance is removed (Eqs. 11, 12).

    floor(clip_fraction * N) tokens with covariance in [cov_low, cov_high] are drawn uniformly
    with ``generator`` (torch's own where None); their term is 0 in value and gradient, and they
    still count in the mean. As in the released code a token that the PPO clip holds already is
    not drawn. The released scripts set the PPO clip beside the method to 1 (ratios up to 2),
    which is the default here; Eq. 12 has none. The released code draws at least one token:
    ``minimum_tokens=1``.

    N and the covariance come from the tokens given, under ``logp_new``; to choose among more
    tokens than those of this call give ``selected_mask`` instead.
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
    masks = {"dropped": selected_mask, "clipped": clipped}
    return policy_loss(batch, surrogate, selected_mask, aggregation, token_weights, **masks)


def kl_cov_loss(
    logp_new: Tensor,  # B x T
    logp_old: Tensor,  # B x T
    advantages: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    penalty_fraction: float = 2e-3,
    penalty_coefficient: float = 1.0,
    kl_estimator: str = "abs_log_ratio",
    minimum_tokens: int = 0,
    selected_mask: Tensor | None = None,  # B x T
    log_ratio_clamp: float | None = None,
    aggregation: Aggregation = TOKEN_MEAN,
    token_weights: Tensor | None = None,  # B x T
) -> PolicyLoss:
    """KL-Cov: the floor(k N) tokens of the largest covariance pay a KL penalty (Eqs. 13, 14).

    ``-w A + beta KL`` on those tokens and ``-w A`` on the others, with no PPO clip. N, the
    covariance and ``selected_mask`` as in ``clip_cov_loss``.

    Args:
        logp_new: under the policy being trained.
        logp_old: under the policy that sampled.
        advantages: of the tokens.
        response_mask: True for response tokens.
        penalty_fraction: k, a fraction. (The authors' code takes percent.)
        penalty_coefficient: beta.
        kl_estimator: ``abs_log_ratio``, |log w|, as in Listing 1 and the released code; or
            ``k3``, w - 1 - log w, unbiased for KL(pi_old || pi) under samples of pi_old.
        minimum_tokens: tokens chosen at the least: 0, or 1 as released.
        selected_mask: tokens chosen elsewhere, on a wider scope.
        log_ratio_clamp: where the log-ratio is cut off; None: nowhere.
        aggregation: how token losses become one number, with the counts of the optimizer step.
        token_weights: factors of each token's loss.

    Warns:
        InertPenaltyWarning: no chosen token has moved. Both penalties have gradient 0 at ratio
        1, so on the first update after sampling the method is plain policy gradient.

    """
    if kl_estimator not in KL_ESTIMATORS:
        fix = f"give one of {', '.join(KL_ESTIMATORS)}"
        raise bad_value("loss.kl_estimator", kl_estimator, fix)
    if not penalty_coefficient >= 0:
        raise bad_value("loss.penalty_coefficient", penalty_coefficient, "beta is at least 0")
    batch = PolicyBatch(logp_new, logp_old, advantages, response_mask, log_ratio_clamp)
    if selected_mask is None:
        selected_mask = select_largest(
            token_covariance(logp_new, advantages, response_mask),
            response_mask,
            penalty_fraction=penalty_fraction,
            minimum_tokens=minimum_tokens,
        )
    check_shapes(response_mask, selected_mask=selected_mask)
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
    absolute = kl_estimator == "abs_log_ratio"
    kl = log_ratio.abs() if absolute else saturating_expm1(log_ratio) - log_ratio
    token_loss = batch.surrogate()
    token_loss.index_put_(places, (penalty_coefficient * kl).to(token_loss.dtype), accumulate=True)
    return policy_loss(batch, token_loss, selected_mask, aggregation, token_weights)


# -- Entropy bonus (Fig. 9) and reference KL (Fig. 10) -------------------------------------------

REFERENCE_KL_ESTIMATORS = ("k1", "k2", "k3")


def with_entropy_bonus(
    out: PolicyLoss,
    entropy_nats: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    coefficient: float,
    aggregation: Aggregation = TOKEN_MEAN,
) -> PolicyLoss:
    """L - alpha H: reward the policy's entropy (section 4.1, Fig. 9).

    Args:
        out: the loss so far.
        entropy_nats: differentiable; one without a gradient would change the value of the loss
            and not its gradient, and is refused.
        response_mask: True for response tokens.
        coefficient: alpha; the paper tries 0.0001 to 0.01.
        aggregation: the same as the loss's, with the counts of the whole optimizer step.

    Returns:
        ``out`` with the term added and the metric ``entropy_bonus_nats``, H before alpha.

    """
    check_shapes(response_mask, entropy_nats=entropy_nats)
    if not coefficient >= 0:
        raise bad_value("loss.entropy_bonus", coefficient, "alpha is at least 0")
    if out.loss.requires_grad and not entropy_nats.requires_grad:
        raise ValueError("entropy_nats has no gradient: make it outside of torch.no_grad")
    return _added(out, -coefficient, aggregation(entropy_nats, response_mask), "entropy_bonus_nats")


def with_reference_kl(
    out: PolicyLoss,
    logp_new: Tensor,  # B x T
    logp_ref: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    coefficient: float,
    estimator: str = "k3",
    log_ratio_clamp: float | None = None,
    aggregation: Aggregation = TOKEN_MEAN,
) -> PolicyLoss:
    """L + beta KL(pi || pi_ref), estimated at the tokens taken (section 4.1, Fig. 10).

    Args:
        out: the loss so far.
        logp_new: nats, differentiable.
        logp_ref: nats, under the reference policy.
        response_mask: True for response tokens.
        coefficient: beta; the paper tries 0.001 to 0.1.
        estimator: as in ``reference_kl_per_token``; the paper does not name its own, the released
            code's is k3.
        log_ratio_clamp: as in ``reference_kl_per_token``.
        aggregation: the same as the loss's, with the counts of the whole optimizer step.

    Returns:
        ``out`` with the term added and the metric ``reference_kl_nats``, before beta.

    """
    if not coefficient >= 0:
        raise bad_value("loss.reference_kl", coefficient, "beta is at least 0")
    kl = reference_kl_per_token(
        logp_new, logp_ref, response_mask, estimator=estimator, log_ratio_clamp=log_ratio_clamp
    )
    return _added(out, coefficient, aggregation(kl, response_mask), "reference_kl_nats")


def reference_kl_per_token(
    logp_new: Tensor,  # B x T
    logp_ref: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    estimator: str = "k3",
    log_ratio_clamp: float | None = None,
) -> Tensor:
    """Estimate KL(pi || pi_ref) from a token that pi took; with d = log pi - log pi_ref.

    - ``k1``, d: unbiased, of either sign. Its gradient has expectation zero.
    - ``k2``, d^2 / 2: biased, and its gradient is that of KL(pi || pi_ref) on average.
    - ``k3``, exp(-d) - 1 + d: unbiased and never negative ("low variance"); on average its
      gradient is that of KL(pi_ref || pi).

    This holds for tokens sampled by the current policy; after several updates on a rollout it
    holds nearly. ``log_ratio_clamp`` cuts d off at plus and minus itself (20 in verl, which
    cuts k3 off at 10 besides); None, the default, nowhere.

    Returns:
        B x T, nats, differentiable; 0 outside the mask.

    Raises:
        UserError: unknown estimator.

    """
    check_shapes(response_mask, logp_new=logp_new, logp_ref=logp_ref)
    difference = at_least_float32(logp_new) - at_least_float32(logp_ref.detach())
    difference = clamped(difference, log_ratio_clamp)
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


# -- Importance weights for a sampler that differs from the trainer ------------------------------


def truncated_importance_weights(
    logp_old: Tensor,  # B x T
    logp_sampler: Tensor,  # B x T
    response_mask: Tensor,  # B x T
    *,
    cap: float = 2.0,
) -> Tensor:
    """min(pi_old / pi_sampler, cap) for each token: truncated importance sampling.

    An inference engine samples with other kernels than the trainer computes with, so that the
    responses come from another policy than ``logp_old`` says. Every loss takes these weights as
    ``token_weights``. The paper has no such correction. Truncation keeps the variance finite and
    biases towards 0 what the sampler makes rarer than the trainer.

    Args:
        logp_old: nats, under the trainer's policy at the time of sampling.
        logp_sampler: nats, as the sampler reported them.
        response_mask: True for response tokens.
        cap: the largest weight, above 0.

    Returns:
        B x T, float32 or float64, detached; 1 outside the mask.

    >>> logp_old = torch.log(torch.tensor([[0.5, 0.9]]))
    >>> logp_sampler = torch.log(torch.tensor([[0.625, 0.1]]))
    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> truncated_importance_weights(logp_old, logp_sampler, mask).round(decimals=6)
    tensor([[0.8000, 2.0000]])

    """
    check_shapes(response_mask, logp_old=logp_old, logp_sampler=logp_sampler)
    if not cap > 0:
        raise bad_value("loss.importance_cap", cap, "the largest weight must be above 0")
    gap = at_least_float32(logp_old.detach()) - at_least_float32(logp_sampler.detach())
    return torch.where(response_mask, gap, 0.0).exp().clamp(max=cap).where(response_mask, 1.0)


# -- KL-Cov steered to a level of entropy (beyond the paper) -------------------------------------
# The paper leaves open whether there is an optimal entropy (section 4.5). Its penalty is fixed, and
# the entropy at which a run ends follows from it. Here the entropy is set and the penalty adjusted
# to reach it, so that runs that differ in entropy alone can be compared.

_SMALLEST_ENTROPY_NATS = 1e-6  # below it the logarithm says nothing more


@dataclass(frozen=True)
class ControlState:
    """The controller's state, two numbers, which go into the checkpoint and the metrics.

    Attributes:
        value: the setting that is steered, for the next rollout.
        error: log(target / entropy) at the last rollout, cut off at ``error_limit``.

    """

    value: float
    error: float


def steer(
    settings: Any,
    state: ControlState | None,
    entropy_nats: float,
    *,
    start: float,
    minimum: float,
    maximum: float,
) -> ControlState:
    """One step of a proportional-integral controller on the logarithms of entropy and setting.

    With e = log(target / entropy), cut off at +- ``error_limit``, and v the setting:

        log v <- log v + gain e + proportional_gain (e - e_before),  within [minimum, maximum]

    Entropy below the target raises the penalty. The integral part (``gain``) removes a lasting
    error. The proportional part reacts to a change at once and damps: a penalty acts on the *rate*
    at which entropy falls, so an integral controller alone would oscillate about the target. The
    rule is in velocity form: the clipped setting itself is stored, not an integral, so there is no
    windup at a bound, and the setting leaves the bound as soon as its increment changes sign.

    Args:
        settings: target, gains and limit: ``config.objective.EntropyTargetConfig``.
        state: of the rollout before; None on the first, which has no change of error.
        entropy_nats: the policy's entropy at this rollout, nats a token.
        start: the setting's own value, from which control starts; above 0.
        minimum: the setting's lowest value, above 0.
        maximum: its highest.

    Returns:
        The next state, a function of the arguments alone: a resumed run continues unchanged.

    Raises:
        UserError: bounds out of order or not above 0.

    """
    if not 0 < minimum <= start <= maximum:
        raise bad_value(
            "loss.entropy_target.minimum",
            minimum,
            f"0 < minimum <= start = {start:g} <= maximum = {maximum:g} must hold",
        )
    if not math.isfinite(entropy_nats):
        raise bad_value("entropy_nats", entropy_nats, "give a finite entropy to steer by")
    error = math.log(settings.target_nats / max(entropy_nats, _SMALLEST_ENTROPY_NATS))
    error = min(max(error, -settings.error_limit), settings.error_limit)
    value, before = (start, error) if state is None else (state.value, state.error)
    move = settings.gain * error + settings.proportional_gain * (error - before)
    return ControlState(min(max(value * math.exp(move), minimum), maximum), error)
