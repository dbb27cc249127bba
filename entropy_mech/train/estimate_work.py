"""Tokens, floating-point operations, hours and disk space of a run, from stated assumptions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from entropy_mech.errors import bad_value
from entropy_mech.problems.benchmarks import protocol
from entropy_mech.train.architecture import Architecture
from entropy_mech.train.config import TrainConfig

# Problems of the benchmarks, by their cards; KodCode's is a guess (one in fifty of what is kept).
PROBLEMS = {
    "math500": 500, "aime24": 30, "aime25": 30, "amc": 83, "olympiadbench": 675,
    "omni_math": 4428, "minerva_math": 272, "eurus_code": 1024, "kodcode": 5000,
}  # fmt: skip


@dataclass(frozen=True)
class Assumptions:
    """What no configuration says. Numbers of the hardware are an H100's.

    Attributes:
        response_tokens: mean length of a response; none is the smaller of 1,024 and the limit
            (Fig. 11: 600 to 1,600 at 7B, 500 to 3,500 at 32B).
        prompt_tokens: mean length of a prompt.
        kept_fraction: prompts that the group filter keeps.
        peak_flops: of a GPU, dense bfloat16, a second.
        training_mfu: share of it that forward and backward passes reach.
        bandwidth: bytes a second between a GPU and its memory, which bounds sampling.
        bandwidth_fraction: share of it that sampling reaches, idle slots at the end included.

    """

    response_tokens: int | None = None
    prompt_tokens: int = 128
    kept_fraction: float = 0.5
    peak_flops: float = 989e12
    training_mfu: float = 0.35
    bandwidth: float = 3.35e12
    bandwidth_fraction: float = 0.4

    def response(self, config: TrainConfig) -> int:
        """Return the mean response's tokens."""
        limit = config.rollout.max_new_tokens
        if self.response_tokens is None:
            return min(limit, 1024)
        if not 1 <= self.response_tokens <= limit:
            raise bad_value(
                "--response-tokens", self.response_tokens, f"give 1 to {limit}, the longest"
            )
        return self.response_tokens

    def prompt(self, config: TrainConfig) -> int:
        """Return the mean prompt's tokens."""
        if config.toy:
            levels = getattr(config.problems, "level_shares", None)
            # A digit and a sign for each term; two points and the start of a definition.
            return 2 * max(levels) if levels else _TOY_CODE_PROMPT
        return min(self.prompt_tokens, config.problems.max_prompt_tokens)


_TOY_CODE_PROMPT = 22


@dataclass(frozen=True)
class Counts:
    """Responses and tokens of one rollout, and of one validation."""

    sampled: int
    """Responses sampled."""
    trained: int
    """Responses trained on."""
    validated: int
    """Responses of one validation."""
    prompt: int
    """Tokens of a mean prompt."""
    response: int
    """Tokens of a mean response."""


def counts(config: TrainConfig, assume: Assumptions) -> Counts:
    """Count a rollout's responses: the filter keeps its share, further rounds make up for it."""
    rollout = config.rollout
    kept = assume.kept_fraction if rollout.group_filter else 1.0
    rounds = min(math.ceil(1 / kept), rollout.max_generation_rounds)
    prompts = min(rollout.prompts, int(kept * rounds * rollout.prompts))
    return Counts(
        sampled=rounds * rollout.prompts * rollout.responses,
        trained=prompts * rollout.responses,
        validated=_validated(config),
        prompt=assume.prompt(config),
        response=assume.response(config),
    )


def _validated(config: TrainConfig) -> int:
    asked = config.problems
    if config.toy:
        return sum(asked.validation_counts.values()) * (config.validation.samples + 1)
    limit = asked.validation_limit or max(PROBLEMS.values())
    return sum(min(PROBLEMS[n], limit) * protocol(n).samples for n in asked.validation)


def sequence_flops(model: Architecture, prompt: int, response: int) -> float:
    """Operations of one forward pass over a sequence.

    Two for each weight and token, the head at response tokens alone; attention's two products with
    causal masks, 2 layers L^2 heads x head size.
    """
    length = prompt + response
    dense = 2 * model.body_parameters * length + 2 * model.head_parameters * response
    return dense + 2 * model.layers * model.query_width * length**2


def flops_by_phase(config: TrainConfig, model: Architecture, count: Counts) -> dict[str, float]:
    """Operations of one rollout by phase; a backward pass is two forward ones."""
    one = sequence_flops(model, count.prompt, count.response)
    backward = 3 + config.engine.gradient_checkpointing
    measured = count.trained if config.rollout.entropy_over == "trained" else count.sampled
    extra = 0.0
    if getattr(config.loss, "covariance_scope", "") == "mini_batch":
        updates = config.update.updates_per_rollout
        extra += count.trained * (updates - 1) / updates  # all mini-batches but the first
    if config.update.measure_entropy_change:
        extra += count.trained
    phases = {
        "sample": count.sampled * one,
        "validate": count.validated * one / config.validation.every,
        "measure": (measured + extra) * one,
        "update": count.trained * backward * one,
    }
    prime = config.algorithm.name == "prime"
    if prime:  # it learns from the rollout and rewards it
        phases["PRM"] = count.trained * (backward + 1) * one
    if prime or config.loss.reference_kl:
        phases["reference"] = count.trained * one
    return phases


def decode_tokens_per_s(
    config: TrainConfig, model: Architecture, count: Counts, cache_tokens: int, assume: Assumptions
) -> float:
    """Tokens a second of one engine: each step reads the weights, and every response's cache.

    As many responses run at once as are allowed, as there are, and as the cache holds.
    """
    value = 2 if config.engine.dtype == "bfloat16" else 4
    context = count.prompt + count.response / 2
    fits = cache_tokens // (count.prompt + count.response)
    at_once = max(min(config.sampler.max_sequences, fits), 1)
    read = value * (model.parameters + at_once * context * model.cache_values)
    width = config.sampler.tensor_parallel
    return at_once * width * assume.bandwidth * assume.bandwidth_fraction / read


def disk_bytes(config: TrainConfig, model: Architecture) -> dict[str, int]:
    """Bytes of checkpoints and of the exported policy, each with the one that is being written."""
    deepspeed = config.engine.kind == "deepspeed"
    value = 2 if deepspeed and config.engine.dtype == "bfloat16" else 4
    moments = 8 if config.update.optimizer == "adamw" else 0
    # DeepSpeed keeps a float32 copy of the weights beside those that it computes with.
    one = (value + moments + (4 if deepspeed else 0)) * model.parameters
    models = 2 if config.algorithm.name == "prime" else 1
    return {
        "a checkpoint": models * one,
        "checkpoints": models * one * (config.checkpoint.keep + 1),
        "exported policy": 2 * value * model.parameters,  # the old one until the new one is whole
    }
