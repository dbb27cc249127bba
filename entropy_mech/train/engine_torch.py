"""The policy in one process: forward passes, gradients, optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.objectives.logprobs import logprobs_and_entropy
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import UpdateConfig

# Sequences of one forward pass without gradient. It is a constant, and not the micro-batch size,
# so that old log-probabilities, and what is selected by them, do not depend on the latter.
_FORWARD_ROWS = 64


class TorchEngine:
    """Owns the model and its optimizer."""

    def __init__(self, model: PreTrainedModel, config: UpdateConfig, *, temperature: float):
        self.model, self.temperature = model, temperature
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = _optimizer(model, config)

    def logprobs(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Log-probabilities (differentiable) and entropies of the response tokens, B x T each."""
        mask = batch.response_mask
        states = self._predicting_states(batch)
        logp, entropy = logprobs_and_entropy(
            states, self.model.lm_head.weight, batch.tokens[mask], temperature=self.temperature
        )
        zeros = torch.zeros(mask.shape, device=mask.device)
        return zeros.masked_scatter(mask, logp), zeros.masked_scatter(mask, entropy)

    @torch.no_grad()
    def logits(self, batch: RolloutBatch) -> Tensor:
        """Logits that predict the response tokens, N x V: for small vocabularies only."""
        return self.model.lm_head(self._predicting_states(batch)).float()

    def _predicting_states(self, batch: RolloutBatch) -> Tensor:
        """Hidden states (N x D) from which the N response tokens are predicted."""
        hidden = self.model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        # The state at index i predicts the token at i + 1.
        row, column = batch.response_mask.nonzero(as_tuple=True)
        return hidden[row, batch.prompt_length[row] + column - 1]

    @torch.no_grad()
    def measure(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """``logprobs`` without gradient, shortest sequences first so that little is padding."""
        order = batch.by_length()
        logp = torch.zeros(batch.response_mask.shape)
        entropy = torch.zeros_like(logp)
        for index in order.split(_FORWARD_ROWS):
            part = batch.rows(index)
            part_logp, part_entropy = self.logprobs(part)
            logp[index, : part_logp.shape[1]] = part_logp
            entropy[index, : part_logp.shape[1]] = part_entropy
        return logp, entropy

    def step(self) -> float:
        """Clip the gradient, take one optimizer step, return the norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"gradient norm is {norm.item()}; the update was not applied")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on: weights and optimizer."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state from ``state``."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def _optimizer(model: PreTrainedModel, config: UpdateConfig) -> torch.optim.Optimizer:
    settings = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "foreach": True}
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), **settings)
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.999), **settings)
