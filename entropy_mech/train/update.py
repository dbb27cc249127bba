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
from entropy_mech.train.engine_torch import TorchEngine


def update_policy(
    engine: TorchEngine, batch: RolloutBatch, config: TrainConfig, step: int
) -> tuple[dict[str, float], Tensor]:
    """Train on a rollout.

    The number of micro-batches never changes the result: every mean is over the tokens of its
    mini-batch, and unless the scope is ``micro_batch`` tokens are chosen before the gradient
    passes begin, on the whole rollout or mini-batch.

    Returns:
        Metrics (means over the optimizer steps; ``*_max`` the largest) and the tokens touched
        (B x T, bool).

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
            logp = part.logp_old if number == 0 else engine.measure(part)[0]
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
    engine: TorchEngine,
    part: RolloutBatch,
    chosen: Tensor | None,
    config: TrainConfig,
    step: int,
    number: int,
) -> tuple[dict[str, float], Tensor]:
    token_count = int(part.response_mask.sum())
    selected = torch.zeros_like(part.response_mask)
    totals: dict[str, float] = {}
    for rows in part.by_length().split(config.update.micro_batch_size):
        micro = part.rows(rows)
        logp_new, _ = engine.logprobs(micro)
        fixed = None if chosen is None else chosen[rows][:, : logp_new.shape[1]]
        if fixed is None and isinstance(config.loss, ClipCov | KLCov):
            fixed = _select(config.loss, logp_new.detach(), micro, config.seed, step)
        if number == 0:
            # The policy has not moved since the old values were taken, so the ratio is 1. Said
            # so, and not left to rounding: |log ratio| has its corner there, and a difference
            # of 1e-8 between two ways to batch would become a gradient of full size.
            micro = replace(micro, logp_old=logp_new.detach())
        out = _loss(config, micro, logp_new, fixed, token_count, first=number == 0)
        out.loss.backward()
        selected[rows, : logp_new.shape[1]] = out.selected_mask
        _accumulate(totals, {"loss": out.loss.detach(), **out.metrics})
    totals["grad_norm"] = engine.step()
    return totals, selected


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
    keys = stream_key("clip-cov", seed, step, batch.problem.numpy(), batch.sample.numpy())
    positions = torch.arange(batch.tokens.shape[1]).numpy()
    return torch.from_numpy(uniforms(keys[:, None], positions))


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


def _accumulate(totals: dict[str, float], part: dict[str, Tensor]) -> None:
    """Add the parts of one optimizer step; each was divided by the step's own token count."""
    for name, value in part.items():
        old = totals.get(name)
        if old is None:
            totals[name] = value.item()
        else:
            totals[name] = max(old, value.item()) if name.endswith("_max") else old + value.item()


def _combined(per_update: list[dict[str, float]]) -> dict[str, float]:
    """Means over the optimizer steps, the largest of what ends in ``_max``."""
    combined: dict[str, float] = {}
    for name in per_update[0]:
        values = [metrics[name] for metrics in per_update]
        combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined
