"""Short texts laid end to end in few rows, so that a supervised batch holds little padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from entropy_mech.train.first_fit import first_fit

IGNORED = -100
_NOBODY = -1


@dataclass(frozen=True)
class PackedTexts:
    """Texts in R rows of L positions; each text sees itself alone.

    Attributes:
        input_ids: R x L, ``pad_token_id`` where no text lies.
        targets: R x L, the next token where it belongs to an answer, else ``IGNORED``.
        position_ids: R x L, counted from 0 in each text.
        attention_mask: R x 1 x L x L, bool, True = keep: the same text, not later.

    """

    input_ids: Tensor
    targets: Tensor
    position_ids: Tensor
    attention_mask: Tensor


def pack(
    texts: Sequence[tuple[Sequence[int], Sequence[int]]], *, eos_token_id: int, pad_token_id: int
) -> PackedTexts:
    """Lay (prompt, answer) token lists into rows as long as the longest, first fit, longest first.

    Position i of a text predicts its token i + 1, its last one the end; what is predicted inside
    a prompt is no target. Padding sees padding, so that no row of attention is empty.

    >>> pack([([3, 4], [5]), ([3], [6])], eos_token_id=1, pad_token_id=0).targets.tolist()
    [[-100, 5, 1], [6, 1, -100]]
    """
    lengths = [len(prompt) + len(answer) for prompt, answer in texts]
    width = max(lengths)
    row_of, start_of = first_fit(lengths, width)
    rows = max(row_of) + 1
    input_ids = np.full((rows, width), pad_token_id)
    targets = np.full((rows, width), IGNORED)
    position_ids = np.zeros((rows, width), dtype=np.int64)
    owner = np.full((rows, width), _NOBODY)
    for i, (prompt, answer) in enumerate(texts):
        row, start = row_of[i], start_of[i]
        end = start + len(prompt) + len(answer)
        input_ids[row, start:end] = [*prompt, *answer]
        targets[row, start + len(prompt) - 1 : end] = [*answer, eos_token_id]
        position_ids[row, start:end] = np.arange(end - start)
        owner[row, start:end] = i
    same = torch.from_numpy(owner[:, :, None] == owner[:, None, :])
    return PackedTexts(
        input_ids=torch.from_numpy(input_ids),
        targets=torch.from_numpy(targets),
        position_ids=torch.from_numpy(position_ids),
        attention_mask=same.tril()[:, None],
    )
