"""One rollout's optimizer steps, of the policy and of PRIME's reward model."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.config import ClipCov, KLCov, LossConfig, TrainConfig
from entropy_mech.objectives import (
    Aggregation,
    InertPenaltyWarning,
    PolicyLoss,
    choose_tokens,
    clip_cov_loss,
    implicit_prm_loss,
    implicit_process_rewards,
    kl_cov_loss,
    named_scores,
    policy_gradient_loss,
    ppo_clip_loss,
    truncated_importance_weights,
    with_entropy_bonus,
    with_reference_kl,
)
from entropy_mech.random_streams import generator
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, Round, measure, own_parts, plan_rounds
from entropy_mech.train.pretrain import build_engine
from entropy_mech.train.rollouts import RolloutBatch

# -- One optimizer step --------------------------------------------------------------------------

# A micro-batch (on the device), its log-probabilities and entropies, and its rows in the mini-batch
# (empty on idle ranks), to the loss and its metrics.
MicroLoss = Callable[[RolloutBatch, Tensor, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


def optimizer_step(
    engine: Engine,
    part: RolloutBatch,
    rounds: Sequence[Round],
    loss_of: MicroLoss,
    *,
    entropy_gradient: bool = False,
) -> dict[str, float]:
    """Take one optimizer step on ``part``, cut as ``rounds`` say; return the metrics of all ranks.

    Losses and metrics of the micro-batches are summed (``*_max`` metrics: the largest), so each
    must have been divided by the counts of the whole mini-batch.
    """
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for place, (rows, cut) in enumerate(own_parts(part, rounds, engine.ranks.rank)):
        micro = cut.to(engine.device)
        logp_new, entropy = engine.forward(micro, entropy_gradient=entropy_gradient)
        idle = not len(rows)
        if idle:
            micro = replace(micro, response_mask=torch.zeros_like(micro.response_mask))
        loss, metrics = loss_of(micro, logp_new, entropy, rows)
        if idle:  # a row without a token is an outcome all the same, for the reward model
            loss, metrics = loss * 0, {name: value * 0 for name, value in metrics.items()}
        engine.backward(loss, last=place == len(rounds) - 1)
        for name, value in {"loss": loss.detach(), **metrics}.items():
            parts[name].append(value)
    totals = torch.stack([_together(name, values) for name, values in parts.items()]).cpu()
    every = zip(parts, zip(*engine.ranks.gather(totals), strict=True), strict=True)
    combined = {name: _together(name, values).item() for name, values in every}
    return {**combined, "grad_norm": engine.step()}


def _together(name: str, values: Sequence[Tensor]) -> Tensor:
    return reduce(torch.maximum, values) if name.endswith("_max") else sum(values)


def mean_over_steps(per_step: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the optimizer steps, the largest of what ends in ``_max``."""
    combined: dict[str, float] = {}
    for name in per_step[0]:
        values = [metrics[name] for metrics in per_step]
        combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined


# -- One rollout ---------------------------------------------------------------------------------

_FUNCTIONS = {
    "policy_gradient": policy_gradient_loss,
    "ppo_clip": ppo_clip_loss,
    "clip_cov": clip_cov_loss,
    "kl_cov": kl_cov_loss,
}


def update_policy(
    engine: Engine,
    batch: RolloutBatch,
    config: TrainConfig,
    step: int,
    *,
    loss: LossConfig | None = None,
) -> tuple[dict[str, float], Tensor]:
    """Train on a rollout.

    Neither the number of micro-batches nor that of ranks changes the result: every mean is over
    its whole mini-batch, and unless the scope is ``micro_batch`` tokens are chosen before the
    gradient passes begin, on the whole rollout or mini-batch, by every rank alike.

    Args:
        engine: of the policy.
        batch: with advantages and old log-probabilities.
        config: of the run.
        step: names the random numbers.
        loss: in place of the configuration's own.

    Returns:
        Metrics (means over the optimizer steps; ``*_max`` the largest) and the tokens touched
        (B x T, bool); the same on every rank.

    """
    loss = loss or config.loss
    scope = getattr(loss, "covariance_scope", None)
    touched = torch.zeros_like(batch.response_mask)
    per_update: list[dict[str, float]] = []
    if scope == "rollout_batch":
        everywhere = select_tokens(loss, batch.logp_old, batch, config.seed, step)
    for number, rows in enumerate(mini_batches(batch, config, step)):
        part = batch.rows(rows)
        chosen = None
        if scope == "rollout_batch":
            chosen = everywhere[rows][:, : part.tokens.shape[1]]
        elif scope == "mini_batch":
            # On the first mini-batch the policy has not moved and the old values serve.
            logp = part.logp_old if number == 0 else measure(engine, part)[0]
            chosen = select_tokens(loss, logp, part, config.seed, step)
        mini_batch = _MiniBatch(part, chosen, config, loss, step, first=number == 0)
        metrics = optimizer_step(
            engine,
            part,
            micro_batches(part, config, engine.ranks.size),
            mini_batch.loss_of,
            entropy_gradient=loss.entropy_bonus > 0,
        )
        engine.ranks.sum_(mini_batch.selected)  # each row is one rank's
        touched[rows, : part.tokens.shape[1]] = mini_batch.selected.bool()
        if not metrics.pop("moved_max", 1.0) and number and mini_batch.selected.any():
            _warn_of_inertia(config, step, number)
        per_update.append(metrics)
    return mean_over_steps(per_update), touched


def select_tokens(
    loss: ClipCov | KLCov, logp: Tensor, batch: RolloutBatch, seed: int, step: int
) -> Tensor:
    """Choose the method's tokens among all of ``batch``, by Eq. 10 under ``logp``; B x T, bool."""
    scores = None
    if isinstance(loss, ClipCov):
        rows = batch.problem.cpu().numpy(), batch.sample.cpu().numpy()
        scores = named_scores(*rows, batch.tokens, seed, step)
    return choose_tokens(loss, logp, batch.logp_old, batch.advantages, batch.response_mask, scores)


def mini_batches(batch: RolloutBatch, config: TrainConfig, step: int) -> Iterator[Tensor]:
    """Yield the rows of each optimizer step: whole prompts, in an order named by (seed, step)."""
    responses = config.rollout.responses
    prompts = len(batch) // responses
    order = torch.from_numpy(generator("mini-batches", config.seed, step).permutation(prompts))
    parts = min(config.update.updates_per_rollout, prompts)
    for part in order.tensor_split(parts):
        yield (part.unsqueeze(1) * responses + torch.arange(responses)).flatten()


def micro_batches(part: RolloutBatch, config: TrainConfig, ranks: int) -> list[Round]:
    """Return the backward passes of one optimizer step, dealt to the ranks."""
    update = config.update
    return plan_rounds(
        part.lengths(), rows=update.micro_batch_size, tokens=update.micro_batch_tokens, ranks=ranks
    )


@dataclass
class _MiniBatch:
    """The loss of one optimizer step, micro-batch by micro-batch, and the tokens it touched."""

    part: RolloutBatch
    chosen: Tensor | None
    config: TrainConfig
    loss: LossConfig
    step: int
    first: bool

    def __post_init__(self):
        """Count what the whole step has, by which every micro-batch divides."""
        mask, loss = self.part.response_mask, self.loss
        self.selected = torch.zeros_like(mask, dtype=torch.uint8)
        self.aggregation = Aggregation(
            loss.aggregation,
            token_count=int(mask.sum()),
            sequence_count=int(mask.any(dim=1).sum()),
            normaliser_tokens=loss.normaliser_tokens or self.config.rollout.max_new_tokens,
        )

    def loss_of(
        self, micro: RolloutBatch, logp_new: Tensor, entropy: Tensor, rows: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and metrics of one micro-batch (see ``MicroLoss``)."""
        fixed = None
        if self.chosen is not None and len(rows):
            fixed = self.chosen[rows][:, : logp_new.shape[1]].to(logp_new.device)
        elif isinstance(self.loss, ClipCov | KLCov):
            fixed = select_tokens(self.loss, logp_new.detach(), micro, self.config.seed, self.step)
        if self.first:
            # The policy has not moved since the old values were taken, so the ratio is 1. Said
            # so, and not left to rounding: |log ratio| has its corner there, and a difference
            # of 1e-8 between two ways to batch would become a gradient of full size.
            micro = replace(micro, logp_old=logp_new.detach())
        out = self._with_terms(self._policy_loss(micro, logp_new, fixed), micro, logp_new, entropy)
        self.selected[rows, : logp_new.shape[1]] = out.selected_mask[: len(rows)].byte().cpu()
        if not isinstance(self.loss, KLCov):
            return out.loss, out.metrics
        moved = (logp_new.detach() != micro.logp_old) & out.selected_mask & micro.response_mask
        return out.loss, {**out.metrics, "moved_max": moved.any().to(logp_new.dtype)}

    def _policy_loss(
        self, micro: RolloutBatch, logp_new: Tensor, fixed: Tensor | None
    ) -> PolicyLoss:
        settings = self.loss.of_the_method()
        if fixed is not None:
            settings["selected_mask"] = fixed
        if self.loss.importance_cap is not None:
            settings["token_weights"] = truncated_importance_weights(
                micro.logp_old,
                micro.logp_sampler,
                micro.response_mask,
                cap=self.loss.importance_cap,
            )
        with warnings.catch_warnings():
            # On the first mini-batch it is unavoidable, and a micro-batch may have few such tokens.
            warnings.simplefilter("ignore", InertPenaltyWarning)
            return _FUNCTIONS[self.loss.method](
                logp_new,
                micro.logp_old,
                micro.advantages,
                micro.response_mask,
                aggregation=self.aggregation,
                **settings,
            )

    def _with_terms(
        self, out: PolicyLoss, micro: RolloutBatch, logp_new: Tensor, entropy: Tensor
    ) -> PolicyLoss:
        """Add the entropy bonus and the reference KL, where they are asked for."""
        if self.loss.entropy_bonus:
            out = with_entropy_bonus(
                out,
                entropy,
                micro.response_mask,
                coefficient=self.loss.entropy_bonus,
                aggregation=self.aggregation,
            )
        if self.loss.reference_kl:
            out = with_reference_kl(
                out,
                logp_new,
                micro.logp_ref,
                micro.response_mask,
                coefficient=self.loss.reference_kl,
                estimator=self.loss.reference_kl_estimator,
                log_ratio_clamp=self.loss.log_ratio_clamp,
                aggregation=self.aggregation,
            )
        return out


def _warn_of_inertia(config: TrainConfig, step: int, number: int) -> None:
    """Warn that KL-Cov did nothing in a whole mini-batch that is not the first."""
    warnings.warn(
        f"KL-Cov did nothing in update {number + 1} of step {step}: no chosen token's "
        "probability had moved, and the penalty has gradient 0 there; with weights in "
        f"{config.engine.dtype}, update.learning_rate = {config.update.learning_rate:g} moves "
        "few of them in one update",
        InertPenaltyWarning,
        stacklevel=3,
    )


# -- PRIME's reward model ------------------------------------------------------------------------


class ImplicitPRM:
    """A language model of its own, with its own optimizer (section 5: learning rate 1e-6)."""

    def __init__(self, model: PreTrainedModel, config: TrainConfig, ranks: Ranks):
        self.config, self.settings = config, config.algorithm
        rate = self.settings.prm_learning_rate
        self.engine = build_engine(model, config.engine, config.update, ranks, learning_rate=rate)

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

            def loss_of(micro: RolloutBatch, logp_prm: Tensor, *_, count: int = len(part)):
                return implicit_prm_loss(
                    logp_prm,
                    micro.logp_ref,
                    micro.response_mask,
                    micro.rewards,
                    beta=self.settings.prm_beta,
                    sequence_count=count,
                )

            per_step.append(optimizer_step(self.engine, part, rounds, loss_of))
        metrics = mean_over_steps(per_step)
        return {f"prm_{name.removeprefix('prm_')}": value for name, value in metrics.items()}
