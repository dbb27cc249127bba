"""The tensors of one rollout, and how they are laid out for the trainer's forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


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
        rewards: B, float32.
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
    rewards: Tensor
    advantages: Tensor
    logp_sampler: Tensor
    logp_old: Tensor
    logp_ref: Tensor
    entropy: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

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
    if len(batches) == 1:
        return batches[0]
    columns = {"input_ids": max(b.input_ids.shape[1] for b in batches)}
    columns |= dict.fromkeys(PER_TOKEN, max(b.tokens.shape[1] for b in batches))

    def widened(name: str, tensor: Tensor) -> Tensor:
        missing = columns.get(name, tensor.shape[-1]) - tensor.shape[-1]
        value = pad if name in ("input_ids", "tokens") else 0
        return torch.nn.functional.pad(tensor, (0, missing), value=value)

    names = [field.name for field in fields(RolloutBatch)]
    return RolloutBatch(
        **{
            name: torch.cat(
                [
                    widened(name, getattr(b, name)) if name in columns else getattr(b, name)
                    for b in batches
                ]
            )
            for name in names
        }
    )


PER_TOKEN = (
    "tokens",
    "response_mask",
    "advantages",
    "logp_sampler",
    "logp_old",
    "logp_ref",
    "entropy",
)


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
