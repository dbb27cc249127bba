"""One optimizer step: its micro-batches over the ranks, their gradients, their metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.engine import Engine
from entropy_mech.train.micro_batches import Round, own_rows
from entropy_mech.train.parallel import Ranks

# A micro-batch (on the device), its log-probabilities and entropies, and its rows in the mini-batch
# (empty where it counts for nothing), to the loss and its metrics.
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
    totals: dict[str, Tensor] = {}
    mine = own_rows(rounds, engine.ranks.rank)
    for place, rows in enumerate(mine):
        # A rank without rows passes one that counts for nothing: passes are joint ones.
        idle = not len(rows)
        micro = part.rows(torch.zeros(1, dtype=torch.long) if idle else rows).to(engine.device)
        logp_new, entropy = engine.forward(micro, entropy_gradient=entropy_gradient)
        if idle:
            micro = replace(micro, response_mask=torch.zeros_like(micro.response_mask))
        loss, metrics = loss_of(micro, logp_new, entropy, rows)
        engine.backward(loss, last=place == len(mine) - 1)
        _add(totals, {"loss": loss.detach(), **metrics})
    combined = _over_ranks(totals, engine.ranks)
    combined["grad_norm"] = engine.step()
    return combined


def mean_over_steps(per_step: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the optimizer steps, the largest of what ends in ``_max``."""
    combined: dict[str, float] = {}
    for name in per_step[0]:
        values = [metrics[name] for metrics in per_step]
        combined[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return combined


def _add(totals: dict[str, Tensor], part: dict[str, Tensor]) -> None:
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
