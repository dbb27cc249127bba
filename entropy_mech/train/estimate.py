"""What a run will need, before it is loaded: memory a GPU, tokens, operations, hours, disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from entropy_mech.errors import bad_value
from entropy_mech.train.architecture import Architecture, architecture_of
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.estimate_memory import (
    GIB,
    Memory,
    estimate_memory,
    gib,
    longest_sequence,
    sampler_cache_tokens,
)
from entropy_mech.train.estimate_work import (
    Assumptions,
    Counts,
    counts,
    decode_tokens_per_s,
    disk_bytes,
    flops_by_phase,
)

# Tried in turn when a run does not fit.
_GPU_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Estimate:
    """The numbers behind the report; bytes, operations and seconds.

    Attributes:
        gpus: that train (separate sampling engines come on top).
        flops: of one rollout, by phase.
        seconds: of one rollout, by phase; empty where sampling is not vLLM's.
        cache_tokens: keys and values that one sampling engine has room for.

    """

    config: TrainConfig
    model: Architecture
    gpus: int
    gpu_memory_bytes: int
    assume: Assumptions
    memory: Memory
    counts: Counts
    flops: dict[str, float]
    seconds: dict[str, float]
    cache_tokens: int
    disk: dict[str, int]

    @property
    def sampling_gpus(self) -> int:
        """GPUs of separate engines."""
        sampler = self.config.sampler
        if getattr(sampler, "placement", "") != "separate":
            return 0
        return (len(sampler.hosts) or sampler.engines) * sampler.tensor_parallel

    @property
    def gpu_hours(self) -> float:
        """Of the whole run; all GPUs are held all the time."""
        rollout_s = sum(self.seconds.values())
        return self.config.steps * rollout_s * (self.gpus + self.sampling_gpus) / 3600

    @property
    def problems(self) -> list[str]:
        """Why the run cannot be had on these GPUs, each with a way out; empty if it can."""
        found = []
        if self.memory.peak > self.gpu_memory_bytes:
            found.append(
                f"does not fit: {gib(self.memory.peak)} of {gib(self.gpu_memory_bytes)} a GPU; "
                + _way_out(self)
            )
        longest = longest_sequence(self.config)
        if self.seconds and self.cache_tokens < longest:
            found.append(
                f"an engine has room for {self.cache_tokens:,} tokens of cache, and a sequence may "
                f"have {longest:,}: raise sampler.gpu_memory_fraction or sampler.tensor_parallel"
            )
        width = getattr(self.config.sampler, "tensor_parallel", 1)
        if not self.sampling_gpus and self.gpus % width:
            found.append(f"{self.gpus} GPUs do not divide into engines of {width}")
        return found


def estimate(
    config: TrainConfig,
    *,
    gpus: int = 8,
    gpu_memory_gib: float = 80.0,
    assume: Assumptions | None = None,
) -> Estimate | None:
    """Estimate a run; None where the model's shape is not known without loading it.

    Raises:
        UserError: GPUs or memory that are not positive, a mean response beyond the longest.

    """
    assume = assume or Assumptions()
    if gpus < 1:
        raise bad_value("--gpus", gpus, "give 1 or more")
    if not 0 < gpu_memory_gib < math.inf:
        raise bad_value("--gpu-memory-gib", gpu_memory_gib, "give more than 0")
    if config.engine.kind == "torch":
        gpus = 1  # it trains in one process
    model = architecture_of(config)
    if model is None:
        return None
    memory_bytes = int(gpu_memory_gib * GIB)
    count = counts(config, assume)
    flops = flops_by_phase(config, model, count)
    cache, seconds = 0, {}
    if config.sampler.kind == "vllm":
        cache = sampler_cache_tokens(config, model, memory_bytes)
        seconds = _seconds(config, model, gpus, count, flops, cache, assume)
    return Estimate(
        config, model, gpus, memory_bytes, assume,
        estimate_memory(config, model, gpus, memory_bytes),
        count, flops, seconds, cache, disk_bytes(config, model),
    )  # fmt: skip


def _seconds(
    config: TrainConfig,
    model: Architecture,
    gpus: int,
    count: Counts,
    flops: dict[str, float],
    cache_tokens: int,
    assume: Assumptions,
) -> dict[str, float]:
    """Seconds of one rollout by phase."""
    sampler = config.sampler
    if sampler.placement == "separate":
        engines = len(sampler.hosts) or sampler.engines
    else:
        engines = max(gpus // sampler.tensor_parallel, 1)
    rate = engines * decode_tokens_per_s(config, model, count, cache_tokens, assume)
    pace = gpus * assume.peak_flops * assume.training_mfu
    seconds = {
        "sample": count.sampled * count.response / rate,
        "validate": count.validated * count.response / rate / config.validation.every,
    }
    passes = {name: work / pace for name, work in flops.items() if name not in seconds}
    return seconds | passes


def _way_out(found: Estimate) -> str:
    """Return the nearest change that makes a run fit."""
    engine = found.config.engine
    if engine.kind == "torch":
        return 'give engine.kind = "deepspeed" and more GPUs, or a smaller model'
    for gpus in _GPU_COUNTS:
        if gpus > found.gpus and _peak(found, found.config, gpus) <= found.gpu_memory_bytes:
            return f"it would on {gpus} GPUs{_offload_hint(found)}"
    if engine.zero_stage < 3:
        return f"give engine.zero_stage = 3{_offload_hint(found)}"
    return f"give a smaller update.micro_batch_tokens{_offload_hint(found)}"


def _offload_hint(found: Estimate) -> str:
    engine = found.config.engine
    if engine.offload_optimizer:
        return ""
    changed = found.config.model_copy(
        update={"engine": engine.model_copy(update={"offload_optimizer": True})}
    )
    fits = _peak(found, changed, found.gpus) <= found.gpu_memory_bytes
    return ", or here with engine.offload_optimizer = true" if fits else ""


def _peak(found: Estimate, config: TrainConfig, gpus: int) -> int:
    return estimate_memory(config, found.model, gpus, found.gpu_memory_bytes).peak
