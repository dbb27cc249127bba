"""A step's rollout: which problems, sampled responses, their rewards, and their tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from entropy_mech.config import TrainConfig
from entropy_mech.grading.verdict import Verdict
from entropy_mech.objectives import mixed_outcome_groups
from entropy_mech.random_streams import generator, stream_key
from entropy_mech.sampling.sampler import Sampler, answer, stacked
from entropy_mech.train.tasks import EncodedTasks, Grader

# -- Tensors of a rollout ------------------------------------------------------------------------


# Fields with a value a token, B x T: what was sampled, and what is measured of it.
SAMPLED = ("tokens", "response_mask")
MEASURED = ("advantages", "logp_sampler", "logp_old", "logp_ref", "entropy")
PER_TOKEN = SAMPLED + MEASURED


@dataclass(frozen=True)
class RolloutBatch:
    """B sequences of one rollout; responses of a prompt are adjacent rows.

    Attributes:
        input_ids: B x L, prompt and response without a gap, padded on the right. Right padding
            needs no attention mask: a causal model never looks at it.
        prompt_length: B.
        tokens: B x T, the responses alone.
        response_mask: B x T, bool.
        problem: B, index into the training set; with ``sample`` it names a row for good.
        sample: B, 0 to G - 1.
        rewards: B, float32; zeros, as all that follows, where it is not given.
        advantages: B x T, float32, constant along a row.
        logp_sampler: B x T.
        logp_old: B x T, the trainer's own, before the update.
        logp_ref: B x T, under the reference policy, where one is asked for.
        entropy: B x T, nats, before the update.

    """

    input_ids: Tensor
    prompt_length: Tensor
    tokens: Tensor
    response_mask: Tensor
    problem: Tensor
    sample: Tensor
    rewards: Tensor = None
    advantages: Tensor = None
    logp_sampler: Tensor = None
    logp_old: Tensor = None
    logp_ref: Tensor = None
    entropy: Tensor = None

    def __post_init__(self):
        """Fill what has not been measured with zeros."""
        for name in ("rewards", *MEASURED):
            if getattr(self, name) is None:
                shape = self.tokens.shape if name in MEASURED else self.tokens.shape[:1]
                object.__setattr__(self, name, torch.zeros(shape, device=self.tokens.device))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def policy_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What ``Policy.forward`` takes."""
        return self.input_ids, self.prompt_length, self.tokens, self.response_mask

    def lengths(self) -> Tensor:
        """Return B, the tokens of each row with its prompt."""
        return self.prompt_length + self.response_mask.sum(dim=1)

    def to(self, device: torch.device) -> RolloutBatch:
        """Return the batch on a device; itself where it is there already."""
        if self.input_ids.device == device:
            return self
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        return RolloutBatch(**moved)

    def rows(self, index: Tensor) -> RolloutBatch:
        """Return some rows, as a batch, without the columns that are padding in all of them."""
        picked = {field.name: getattr(self, field.name)[index] for field in fields(self)}
        responses = picked["response_mask"].sum(dim=1)
        columns = int(responses.max()) if len(index) else 0
        length = int((picked["prompt_length"] + responses).max()) if len(index) else 0
        for name in PER_TOKEN:
            picked[name] = picked[name][:, :columns]
        picked["input_ids"] = picked["input_ids"][:, :length]
        return RolloutBatch(**picked)


def concatenate(batches: Sequence[RolloutBatch], pad: int) -> RolloutBatch:
    """Lay batches one under the other, padded to the longest."""
    padding = {"input_ids": pad, "tokens": pad}
    names = [field.name for field in fields(RolloutBatch)]
    parts = {name: [getattr(batch, name) for batch in batches] for name in names}
    return RolloutBatch(**{n: stacked(part, padding.get(n, 0)) for n, part in parts.items()})


def join(prompts: Sequence[Sequence[int]], tokens: Tensor, mask: Tensor, pad: int):
    """Return ``input_ids`` (B x L) and ``prompt_length`` (B) for prompts and their responses."""
    prompt_length = torch.tensor([len(prompt) for prompt in prompts])
    lengths = prompt_length + mask.sum(dim=1).cpu()
    input_ids = torch.full((len(prompts), int(lengths.max())), pad)
    for row, prompt in enumerate(prompts):
        response = tokens[row, mask[row]]
        input_ids[row, : len(prompt)] = torch.tensor(prompt)
        input_ids[row, len(prompt) : len(prompt) + len(response)] = response
    return input_ids, prompt_length


# -- The rollout ---------------------------------------------------------------------------------


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
        kept_fraction: of the prompts that were drawn, those that could be trained on.

    """

    batch: RolloutBatch
    trained: Tensor
    verdicts: list[Verdict]
    finished: Tensor
    rounds: int
    cursor: int
    kept_fraction: float


class RolloutMaker:
    """Samples and grades: a function of (seed, step, cursor) and the policy alone."""

    def __init__(
        self,
        config: TrainConfig,
        tasks: EncodedTasks,
        tokenizer: PreTrainedTokenizerBase,
        sampler: Sampler,
        grader: Grader,
    ):
        self.config, self.tokenizer, self.sampler = config, tokenizer, sampler
        self.problems, self.prompts = tasks.training, tasks.prompts
        self.grader = grader

    def make(self, step: int, cursor: int, kept_fraction: float = 1.0) -> Rollout:
        """Sample until as many prompts are kept as the rollout has, or the rounds are used up.

        A round waits for its longest response, so each draws as many prompts as are missing over
        the share that was kept so far; the first one goes by ``kept_fraction``, of the rollout
        before. All rounds together draw at most ``max_generation_rounds`` times the rollout.
        """
        settings = self.config.rollout
        left = settings.max_generation_rounds * settings.prompts
        parts: list[tuple[RolloutBatch, Tensor]] = []
        verdicts: list[Verdict] = []
        kept: list[Tensor] = []
        for number in range(settings.max_generation_rounds):
            missing = settings.prompts - sum(int(part.sum()) for part in kept)
            drawn = min(math.ceil(missing / kept_fraction), left)
            batch, finished, judged = self._sample(step, cursor, drawn, number)
            cursor, left = cursor + drawn, left - drawn
            parts.append((batch, finished))
            verdicts += judged
            keep = torch.tensor([v.name != "error" for v in judged]).view(-1, settings.responses)
            keep = keep.all(dim=1)  # a response that could not be judged has no reward
            if settings.group_filter:
                keep &= mixed_outcome_groups(batch.rewards.view(-1, settings.responses))
            kept.append(keep)
            so_far = torch.cat(kept)
            # Where none was kept, as if one had been: nothing is known but that it is less.
            kept_fraction = max(int(so_far.sum()), 1) / len(so_far)
            if int(so_far.sum()) >= settings.prompts or not left:
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
            kept_fraction=kept_fraction,
        )

    def _sample(
        self, step: int, cursor: int, count: int, number: int
    ) -> tuple[RolloutBatch, Tensor, list[Verdict]]:
        """Return ``count`` x G graded responses by prompt, which finished (B, bool), verdicts."""
        rollout, seed = self.config.rollout, self.config.seed
        chosen = training_order(seed, cursor, count, len(self.problems))
        problem = np.repeat(chosen, rollout.responses)
        sample = np.tile(np.arange(rollout.responses), count)
        prompts = [self.prompts[i].tolist() for i in problem]
        answers = answer(
            self.sampler,
            self.tokenizer,
            [self.problems[i] for i in problem],
            prompts,
            stream_key("sampling", seed, step, number, problem, sample),
            self.grader,
            temperature=rollout.temperature,
            max_new_tokens=rollout.max_new_tokens,
        )
        out = answers.completions
        input_ids, prompt_length = join(
            prompts, out.tokens, out.response_mask, self.tokenizer.pad_token_id
        )
        batch = RolloutBatch(
            *(input_ids, prompt_length, out.tokens, out.response_mask),
            *(torch.from_numpy(problem), torch.from_numpy(sample)),
            rewards=torch.tensor([verdict.reward for verdict in answers.verdicts]),
            logp_sampler=out.logp_sampler,
            entropy=out.entropy,
        )
        return batch, out.finished, answers.verdicts
