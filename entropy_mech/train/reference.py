"""A frozen policy: the reference of a KL penalty and of PRIME's implicit rewards."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import EngineConfig
from entropy_mech.train.engine import half_passes, measure
from entropy_mech.train.parallel import Ranks
from entropy_mech.train.policy import Policy


class FrozenPolicy:
    """A policy that is only asked. Each rank has a whole copy, on the host between questions.

    Its passes have the trained policy's precision, so that its KL to itself is 0.
    """

    def __init__(
        self, model: PreTrainedModel, config: EngineConfig, ranks: Ranks, *, temperature: float
    ):
        self.config, self.ranks = config, ranks
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.policy = Policy(model.requires_grad_(False).eval(), temperature=temperature)

    def forward(
        self, batch: RolloutBatch, *, entropy_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of the response tokens, B x T each; no gradient."""
        part = batch.to(self.device)
        with half_passes(self.config, self.device):
            return self.policy(part.input_ids, part.prompt_length, part.tokens, part.response_mask)

    def logprobs(self, batch: RolloutBatch) -> Tensor:
        """Log-probabilities of all rows, B x T, on every rank."""
        self.policy.to(self.device)
        logp, _ = measure(self, batch)
        if self.device.type != "cpu":
            self.policy.to("cpu")
        return logp
