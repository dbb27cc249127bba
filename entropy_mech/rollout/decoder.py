"""Next-token logits of a batch that loses rows as they finish: Hugging Face code, any class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class Decoder(Protocol):
    """A KV cache and the logits of the next token, n x V float32, one row a live response."""

    logits: Tensor

    def drop(self, finished: Tensor) -> Tensor:
        """Forget some of the n rows (n, bool); return which old row each of those left was."""
        ...

    def advance(self, tokens: Tensor) -> None:
        """Feed one token to each row."""
        ...


class HuggingFaceDecoder:
    """Decodes with the model's own forward pass and a ``DynamicCache``."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        self.model = model
        ids, self.mask, row = padded_prompts(prompts, pad, model.device)
        self.cache = DynamicCache(config=model.config)
        self._forward(ids, positions_of(self.mask))
        self._select(row)
        self.logits = self.logits[row]

    def drop(self, finished: Tensor) -> Tensor:
        """Forget rows; those left keep their order."""
        left = (~finished).nonzero().squeeze(1)
        self._select(left)
        return left

    def advance(self, tokens: Tensor) -> None:
        """Feed one token to each row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self._forward(tokens.unsqueeze(1), self.mask.sum(dim=1, keepdim=True) - 1)

    def _select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        states = self.model.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        self.logits = self.model.lm_head(states[:, -1]).float()


def padded_prompts(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out the U different prompts among B; the responses of one share its pass.

    Returns:
        Tokens and mask (1 = keep), U x L: padding stands on the left, so that every row's next
        token is the same column. And B, which of the U rows each prompt is.

    """
    place: dict[tuple[int, ...], int] = {}
    row = [place.setdefault(tuple(prompt), len(place)) for prompt in prompts]
    longest = max(map(len, place))
    missing = [longest - len(prompt) for prompt in place]
    ids = [[pad] * gap + list(prompt) for gap, prompt in zip(missing, place, strict=True)]
    mask = [[0] * gap + [1] * (longest - gap) for gap in missing]
    return (
        torch.tensor(ids, device=device),
        torch.tensor(mask, device=device),
        torch.tensor(row, device=device),
    )


def positions_of(mask: Tensor) -> Tensor:
    """Return the position of each token under a mask with padding on the left; 0 on padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
