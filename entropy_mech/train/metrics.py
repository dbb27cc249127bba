"""What is measured at every step, and accuracy on held-out problems (R of the law)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from entropy_mech.config import TrainConfig
from entropy_mech.objectives import group_covariance, token_covariance
from entropy_mech.sampling.sampler import EvalResult, Sampler, evaluate
from entropy_mech.train.rollouts import Rollout, RolloutBatch
from entropy_mech.train.tasks import Grader, Prompts, ValidationSet

# -- Metrics of a step ---------------------------------------------------------------------------


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


# -- Validation ----------------------------------------------------------------------------------


class Validation:
    """Measures the policy on each validation set, as the run or the benchmark's protocol says."""

    def __init__(
        self,
        config: TrainConfig,
        sets: Sequence[ValidationSet],
        tokenizer: PreTrainedTokenizerBase,
        sampler: Sampler,
        prompts: Prompts,
        grader: Grader,
    ):
        self.config, self.sets = config, sets
        self.tokenizer, self.sampler = tokenizer, sampler
        self.prompts, self.grader = prompts, grader

    def metrics(self, step: int, policy_version: int) -> dict[str, Any]:
        """Return the accuracies of a step; nothing where none is due."""
        if step % self.config.validation.every:
            return {}
        if self.sets[0].protocol is None:
            return self._toy(step, policy_version)
        results = {
            held_out.name: self._evaluate(
                held_out,
                step,
                policy_version,
                temperature=held_out.protocol.temperature,
                samples=held_out.protocol.samples,
            )
            for held_out in self.sets
        }
        errors = [result.standard_error for result in results.values()]
        return {
            # The unweighted mean over benchmarks, as in the paper's tables.
            "validation_accuracy": float(np.mean([r.accuracy for r in results.values()])),
            "validation_standard_error": float(np.sqrt(np.sum(np.square(errors))) / len(errors)),
            **{f"validation_accuracy_{name}": r.accuracy for name, r in results.items()},
        }

    def _toy(self, step: int, policy_version: int) -> dict[str, Any]:
        settings, (held_out,) = self.config.validation, self.sets
        sampled = self._evaluate(
            held_out,
            step,
            policy_version,
            temperature=settings.temperature,
            samples=settings.samples,
        )
        greedy = self._evaluate(held_out, step, policy_version, temperature=0.0, samples=1)
        return {
            "validation_accuracy": sampled.accuracy,
            "validation_standard_error": sampled.standard_error,
            "validation_greedy_accuracy": greedy.accuracy,
            **{
                f"validation_accuracy_{k.replace(' ', '_')}": v for k, v in sampled.by_level.items()
            },
        }

    def _evaluate(
        self,
        held_out: ValidationSet,
        step: int,
        policy_version: int,
        *,
        temperature: float,
        samples: int,
    ) -> EvalResult:
        return evaluate(
            self.sampler,
            self.tokenizer,
            held_out.problems,
            temperature=temperature,
            samples=samples,
            max_new_tokens=self.config.rollout.max_new_tokens,
            stream=(self.config.seed, step),
            policy_version=policy_version,
            encode=self.prompts.encode,
            grade=self.grader,
        )
