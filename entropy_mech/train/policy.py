"""The policy as a module: token log-probabilities and entropies without all logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from entropy_mech.objectives.logprobs import logprobs_and_entropy
from entropy_mech.sampling.torch_sampler import PLAIN_CLASSES, has_sliding_window

# -- First-fit packing ---------------------------------------------------------------------------


def first_fit(lengths: Sequence[int], columns: int) -> tuple[list[int], list[int]]:
    """Put each length, the longest first, into the first row with room; return rows and starts.

    >>> first_fit([2, 5, 3, 1], 5)
    ([1, 0, 1, 2], [3, 0, 0, 0])
    """
    row, start, filled = [0] * len(lengths), [0] * len(lengths), []
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        need = lengths[item]
        chosen = next((r for r, used in enumerate(filled) if used + need <= columns), len(filled))
        if chosen == len(filled):
            filled.append(0)
        row[item], start[item] = chosen, filled[chosen]
        filled[chosen] += need
    return row, start


# -- Several sequences in a row ------------------------------------------------------------------

# A mask has the square of a row's length, and beyond this it costs more than the padding did.
_LONGEST = 1024
# Attention without a mask is cheaper, so packing must save at least this share of rows.
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

    def states(self, model: PreTrainedModel) -> Tensor:
        """Return the hidden states, R x C x D."""
        return model.base_model(
            input_ids=self.input_ids,
            position_ids=self.position_ids,
            attention_mask=self.attention_mask,
            use_cache=False,
        ).last_hidden_state


def can_pack(model: PreTrainedModel) -> bool:
    """Return whether packed rows are computed correctly: with sdpa, in a known class.

    The mask is given to all layers, so that none may have a sliding window.
    """
    known = type(model) in PLAIN_CLASSES and model.config._attn_implementation == "sdpa"
    return known and not has_sliding_window(model)


def pack(
    input_ids: Tensor, lengths: Tensor, *, least_saved_fraction: float = 0.0
) -> PackedRows | None:
    """Lay the first ``lengths`` tokens (B) of each row (B x L) into rows as long as the longest.

    First fit, the longest first. All on the CPU: elsewhere kernels for sequences of any length do
    better.

    Returns:
        None where it would save less than a fraction of the rows.

    """
    columns = int(lengths.max())
    row, start = first_fit(lengths.tolist(), columns)
    rows = max(row) + 1
    if rows > (1 - least_saved_fraction) * len(lengths):
        return None
    row, start = torch.tensor(row), torch.tensor(start)
    source, place = (torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)).nonzero(as_tuple=True)
    target = (row[source], start[source] + place)
    packed = torch.zeros(3, rows, columns, dtype=torch.long)
    sequence = packed[2].fill_(-1)  # padding attends to padding, so no row is fully masked
    for part, values in zip(packed, (input_ids[source, place], place, source), strict=True):
        part[target] = values
    together = sequence.unsqueeze(2) == sequence.unsqueeze(1)
    return PackedRows(packed[0], packed[1], together.tril().unsqueeze(1), row, start)


# -- The policy ----------------------------------------------------------------------------------


class LogprobHead(nn.Linear):
    """The language-model head, which can answer with log-probabilities in place of logits.

    It is a module of its own, and the answer is its forward pass, because ZeRO-3 gathers a
    weight where the module that owns it is called.
    """

    @classmethod
    def around(cls, head: nn.Linear) -> LogprobHead:
        """Return a head that shares the weight of ``head``."""
        with torch.device("meta"):
            new = cls(head.in_features, head.out_features, bias=head.bias is not None)
        new.weight, new.bias = head.weight, head.bias
        return new

    def forward(self, hidden: Tensor, tokens: Tensor | None = None, **settings: Any):
        """Return logits, or, for given ``tokens``, what ``logprobs_and_entropy`` returns."""
        if tokens is None:
            return super().forward(hidden)
        kind = hidden.device.type
        if not torch.is_autocast_enabled(kind):
            return logprobs_and_entropy(hidden, self.weight, tokens, **settings)
        # Autocast knows some operations and not others: left to it, the number of tokens, which
        # decides between two ways to compute, would decide between two precisions too.
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            return logprobs_and_entropy(hidden.to(dtype), self.weight.to(dtype), tokens, **settings)


class Policy(nn.Module):
    """A causal language model; its forward pass gives what is known of the response tokens."""

    def __init__(self, model: PreTrainedModel, *, temperature: float):
        super().__init__()
        self.model, self.temperature, self.packs = model, temperature, can_pack(model)
        model.lm_head = LogprobHead.around(model.lm_head)

    def forward(
        self,
        input_ids: Tensor,
        prompt_length: Tensor,
        tokens: Tensor,
        response_mask: Tensor,
        *,
        entropy_gradient: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (differentiable) and entropies of the response tokens.

        Args:
            input_ids: B x L, right-padded: a causal model never looks at the padding.
            prompt_length: B.
            tokens: B x T.
            response_mask: B x T, bool.
            entropy_gradient: whether the entropy is differentiable too.

        Returns:
            ``logp`` and ``entropy``, B x T, float32, nats, 0 outside the mask.

        """
        places = response_mask.nonzero(as_tuple=True)
        states = self.predicting_states(input_ids, prompt_length, response_mask, places)
        logp, entropy = self.model.lm_head(
            states,
            tokens[places],
            temperature=self.temperature,
            **({"entropy_gradient": True} if entropy_gradient else {}),
        )
        zeros = torch.zeros(response_mask.shape, device=logp.device, dtype=logp.dtype)
        return (
            zeros.masked_scatter(response_mask, logp),
            zeros.masked_scatter(response_mask, entropy),
        )

    def predicting_states(
        self,
        input_ids: Tensor,
        prompt_length: Tensor,
        response_mask: Tensor,
        places: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Hidden states (N x D) from which the N response tokens, at ``places``, are predicted."""
        # The state at index i predicts the token at i + 1, and a row's last token nothing.
        row, column = places
        column = prompt_length[row] + column - 1
        lengths = prompt_length + response_mask.sum(dim=1) - 1
        packed = None
        if self.packs and input_ids.is_cpu and lengths.max() <= _LONGEST:
            packed = pack(input_ids, lengths, least_saved_fraction=_LEAST_SAVED_FRACTION)
        if packed is None:
            hidden = self.model.model(input_ids=input_ids[:, :-1], use_cache=False)
            return hidden.last_hidden_state[row, column]
        return packed.states(self.model)[packed.row[row], packed.start[row] + column]
