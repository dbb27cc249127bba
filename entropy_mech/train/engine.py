"""The policy and its optimizer in one process, micro-batches, and policies that are frozen."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from entropy_mech.config import EngineConfig, UpdateConfig
from entropy_mech.errors import UserError, bad_value
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.policy import Policy
from entropy_mech.train.rollouts import RolloutBatch

# -- Micro-batches over ranks --------------------------------------------------------------------

# One entry a process: the rows it passes in this round, possibly none.
Round = tuple[Tensor, ...]


def plan_rounds(
    lengths: Tensor, *, rows: int | None = None, tokens: int | None = None, ranks: int = 1
) -> list[Round]:
    """Cut rows into micro-batches of like length and deal them out.

    The cut is deterministic and the same on every process. Rows go from the shortest to the
    longest, so that little is padding; the micro-batches of one round are neighbours in that
    order, so that no process waits long for another.

    Args:
        lengths: B, tokens of each row with its prompt.
        rows: at most this many rows a micro-batch, or
        tokens: at most this many tokens a micro-batch, padding counted in.
        ranks: how many processes share them. With a token budget the costliest micro-batches
            are halved until all processes have equally many, where rows allow it.

    Returns:
        Rounds of ``ranks`` entries; each row occurs once.

    >>> plan_rounds(torch.tensor([4, 9, 2, 5]), tokens=10, ranks=2)
    [(tensor([2]), tensor([0])), (tensor([1]), tensor([3]))]

    """
    order = lengths.argsort(stable=True)
    if tokens is None:
        parts = list(order.split(rows or len(order) or 1))
    else:
        parts = _halved(_within_budget(order, lengths, tokens), lengths, ranks)
    rounds = []
    for number, start in enumerate(range(0, len(parts), ranks)):
        chosen = parts[start : start + ranks]
        chosen += [order[:0]] * (ranks - len(chosen))
        # Each second round is dealt backwards: the same process does not always get the longest.
        rounds.append(tuple(chosen if number % 2 == 0 else chosen[::-1]))
    return rounds


def _within_budget(order: Tensor, lengths: Tensor, tokens: int) -> list[Tensor]:
    longest = int(lengths.max()) if len(lengths) else 0
    if longest > tokens:
        raise bad_value(
            "update.micro_batch_tokens", tokens, f"a sequence has {longest} tokens; give as many"
        )
    parts, start = [], 0
    ordered = lengths[order].tolist()
    for end, length in enumerate(ordered):
        if (end - start + 1) * length > tokens:
            parts.append(order[start:end])
            start = end
    return [*parts, order[start:]] if ordered else []


def _halved(parts: list[Tensor], lengths: Tensor, ranks: int) -> list[Tensor]:
    """Split the costliest parts until their number divides by ``ranks`` or none can be split."""
    while len(parts) % ranks:
        costs = [len(part) * int(lengths[part].max()) if len(part) > 1 else 0 for part in parts]
        place = max(range(len(parts)), key=costs.__getitem__)
        if not costs[place]:
            break
        # The longer rows' half is the smaller one: halves of like cost.
        part = parts[place]
        middle = (len(part) + 1) // 2
        parts = [*parts[:place], part[:middle], part[middle:], *parts[place + 1 :]]
    return parts


def own_parts(
    batch: RolloutBatch, rounds: Sequence[Round], rank: int
) -> Iterator[tuple[Tensor, RolloutBatch]]:
    """Yield one process's rows of each round, and their micro-batch.

    Every pass is collective: a process without rows in a round passes the first row of the batch,
    and the caller must give it weight 0.
    """
    for entries in rounds:
        rows = entries[rank]
        yield rows, batch.rows(rows if len(rows) else torch.zeros(1, dtype=torch.long))


# -- Numbers that are none, and measuring ---------------------------------------------------------


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
        # A sum of finite terms is finite unless it overflows, and such weights are useless too.
        if not weight.detach().sum(dtype=torch.float32).isfinite():
            return name
    return ""


@torch.no_grad()
def measure(engine: Engine | FrozenPolicy, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
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
    for rows, part in own_parts(batch, rounds, engine.ranks.rank):
        part_logp, part_entropy = (x[: len(rows)].float().cpu() for x in engine.forward(part))
        logp[rows, : part_logp.shape[1]] = part_logp
        entropy[rows, : part_logp.shape[1]] = part_entropy
    engine.ranks.sum_(logp, entropy)
    return logp, entropy


# -- Policies in one process ---------------------------------------------------------------------


class FrozenPolicy:
    """A policy for inference only. Each rank has a whole copy, which stays on the host.

    A GPU gets its weights for the time of a question and then drops them: they never change, so
    nothing is copied back. Its passes have the trained policy's precision, so that its KL to
    itself is 0.
    """

    def __init__(
        self, model: PreTrainedModel, config: EngineConfig, ranks: Ranks, *, temperature: float
    ):
        self.config, self.ranks, self.device = config, ranks, ranks.device
        self.policy = Policy(model.requires_grad_(False).eval(), temperature=temperature)
        self._uploaded: dict[str, Tensor] = {}
        if self.device.type != "cpu":
            for tensor in self._tensors().values():  # a copy from pinned memory is twice as fast
                tensor.data = tensor.data.pin_memory()

    def _tensors(self) -> dict[str, Tensor]:
        return dict([*self.policy.named_parameters(), *self.policy.named_buffers()])

    def logprobs(self, batch: RolloutBatch) -> Tensor:
        """Log-probabilities of all rows, B x T, on every rank."""
        if self.device.type != "cpu":
            self._uploaded = {
                name: tensor.to(self.device, non_blocking=True)
                for name, tensor in self._tensors().items()
            }
        try:
            return measure(self, batch)[0]
        finally:
            self._uploaded = {}

    def forward(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies of the response tokens, B x T each."""
        with pass_precision(self.config, self.device):
            return functional_call(self.policy, self._uploaded, batch.to(self.device).policy_inputs)


_STATE = "state.pt"


class Engine:
    """Owns the policy and its optimizer. All ranks of a run call each method together.

    This one trains in one process: weights are float32, passes bfloat16 where asked.
    ``DeepSpeedEngine`` shares them out over several.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: EngineConfig,
        update: UpdateConfig,
        ranks: Ranks,
        *,
        temperature: float = 1.0,
        learning_rate: float | None = None,
    ):
        self.config, self.ranks, self.device = config, ranks, ranks.device
        model.eval()
        if config.gradient_checkpointing:
            # Blocks are recomputed in training mode alone; these models have no dropout.
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        if config.kind == "torch":  # DeepSpeed moves a model itself, part by part under ZeRO-3
            model.to(self.device)
        self.policy = self.module = Policy(model, temperature=temperature)
        self.max_grad_norm = update.max_grad_norm
        rate = update.learning_rate if learning_rate is None else learning_rate
        settings = {"lr": rate, "weight_decay": update.weight_decay, "foreach": True}
        if update.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(model.parameters(), **settings)
        else:
            self.optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.999), **settings)

    def forward(
        self, batch: RolloutBatch, *, entropy_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (differentiable) and entropies of the response tokens, B x T each."""
        inputs = batch.to(self.device).policy_inputs
        with pass_precision(self.config, self.device):
            return self.module(*inputs, entropy_gradient=entropy_gradient)

    @torch.no_grad()
    def logits(self, batch: RolloutBatch) -> Tensor:
        """Logits that predict the response tokens, N x V: for small vocabularies only."""
        part = batch.to(self.device)
        mask = part.response_mask
        places = mask.nonzero(as_tuple=True)
        states = self.policy.predicting_states(part.input_ids, part.prompt_length, mask, places)
        return self.policy.model.lm_head(states).float()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a loss's gradient; ``last`` marks the step's last one.

        Gradients are summed, not averaged, over ranks.
        """
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
        """Yield whole weights by their Hugging Face names, each valid until the next is asked."""
        for name, parameter in self.policy.model.named_parameters():
            yield name, parameter.detach()

    def save(self, folder: Path) -> None:
        """Write this rank's share of weights and optimizer."""
        model, optimizer = self.policy.model.state_dict(), self.optimizer.state_dict()
        buffer = io.BytesIO()  # so that a full disk is an OSError, and not torch's RuntimeError
        torch.save({"model": model, "optimizer": optimizer}, buffer)
        (folder / _STATE).write_bytes(buffer.getbuffer())

    def load(self, folder: Path) -> None:
        """Load a state written by ``save``."""
        state = torch.load(folder / _STATE, map_location=self.device, weights_only=True)
        self.policy.model.load_state_dict(state["model"])
        if broken := broken_weight(self.policy.model):
            fix = f"the weight {broken} holds NaN or infinity; remove it, to go on from another"
            raise bad_value("checkpoint", str(folder), fix)
        self.optimizer.load_state_dict(state["optimizer"])


def pass_precision(config: EngineConfig, device: torch.device) -> AbstractContextManager:
    """Return the context of forward passes: bfloat16 where asked and the weights are float32."""
    half = config.dtype == "bfloat16" and config.kind == "torch"  # DeepSpeed's weights are it
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()
