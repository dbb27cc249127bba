"""Several short sequences in one row, so that a pass computes hardly any padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, MistralForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from entropy_mech.train.first_fit import first_fit

# Classes that take a mask per pair of tokens and know positions from ``position_ids`` alone.
_CLASSES = (Qwen2ForCausalLM, LlamaForCausalLM, MistralForCausalLM)
# A mask has the square of a row's length, and beyond this it costs more than the padding did.
_LONGEST = 1024
# Attention without a mask is cheaper, so there must be something to win.
_LEAST_SAVED_FRACTION = 0.1


@dataclass(frozen=True)
class PackedRows:
    """B sequences in R rows of C tokens.

    Attributes:
        input_ids: R x C, 0 where nothing stands.
        position_ids: R x C, from 0 in each sequence.
        attention_mask: R x 1 x C x C, True where a token sees another: itself and what stands
            before it in its own sequence.
        row: B, where each sequence stands, and
        start: B, at which column it begins.

    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    row: Tensor
    start: Tensor


def can_pack(model: PreTrainedModel) -> bool:
    """Return whether packed rows are computed right: with sdpa, in a known class.

    The mask is given to all layers, so that none may have a sliding window.
    """
    config = model.config
    if type(model) not in _CLASSES or config._attn_implementation != "sdpa":
        return False
    windows = {getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers}
    if isinstance(model, MistralForCausalLM):
        windows.add(config.sliding_window)
    return windows == {None}


def pack(input_ids: Tensor, lengths: Tensor) -> PackedRows | None:
    """Lay the first ``lengths`` tokens (B) of each row (B x L) into as few rows as a greedy can.

    All on the CPU: elsewhere kernels for sequences of any length do better.

    Returns:
        None where that would save too little.

    """
    columns = int(lengths.max())
    if columns > _LONGEST:
        return None
    row, start = first_fit(lengths.tolist(), columns)
    rows = max(row) + 1
    if rows > (1 - _LEAST_SAVED_FRACTION) * len(lengths):
        return None
    row, start = torch.tensor(row), torch.tensor(start)
    source, place = (torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)).nonzero(as_tuple=True)
    target = (row[source], start[source] + place)
    packed = torch.zeros(3, rows, columns, dtype=torch.long)
    sequence = packed[2].fill_(-1)  # padding is a sequence of its own: no token is without sight
    for part, values in zip(packed, (input_ids[source, place], place, source), strict=True):
        part[target] = values
    together = sequence.unsqueeze(2) == sequence.unsqueeze(1)
    return PackedRows(packed[0], packed[1], together.tril().unsqueeze(1), row, start)
