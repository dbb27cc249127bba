"""The policy in one process: forward passes, gradients, optimizer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.errors import UserError, bad_value
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import EngineConfig, UpdateConfig
from entropy_mech.train.engine import (
    Diverged,
    broken_weight,
    half_passes,
    new_optimizer,
    prepared_policy,
)
from entropy_mech.train.parallel import Ranks

_STATE = "state.pt"


class TorchEngine:
    """Owns the model and its optimizer; weights are float32, passes bfloat16 where asked."""

    def __init__(
        self,
        model: PreTrainedModel,
        config: EngineConfig,
        update: UpdateConfig,
        ranks: Ranks | None = None,
        *,
        temperature: float,
        learning_rate: float | None = None,
    ):
        self.config, self.ranks = config, ranks or Ranks()
        if self.ranks.size > 1:
            raise UserError(
                f"engine.kind = torch: trains in one process, and there are {self.ranks.size}; "
                'give engine.kind = "deepspeed"'
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.policy = prepared_policy(model.to(self.device), config, temperature)
        self.max_grad_norm = update.max_grad_norm
        self.optimizer = new_optimizer(model.parameters(), update, learning_rate)

    def forward(
        self, batch: RolloutBatch, *, entropy_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (differentiable) and entropies of the response tokens, B x T each."""
        part = batch.to(self.device)
        with half_passes(self.config, self.device):
            return self.policy(
                part.input_ids,
                part.prompt_length,
                part.tokens,
                part.response_mask,
                entropy_gradient=entropy_gradient,
            )

    @torch.no_grad()
    def logits(self, batch: RolloutBatch) -> Tensor:
        """Logits that predict the response tokens, N x V: for small vocabularies only."""
        part = batch.to(self.device)
        states = self.policy.predicting_states(
            part.input_ids, part.prompt_length, part.response_mask
        )
        return self.policy.model.lm_head(states).float()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a loss's gradient."""
        loss.backward()

    def step(self) -> float:
        """Clip the gradient, take one optimizer step, return the norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(
            self.policy.parameters(), self.max_grad_norm, foreach=True
        )
        if not torch.isfinite(norm):
            raise Diverged("gradient norm", norm.item(), "the update was not applied")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by their Hugging Face names."""
        for name, parameter in self.policy.model.named_parameters():
            yield name, parameter.detach()

    def save(self, folder: Path) -> None:
        """Write weights and optimizer."""
        state = {
            "model": self.policy.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()  # a full disk is then an OSError, and not torch's own words
        torch.save(state, buffer)
        (folder / _STATE).write_bytes(buffer.getbuffer())

    def load(self, folder: Path) -> None:
        """Take up a state written by ``save``."""
        state = torch.load(folder / _STATE, map_location=self.device, weights_only=True)
        self.policy.model.load_state_dict(state["model"])
        if broken := broken_weight(self.policy.model):
            raise bad_value(
                "checkpoint",
                str(folder),
                f"the weight {broken} holds NaN or infinity; remove it, to go on from another",
            )
        self.optimizer.load_state_dict(state["optimizer"])
