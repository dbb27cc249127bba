"""One rollout's optimizer steps: mini-batches, covariance scope, losses, micro-batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from entropy_mech.objectives import (
    InertPenaltyWarning,
    PolicyLoss,
    clip_cov_loss,
    kl_cov_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    select_in_band,
    select_largest,
    token_covariance,
)
from entropy_mech.random_streams import generator, stream_key, uniforms
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import ClipCov, KLCov, TrainConfig
from entropy_mech.train.engine import Engine, measure
from entropy_mech.train.micro_batches import Round, own_rows, plan_rounds
from entropy_mech.train.parallel import Ranks


def update_policy(
    engine: Engine, batch: RolloutBatch, config: TrainConfig, step: int
) -> tuple[dict[str, float], Tensor]:
    """Train on a rollout.

    Neither the number of micro-batches nor that of ranks changes the result: every mean is over
    the tokens of its mini-batch, and unless the scope is ``micro_batch`` tokens are chosen before
    the gradient passes begin, on the whole rollout or mini-batch, by every rank alike.

    Returns:
        Metrics (means over the optimizer steps; ``*_max`` the largest) and the tokens touched
        (B x T, bool); the same on every rank.

    """
    loss_config = config.loss
    scope = getattr(loss_config, "covariance_scope", None)
    touched = torch.zeros_like(batch.response_mask)
    per_update: list[dict[str, float]] = []
    if scope == "rollout_batch":
        everywhere = _select(loss_config, batch.logp_old, batch, config.seed, step)
    for number, rows in enumerate(mini_batches(batch, config, step)):
        part = batch.rows(rows)
        chosen = None
        if scope == "rollout_batch":
            chosen = everywhere[rows][:, : part.tokens.shape[1]]
        elif scope == "mini_batch":
            # On the first mini-batch the policy has not moved and the old values serve.
            logp = part.logp_old if number == 0 else measure(engine, part)[0]
            chosen = _select(loss_config, logp, part, config.seed, step)
        metrics, selected = _optimizer_step(engine, part, chosen, config, step, number)
        touched[rows, : selected.shape[1]] = selected
        per_update.append(metrics)
    return _combined(per_update), touched


def mini_batches(batch: RolloutBatch, config: TrainConfig, step: int) -> Iterator[Tensor]:
    """Yield the rows of each optimizer step: whole prompts, in an order named by (seed, step)."""
    responses = config.rollout.responses
    prompts = len(batch) // responses
    order = torch.from_numpy(generator("mini-batches", config.seed, step).permutation(prompts))
    parts = min(config.update.updates_per_rollout, prompts)
    for part in order.tensor_split(parts):
        yield (part.unsqueeze(1) * responses + torch.arange(responses)).flatten()


def _optimizer_step(
    engine: Engine,
    part: RolloutBatch,
    chosen: Tensor | None,
    config: TrainConfig,
    step: int,
    number: int,
) -> tuple[dict[str, float], Tensor]:
    token_count = int(part.response_mask.sum())
    selected = torch.zeros_like(part.response_mask)
    totals: dict[str, Tensor] = {}
    mine = own_rows(micro_batches(part, config, engine.ranks.size), engine.ranks.rank)
    for place, rows in enumerate(mine):
        # A rank without rows passes one that counts for nothing: passes are joint ones.
        idle = not len(rows)
        micro = part.rows(torch.zeros(1, dtype=torch.long) if idle else rows).to(engine.device)
        logp_new, _ = engine.forward(micro)
        if idle:
            micro = replace(micro, response_mask=torch.zeros_like(micro.response_mask))
        if idle or chosen is None:
            fixed = None
        else:
            fixed = chosen[rows][:, : logp_new.shape[1]].to(engine.device)
        if fixed is None and isinstance(config.loss, ClipCov | KLCov):
            fixed = _select(config.loss, logp_new.detach(), micro, config.seed, step)
        if number == 0:
            # The policy has not moved since the old values were taken, so the ratio is 1. Said
            # so, and not left to rounding: |log ratio| has its corner there, and a difference
            # of 1e-8 between two ways to batch would become a gradient of full size.
            micro = replace(micro, logp_old=logp_new.detach())
        out = _loss(config, micro, logp_new, fixed, token_count, first=number == 0)
        engine.backward(out.loss, last=place == len(mine) - 1)
        if not idle:
            selected[rows, : logp_new.shape[1]] = out.selected_mask.cpu()
        _accumulate(totals, {"loss": out.loss.detach(), **out.metrics})
    metrics = _over_ranks(totals, engine.ranks)
    metrics["grad_norm"] = engine.step()
    return metrics, _anywhere(selected, engine.ranks)


def micro_batches(part: RolloutBatch, config: TrainConfig, ranks: int) -> list[Round]:
    """Return the backward passes of one optimizer step, dealt to the ranks."""
    update = config.update
    return plan_rounds(
        part.lengths(), rows=update.micro_batch_size, tokens=update.micro_batch_tokens, ranks=ranks
    )


def _select(
    loss: ClipCov | KLCov, logp: Tensor, batch: RolloutBatch, seed: int, step: int
) -> Tensor:
    """Choose the method's tokens among all of ``batch``, by Eq. 10 under ``logp``."""
    covariance = token_covariance(logp, batch.advantages, batch.response_mask)
    if isinstance(loss, KLCov):
        return select_largest(
            covariance,
            batch.response_mask,
            penalty_fraction=loss.penalty_fraction,
            minimum_tokens=loss.minimum_tokens,
        )
    scores = _token_scores(batch, seed, step)
    ratio = (logp - batch.logp_old).exp()
    too_far = torch.where(
        batch.advantages > 0, ratio > 1 + loss.clip_high, ratio < 1 - loss.clip_low
    )
    return select_in_band(
        covariance,
        batch.response_mask,
        torch.where(too_far, torch.inf, scores),  # the PPO clip holds those already
        clip_fraction=loss.clip_fraction,
        cov_low=loss.cov_low,
        cov_high=loss.cov_high,
        minimum_tokens=loss.minimum_tokens,
    )


def _token_scores(batch: RolloutBatch, seed: int, step: int) -> Tensor:
    """Uniform numbers that belong to tokens, not to places: B x T, float64."""
    problem, sample = batch.problem.cpu().numpy(), batch.sample.cpu().numpy()
    keys = stream_key("clip-cov", seed, step, problem, sample)
    positions = torch.arange(batch.tokens.shape[1]).numpy()
    return torch.from_numpy(uniforms(keys[:, None], positions)).to(batch.tokens.device)


def _loss(
    config: TrainConfig,
    micro: RolloutBatch,
    logp_new: Tensor,
    chosen: Tensor | None,
    token_count: int,
    *,
    first: bool,
) -> PolicyLoss:
    tensors = (logp_new, micro.logp_old, micro.advantages, micro.response_mask)
    settings = config.loss.of_the_method()
    match config.loss.method:
        case "policy_gradient":
            return policy_gradient_loss(*tensors, token_count=token_count)
        case "ppo_clip":
            return ppo_clip_loss(*tensors, token_count=token_count, **settings)
        case "clip_cov":
            return clip_cov_loss(
                *tensors, token_count=token_count, selected_mask=chosen, **settings
            )
        case "kl_cov":
            with warnings.catch_warnings():
                if first:  # known and unavoidable: see the configuration's own check
                    warnings.simplefilter("ignore", InertPenaltyWarning)
                return kl_cov_loss(
                    *tensors, token_count=token_count, selected_mask=chosen, **settings
                )


def _accumulate(totals: dict[str, Tensor], part: dict[str, Tensor]) -> None:
    """Add the parts of one optimizer step; each was divided by the step's own token count."""
    for name, value in part.items():
        old = totals.get(name)
        if old is None:
            totals[name] = value
        else:
            totals[name] = torch.maximum(old, value) if name.endswith("_max") else old + value


def _over_ranks(totals: dict[str, Tensor], ranks: Ranks) -> dict[str, float]:
    """Return the totals of all ranks."""
    largest = [name for name in totals if name.endswith("_max")]
    summed = [name for name in totals if not name.endswith("_max")]
    values: dict[str, float] = {}
    for names, combine in ((summed, ranks.sum_), (largest, ranks.max_)):
        if names:
            joint = torch.stack([totals[name] for name in names]).cpu()
            combine(joint)
            values |= dict(zip(names, joint.tolist(), strict=True))
    return {name: values[name] for name in totals}


def _anywhere(selected: Tensor, ranks: Ranks) -> Tensor:
    """Return where any rank has selected."""
    counts = selected.to(torch.uint8)
    ranks.max_(counts)
    return counts.bool()


def _combined(per_update: list[dict[str, float]]) -> dict[str, float]:
    """Means over the optimizer steps, the largest of what ends in ``_max``."""
    combined: dict[str, float] = {}
    for name in per_update[0]:
        values = [metrics[name] for metrics in per_update]
        combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined
