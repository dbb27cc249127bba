"""What is measured at every step, each under one name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entropy_mech.objectives import group_covariance, token_covariance
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.rollouts import Rollout


def rollout_metrics(batch: RolloutBatch, rollout: Rollout) -> dict[str, Any]:
    """Measure a rollout before the update; entropy over ``batch``, the rest over all."""
    mask, sampled = batch.response_mask, rollout.batch
    length = mask.sum(dim=1)
    counts = Counter(verdict.name for verdict in rollout.verdicts)
    return {
        # Eq. 5 with each of the two denominators that text and code use.
        "entropy_nats": batch.entropy[mask].mean().item(),
        "entropy_response_mean_nats": (batch.entropy.sum(dim=1) / length).mean().item(),
        "reward_mean": sampled.rewards.mean().item(),
        "response_length_mean": sampled.response_mask.sum(dim=1).float().mean().item(),
        "unfinished_fraction": (~rollout.finished).float().mean().item(),
        "no_answer_fraction": counts["no_answer"] / len(rollout.verdicts),
        "grader_error_fraction": (counts["error"] + counts["timeout"]) / len(rollout.verdicts),
        "generation_rounds": rollout.rounds,
    }


def logp_gap(batch: RolloutBatch) -> dict[str, float]:
    """How far the sampler's log-probabilities are from the trainer's own, in nats."""
    gap = (batch.logp_sampler - batch.logp_old)[batch.response_mask].abs()
    return {"logp_gap_mean_nats": gap.mean().item(), "logp_gap_max_nats": gap.max().item()}


def covariance_metrics(batch: RolloutBatch, responses: int) -> dict[str, Any]:
    """Covariances of the sequences that are trained on; null where there are none."""
    names = [
        f"{name}_accuracy_{k}_of_{responses}" for name in _THEOREMS for k in range(1, responses)
    ]
    metrics: dict[str, Any] = dict.fromkeys(["token_covariance", *_THEOREMS, *names])
    if not len(batch):
        return metrics
    mask = batch.response_mask
    metrics["token_covariance"] = (
        token_covariance(batch.logp_old, batch.advantages, mask)[mask].mean().item()
    )
    right = batch.rewards.view(-1, responses).sum(dim=1)
    by_prompt = group_covariance(batch.logp_old, batch.advantages, mask, responses)
    for name, theorem in zip(_THEOREMS, ("theorem1", "theorem2"), strict=True):
        values = by_prompt[theorem]
        metrics[name] = values.mean().item()
        for k in range(1, responses):
            chosen = values[right == k]
            if len(chosen):
                metrics[f"{name}_accuracy_{k}_of_{responses}"] = chosen.mean().item()
    return metrics


_THEOREMS = ("group_covariance_theorem1", "group_covariance_theorem2")


def token_record(batch: RolloutBatch, touched: Tensor | None) -> dict[str, np.ndarray]:
    """Return what is kept of a rollout's trained tokens for later looking at."""
    covariance = token_covariance(batch.logp_old, batch.advantages, batch.response_mask)
    selected = torch.zeros_like(batch.response_mask) if touched is None else touched
    tensors = {
        "problem": batch.problem,
        "sample": batch.sample,
        "reward": batch.rewards,
        "tokens": batch.tokens,
        "response_mask": batch.response_mask,
        "logp": batch.logp_old,
        "entropy_nats": batch.entropy,
        "advantage": batch.advantages,
        "covariance": covariance,
        "selected_mask": selected,
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}
