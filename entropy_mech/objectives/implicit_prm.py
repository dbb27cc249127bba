"""The implicit process reward model of PRIME (arXiv 2502.01456): its rewards and its loss.

A language model pi_prm is trained as an outcome classifier through beta log(pi_prm / pi_ref) of
the whole response. That the sum over tokens predicts the outcome makes each term the reward of
its token, without a label for any step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from entropy_mech.errors import bad_value
from entropy_mech.objectives.covariance import check_shapes
from entropy_mech.objectives.logprobs import at_least_float32


def implicit_process_rewards(
    logp_prm: Tensor, logp_ref: Tensor, response_mask: Tensor, *, beta: float = 0.05
) -> Tensor:
    """r_t = beta (log pi_prm(y_t) - log pi_ref(y_t)) (arXiv 2502.01456).

    Args:
        logp_prm: B x T, nats, under the implicit PRM.
        logp_ref: B x T, nats, under its frozen reference.
        response_mask: B x T.
        beta: above 0; 0.05 as released.

    Returns:
        B x T, float32 or float64, detached; 0 outside the mask.

    """
    return _log_ratio(logp_prm.detach(), logp_ref, response_mask, beta) * beta


@dataclass(frozen=True)
class PRMLoss:
    """What the implicit PRM's loss returns.

    Attributes:
        loss: scalar, differentiable with respect to ``logp_prm``.
        metrics: detached scalars, means over sequences: ``prm_accuracy``, how often the sign of
            the summed reward names the outcome (as an outcome reward model); and
            ``prm_positive_fraction``, the outcomes above 1/2, without which accuracy says little.

    """

    loss: Tensor
    metrics: dict[str, Tensor]


def implicit_prm_loss(
    logp_prm: Tensor,
    logp_ref: Tensor,
    response_mask: Tensor,
    outcomes: Tensor,
    *,
    beta: float = 0.05,
    sequence_count: int | None = None,
) -> PRMLoss:
    """Cross-entropy of sigmoid(beta sum_t log(pi_prm / pi_ref)) against the outcome.

    To split a batch give ``sequence_count``, the sequences of the whole optimizer step: loss and
    metrics of the parts then add up to those of the whole. A sequence without a token counts: it
    scores 0, a probability of 1/2.

    Args:
        logp_prm: B x T, nats, under the model being trained.
        logp_ref: B x T, nats, under its frozen reference.
        response_mask: B x T.
        outcomes: B, the outcome rewards, in [0, 1].
        beta: above 0.
        sequence_count: B of the whole optimizer step.

    >>> logp_ref = torch.log(torch.tensor([[0.5, 0.5]]))
    >>> logp_prm = torch.log(torch.tensor([[0.75, 1.0]]))      # ratio 3/2 times 2: odds 3 to 1
    >>> mask, right = torch.ones(1, 2, dtype=torch.bool), torch.tensor([1.0])
    >>> round(implicit_prm_loss(logp_prm, logp_ref, mask, right, beta=1.0).loss.exp().item(), 6)
    1.333333

    """
    if outcomes.shape != response_mask.shape[:1]:
        raise ValueError(f"outcomes has shape {tuple(outcomes.shape)}, not one a sequence")
    score = beta * _log_ratio(logp_prm, logp_ref, response_mask, beta).sum(dim=1)
    outcomes = outcomes.to(score.dtype)
    count = len(outcomes) if sequence_count is None else sequence_count
    loss = binary_cross_entropy_with_logits(score, outcomes, reduction="sum") / max(count, 1)
    right = (score.detach() > 0) == (outcomes > 0.5)
    metrics = {
        "prm_accuracy": right.to(score.dtype).sum() / max(count, 1),
        "prm_positive_fraction": (outcomes > 0.5).to(score.dtype).sum() / max(count, 1),
    }
    return PRMLoss(loss, metrics)


def _log_ratio(logp_prm: Tensor, logp_ref: Tensor, response_mask: Tensor, beta: float) -> Tensor:
    check_shapes(response_mask, logp_prm=logp_prm, logp_ref=logp_ref)
    if not beta > 0:
        raise bad_value("algorithm.prm_beta", beta, "beta scales the reward and must be above 0")
    difference = at_least_float32(logp_prm) - at_least_float32(logp_ref.detach())
    return torch.where(response_mask, difference, 0.0)
