"""What an engine offers, and what all engines do alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from entropy_mech.errors import UserError
from entropy_mech.train.batch import RolloutBatch
from entropy_mech.train.config import EngineConfig, UpdateConfig
from entropy_mech.train.micro_batches import own_rows, plan_rounds
from entropy_mech.train.parallel import Ranks
from entropy_mech.train.policy import Policy


class Diverged(UserError):
    """A gradient or a metric that is not finite: the run ends, and its checkpoints stay."""

    exit_code = 1

    def __init__(self, what: str, value: float, consequence: str):
        super().__init__(
            f"{what} is {value}: {consequence}; a policy that moves so far in one update may need "
            "a smaller update.learning_rate, and a probability ratio beyond 1e38 is held by "
            "loss.log_ratio_clamp = 20"
        )


def refuse_diverged(metrics: Mapping[str, Any], step: int) -> None:
    """Raise the error that names a step's first metric that is no finite number."""
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Diverged(f"metric {name}", value, f"the run ends at step {step}")


def broken_weight(model: nn.Module) -> str:
    """Return the name of a weight that holds NaN or infinity; the empty string if none does."""
    for name, weight in model.named_parameters():
        # A sum is finite where all its terms are, unless the numbers are beyond any use.
        if not weight.detach().sum(dtype=torch.float32).isfinite():
            return name
    return ""


class Engine(Protocol):
    """Owns the policy and its optimizer. All ranks of a run call each method together."""

    ranks: Ranks
    config: EngineConfig
    device: torch.device
    policy: Policy

    def forward(self, batch: RolloutBatch, *, entropy_gradient: bool = False):
        """Return log-probabilities (differentiable) and entropies of a micro-batch, B x T each."""
        ...

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a loss's gradient; ``last`` marks the step's last one. Sums over ranks are sums."""
        ...

    def step(self) -> float:
        """Clip the gradient, take one optimizer step, return the norm before clipping."""
        ...

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield whole weights by their Hugging Face names, each valid until the next is asked."""
        ...

    def save(self, folder: Path) -> None:
        """Write this rank's share of the state."""
        ...

    def load(self, folder: Path) -> None:
        """Take up a state written by ``save``."""
        ...


def build_engine(
    model: PreTrainedModel,
    config: EngineConfig,
    update: UpdateConfig,
    ranks: Ranks,
    *,
    temperature: float = 1.0,
    learning_rate: float | None = None,
) -> Engine:
    """Return the engine that ``config`` names, around ``model``."""
    if config.kind == "deepspeed":
        from entropy_mech.train.engine_deepspeed import DeepSpeedEngine as Chosen
    else:
        from entropy_mech.train.engine_torch import TorchEngine as Chosen
    return Chosen(
        model, config, update, ranks, temperature=temperature, learning_rate=learning_rate
    )


def prepared_policy(model: PreTrainedModel, config: EngineConfig, temperature: float) -> Policy:
    """Return the policy module, with gradient checkpointing where it is asked for."""
    model.eval()
    if config.gradient_checkpointing:
        # Blocks are recomputed in training mode alone; these models have no dropout to switch on.
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    return Policy(model, temperature=temperature)


def half_passes(config: EngineConfig, device: torch.device) -> AbstractContextManager:
    """Return the context of forward passes: bfloat16 over float32 weights, where it is asked for.

    DeepSpeed's weights are bfloat16 themselves and need none.
    """
    half = config.kind == "torch" and config.dtype == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def new_optimizer(
    parameters: Iterator[nn.Parameter], config: UpdateConfig, learning_rate: float | None
) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration (the learning rate may be another one)."""
    settings = {
        "lr": config.learning_rate if learning_rate is None else learning_rate,
        "weight_decay": config.weight_decay,
        "foreach": True,
    }
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, **settings)
    return torch.optim.AdamW(parameters, betas=(0.9, 0.999), **settings)


@torch.no_grad()
def measure(engine: Engine, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of all rows (B x T each), on every rank, in host memory.

    The passes are cut by ``engine.forward_tokens`` and not by the micro-batch size, so old
    log-probabilities, and what is selected by them, do not depend on the latter.
    """
    logp = torch.zeros(batch.response_mask.shape)
    entropy = torch.zeros_like(logp)
    if not len(batch):
        return logp, entropy
    lengths = batch.lengths()
    budget = max(engine.config.forward_tokens, int(lengths.max()))
    rounds = plan_rounds(lengths, tokens=budget, ranks=engine.ranks.size)
    for rows in own_rows(rounds, engine.ranks.rank):
        # A rank without rows passes one all the same: under ZeRO-3 every pass is a joint one.
        part = batch.rows(rows if len(rows) else torch.zeros(1, dtype=torch.long))
        part_logp, part_entropy = engine.forward(part)
        if len(rows):
            logp[rows, : part_logp.shape[1]] = part_logp.float().cpu()
            entropy[rows, : part_logp.shape[1]] = part_entropy.float().cpu()
    engine.ranks.sum_(logp, entropy)
    return logp, entropy
