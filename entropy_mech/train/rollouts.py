"""A step's rollout: which problems, sampled responses, their rewards and advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from entropy_mech.evaluation.runner import response_texts
from entropy_mech.grading.verdict import Verdict
from entropy_mech.objectives import group_advantages
from entropy_mech.problems.problem import Problem
from entropy_mech.random_streams import generator, stream_key
from entropy_mech.rollout.sampler import Sampler, SamplingRequest
from entropy_mech.train.batch import RolloutBatch, join
from entropy_mech.train.config import TrainConfig


def training_order(seed: int, step: int, size: int, prompts: int) -> np.ndarray:
    """Return the problems of a step: a window of one permutation an epoch, laid end to end.

    >>> sorted(int(i) for s in range(3) for i in training_order(1, s, 6, 2))
    [0, 1, 2, 3, 4, 5]
    """
    places = np.arange(step * prompts, (step + 1) * prompts)
    epochs = {e: generator("order", seed, int(e)).permutation(size) for e in set(places // size)}
    return np.array([epochs[place // size][place % size] for place in places])


class RolloutMaker:
    """Samples and grades; what it returns is a function of (seed, step) and the policy alone."""

    def __init__(
        self,
        config: TrainConfig,
        problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        sampler: Sampler,
    ):
        self.config, self.problems = config, problems
        self.tokenizer, self.sampler = tokenizer, sampler
        encoded = tokenizer([problem.prompt for problem in problems])
        self.prompts = [tuple(ids) for ids in encoded["input_ids"]]

    def sample(self, step: int) -> tuple[RolloutBatch, Tensor]:
        """Return P x G responses, adjacent by prompt, and which of them finished (B, bool)."""
        rollout, seed = self.config.rollout, self.config.seed
        chosen = training_order(seed, step, len(self.problems), rollout.prompts)
        problem = np.repeat(chosen, rollout.responses)
        sample = np.tile(np.arange(rollout.responses), rollout.prompts)
        keys = stream_key("sampling", seed, step, problem, sample)
        prompts = [self.prompts[i] for i in problem]
        out = self.sampler.sample(
            [SamplingRequest(p, int(key)) for p, key in zip(prompts, keys, strict=True)],
            temperature=rollout.temperature,
            max_new_tokens=rollout.max_new_tokens,
            policy_version=step * self.config.update.updates_per_rollout,
        )
        input_ids, prompt_length = join(
            prompts, out.tokens, out.response_mask, self.tokenizer.pad_token_id
        )
        blank = torch.zeros_like(out.logp_sampler)
        batch = RolloutBatch(
            input_ids=input_ids,
            prompt_length=prompt_length,
            tokens=out.tokens,
            response_mask=out.response_mask,
            problem=torch.from_numpy(problem),
            sample=torch.from_numpy(sample),
            rewards=torch.zeros(len(prompts)),
            advantages=blank,
            logp_sampler=out.logp_sampler,
            logp_old=blank,
            entropy=blank,
        )
        return batch, out.finished

    def grade(self, batch: RolloutBatch) -> tuple[RolloutBatch, list[Verdict]]:
        """Return the batch with rewards and GRPO advantages, and each response's verdict."""
        texts = response_texts(self.tokenizer, batch.tokens, batch.response_mask)
        verdicts = [
            self.problems[i].grade(text)
            for i, text in zip(batch.problem.tolist(), texts, strict=True)
        ]
        rewards = torch.tensor([verdict.reward for verdict in verdicts])
        by_row = group_advantages(
            rewards.view(-1, self.config.rollout.responses),
            correction=self.config.update.std_correction,
        ).flatten()
        advantages = torch.where(batch.response_mask, by_row.unsqueeze(1), 0.0)
        return replace(batch, rewards=rewards, advantages=advantages), verdicts
