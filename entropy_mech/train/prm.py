"""PRIME's implicit process reward model: trained online on outcomes, it rewards every token."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.config import PRIME, TrainConfig
from entropy_mech.objectives import implicit_prm_loss, implicit_process_rewards
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, measure
from entropy_mech.train.models import build_engine
from entropy_mech.train.rollouts import RolloutBatch
from entropy_mech.train.update import mean_over_steps, micro_batches, mini_batches, optimizer_step


class ImplicitPRM:
    """A language model of its own, with its own optimizer (section 5: learning rate 1e-6)."""

    def __init__(self, engine: Engine, config: TrainConfig):
        self.config = config
        self.settings: PRIME = config.algorithm
        self.engine = engine

    def reward(self, batch: RolloutBatch, step: int) -> tuple[Tensor, dict[str, float]]:
        """Learn from a rollout and return its process rewards, B x T, with the PRM's metrics.

        ``batch.logp_ref`` holds the log-probabilities of the frozen model that the PRM began as.
        """
        if self.settings.prm_update == "before":
            metrics = self._learn(batch, step)
            return self._rewards(batch), metrics
        rewards = self._rewards(batch)
        return rewards, self._learn(batch, step)

    def _rewards(self, batch: RolloutBatch) -> Tensor:
        logp_prm, _ = measure(self.engine, batch)
        return implicit_process_rewards(
            logp_prm, batch.logp_ref, batch.response_mask, beta=self.settings.prm_beta
        )

    def _learn(self, batch: RolloutBatch, step: int) -> dict[str, float]:
        """One pass over the rollout, in the policy's own mini-batches."""
        per_step = []
        for rows in mini_batches(batch, self.config, step):
            part = batch.rows(rows)
            rounds = micro_batches(part, self.config, self.engine.ranks.size)
            loss_of = partial(self._loss_of, sequence_count=len(part))
            per_step.append(optimizer_step(self.engine, part, rounds, loss_of))
        metrics = mean_over_steps(per_step)
        return {f"prm_{name.removeprefix('prm_')}": value for name, value in metrics.items()}

    def _loss_of(
        self,
        micro: RolloutBatch,
        logp_prm: Tensor,
        entropy: Tensor,
        rows: Tensor,
        *,
        sequence_count: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = implicit_prm_loss(
            logp_prm,
            micro.logp_ref,
            micro.response_mask,
            micro.rewards,
            beta=self.settings.prm_beta,
            sequence_count=sequence_count,
        )
        return out.loss, out.metrics


def build_prm(model: PreTrainedModel, config: TrainConfig, ranks: Ranks) -> ImplicitPRM:
    """Return PRIME's reward model around ``model``, with an engine and optimizer of its own."""
    rate = config.algorithm.prm_learning_rate
    engine = build_engine(model, config.engine, config.update, ranks, learning_rate=rate)
    return ImplicitPRM(engine, config)
