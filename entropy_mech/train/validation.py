"""Accuracy on held-out problems during training: R of the law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from entropy_mech.evaluation.runner import EvalResult, evaluate
from entropy_mech.rollout.sampler import Sampler
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.tasks import Grader, Prompts, ValidationSet


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
