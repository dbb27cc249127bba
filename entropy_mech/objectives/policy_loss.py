"""What all policy losses share: their tensors, their record, and how tokens become one number."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entropy_mech.errors import bad_value
from entropy_mech.objectives.aggregation import Aggregation
from entropy_mech.objectives.covariance import check_shapes
from entropy_mech.objectives.saturating import saturated, saturating_exp


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

    The log-ratio is 0 outside the mask, so that padding can hold anything finite. A ratio beyond
    the largest number of its type is that number: where the advantage is 0 or the clip is active
    value and gradient are then those of Eq. 4, and not 0 times infinity. ``log_ratio_clamp`` cuts
    the log-ratio off at plus and minus itself, beyond which a token has no gradient.
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
        self.minus_advantages = -advantages
        self.log_ratio = torch.where(mask, clamped(logp_new - logp_old, log_ratio_clamp), 0.0)
        self.ratio = saturating_exp(self.log_ratio)

    def surrogate(self) -> Tensor:
        """Return -w A."""
        return self.ratio * self.minus_advantages

    def clipped_surrogate(self, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
        """Return PPO's negated surrogate and where its clip is active."""
        for name, value in (("clip_low", clip_low), ("clip_high", clip_high)):
            if value < 0:
                raise bad_value(f"loss.{name}", value, "a clip range is at least 0")
        plain = self.surrogate()
        held = self.ratio.clamp(1 - clip_low, 1 + clip_high) * self.minus_advantages
        return torch.maximum(plain, held), held > plain


def clamped(log_ratio: Tensor, bound: float | None) -> Tensor:
    """Return the log-ratio cut off at plus and minus ``bound``; as it is where there is none."""
    if bound is None:
        return log_ratio
    if not bound > 0:
        raise bad_value("loss.log_ratio_clamp", bound, "give more than 0; verl's is 20")
    return log_ratio.clamp(-bound, bound)


def aggregation_of(aggregation: Aggregation | None, token_count: int | None) -> Aggregation:
    """Return the aggregation asked for: the token mean, over ``token_count``, where none is."""
    if aggregation is None:
        return Aggregation(token_count=token_count)
    if token_count is not None:
        raise ValueError("give token_count in the aggregation, or alone")
    return aggregation


def policy_loss(
    batch: PolicyBatch,
    token_loss: Tensor,
    selected_mask: Tensor,
    mean: Aggregation,
    token_weights: Tensor | None,
    *,
    dropped: Tensor | None = None,
    clipped: Tensor | None = None,
) -> PolicyLoss:
    """Return the record of ``token_loss`` (B x T): its mean, the tokens touched, the metrics.

    Where ``dropped`` (B x T, bool) a token's loss is 0, in value and gradient.
    """
    mask, ratio = batch.response_mask, batch.ratio.detach()
    if token_weights is not None:
        check_shapes(mask, token_weights=token_weights)
        token_loss = token_loss * torch.where(mask, token_weights.detach(), 1.0)
    if mean.token_count is None:
        mean = replace(mean, token_count=mean.tokens(mask))
    tokens = mean.token_count

    def share(chosen: Tensor) -> Tensor:
        return torch.count_nonzero(chosen & mask).to(ratio.dtype) / tokens

    # Outside the mask the log-ratio is 0 and the ratio 1.
    padding = mask.numel() - torch.count_nonzero(mask)
    metrics = {
        "selected_fraction": share(selected_mask),
        "ratio_mean": saturated((ratio.sum() - padding) / tokens),
        "ratio_max": torch.where(mask, ratio, 0.0).max(),
        # k3: unbiased and never negative
        "kl_old_new_nats": saturated((ratio - batch.log_ratio.detach()).sub_(1).sum() / tokens),
    }
    if clipped is not None:
        metrics["ppo_clipped_fraction"] = share(clipped)
    return PolicyLoss(mean(token_loss, mask, dropped), selected_mask, metrics)
