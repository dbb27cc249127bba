"""The policy as a module: token log-probabilities and entropies, and no logits of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from entropy_mech.objectives.logprobs import logprobs_and_entropy
from entropy_mech.train.packed_rows import can_pack, pack


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
    """A causal language model that is asked about the response tokens of right-padded rows."""

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
        states = self.predicting_states(input_ids, prompt_length, response_mask)
        logp, entropy = self.model.lm_head(
            states,
            tokens[response_mask],
            temperature=self.temperature,
            **({"entropy_gradient": True} if entropy_gradient else {}),
        )
        zeros = torch.zeros(response_mask.shape, device=logp.device, dtype=logp.dtype)
        return (
            zeros.masked_scatter(response_mask, logp),
            zeros.masked_scatter(response_mask, entropy),
        )

    def predicting_states(
        self, input_ids: Tensor, prompt_length: Tensor, response_mask: Tensor
    ) -> Tensor:
        """Hidden states (N x D) from which the N response tokens are predicted."""
        # The state at index i predicts the token at i + 1, and a row's last token nothing.
        row, column = response_mask.nonzero(as_tuple=True)
        column = prompt_length[row] + column - 1
        lengths = prompt_length + response_mask.sum(dim=1) - 1
        packed = pack(input_ids, lengths) if self.packs and input_ids.is_cpu else None
        if packed is None:
            hidden = self.model.model(input_ids=input_ids[:, :-1], use_cache=False)
            return hidden.last_hidden_state[row, column]
        hidden = self.model.model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            attention_mask=packed.attention_mask,
            use_cache=False,
        )
        return hidden.last_hidden_state[packed.row[row], packed.start[row] + column]
