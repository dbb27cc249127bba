"""Correction for a sampler whose probabilities are not exactly the trainer's."""

from __future__ import annotations

import torch
from torch import Tensor

from entropy_mech.errors import bad_value
from entropy_mech.objectives.covariance import check_shapes
from entropy_mech.objectives.logprobs import at_least_float32


def truncated_importance_weights(
    logp_old: Tensor, logp_sampler: Tensor, response_mask: Tensor, *, cap: float = 2.0
) -> Tensor:
    """min(pi_old / pi_sampler, cap) for each token: truncated importance sampling.

    An inference engine samples with other kernels than the trainer computes with, so that the
    responses come from another policy than ``logp_old`` says. Every loss takes these weights as
    ``token_weights``. The paper has no such correction. Truncation keeps the variance finite and
    biases towards 0 what the sampler makes rarer than the trainer.

    Args:
        logp_old: B x T, nats, under the trainer's policy at the time of sampling.
        logp_sampler: B x T, nats, as the sampler reported them.
        response_mask: B x T.
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
