"""A step's rollout: which problems, sampled responses, and their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from entropy_mech.evaluation.runner import response_texts
from entropy_mech.grading.verdict import Verdict
from entropy_mech.objectives import mixed_outcome_groups
from entropy_mech.problems.problem import Problem
from entropy_mech.random_streams import generator, stream_key
from entropy_mech.rollout.sampler import Sampler, SamplingRequest
from entropy_mech.train.batch import RolloutBatch, concatenate, join
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.tasks import Grader, Prompts


def training_order(seed: int, start: int, count: int, size: int) -> np.ndarray:
    """Return the problems at places ``start`` on: one permutation an epoch, laid end to end.

    >>> sorted(int(i) for s in range(3) for i in training_order(1, 2 * s, 2, 6))
    [0, 1, 2, 3, 4, 5]
    """
    places = np.arange(start, start + count)
    epochs = {e: generator("order", seed, int(e)).permutation(size) for e in set(places // size)}
    return np.array([epochs[place // size][place % size] for place in places])


@dataclass(frozen=True)
class Rollout:
    """What a step sampled.

    Attributes:
        batch: all B responses, those of a prompt adjacent, with rewards.
        trained: B, bool: rows of the prompts that are trained on; of none with a verdict
            ``error``, which is no reward.
        verdicts: B.
        finished: B, bool; False where the token limit cut a response.
        rounds: how often prompts were drawn.
        cursor: the place in the training order to go on from.

    """

    batch: RolloutBatch
    trained: Tensor
    verdicts: list[Verdict]
    finished: Tensor
    rounds: int
    cursor: int


class RolloutMaker:
    """Samples and grades: a function of (seed, step, cursor) and the policy alone."""

    def __init__(
        self,
        config: TrainConfig,
        problems: Sequence[Problem],
        tokenizer: PreTrainedTokenizerBase,
        sampler: Sampler,
        prompts: Prompts,
        grader: Grader,
    ):
        self.config, self.tokenizer, self.sampler = config, tokenizer, sampler
        self.problems, self.prompts = prompts.short_enough(problems)
        self.grader = grader

    def make(self, step: int, cursor: int, policy_version: int) -> Rollout:
        """Sample until as many prompts are kept as the rollout has, or the rounds are used up."""
        settings = self.config.rollout
        parts: list[tuple[RolloutBatch, Tensor]] = []
        verdicts: list[Verdict] = []
        kept: list[Tensor] = []
        for number in range(settings.max_generation_rounds):
            batch, finished = self._sample(step, cursor, number, policy_version)
            cursor += settings.prompts
            graded, judged = self._grade(batch)
            parts.append((graded, finished))
            verdicts += judged
            keep = torch.tensor([v.name != "error" for v in judged]).view(-1, settings.responses)
            keep = keep.all(dim=1)  # a response that nobody could judge has no reward
            if settings.group_filter:
                keep &= mixed_outcome_groups(graded.rewards.view(-1, settings.responses))
            kept.append(keep)
            if int(torch.cat(kept).sum()) >= settings.prompts:
                break
        groups = torch.cat(kept)
        groups &= groups.cumsum(dim=0) <= settings.prompts  # no more than were asked for
        return Rollout(
            batch=concatenate([batch for batch, _ in parts], self.tokenizer.pad_token_id),
            trained=groups.repeat_interleave(settings.responses),
            verdicts=verdicts,
            finished=torch.cat([finished for _, finished in parts]),
            rounds=len(parts),
            cursor=cursor,
        )

    def _sample(
        self, step: int, cursor: int, number: int, policy_version: int
    ) -> tuple[RolloutBatch, Tensor]:
        """Return P x G responses, adjacent by prompt, and which of them finished (B, bool)."""
        rollout, seed = self.config.rollout, self.config.seed
        chosen = training_order(seed, cursor, rollout.prompts, len(self.problems))
        problem = np.repeat(chosen, rollout.responses)
        sample = np.tile(np.arange(rollout.responses), rollout.prompts)
        keys = stream_key("sampling", seed, step, number, problem, sample)
        prompts = [self.prompts[i] for i in problem]
        out = self.sampler.sample(
            [SamplingRequest(p, int(key)) for p, key in zip(prompts, keys, strict=True)],
            temperature=rollout.temperature,
            max_new_tokens=rollout.max_new_tokens,
            policy_version=policy_version,
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
            logp_ref=blank,
            entropy=blank if out.entropy is None else out.entropy,
        )
        return batch, out.finished

    def _grade(self, batch: RolloutBatch) -> tuple[RolloutBatch, list[Verdict]]:
        """Return the batch with its rewards, and each response's verdict."""
        texts = response_texts(self.tokenizer, batch.tokens, batch.response_mask)
        verdicts = self.grader([self.problems[i] for i in batch.problem.tolist()], texts)
        rewards = torch.tensor([verdict.reward for verdict in verdicts])
        return replace(batch, rewards=rewards), verdicts
