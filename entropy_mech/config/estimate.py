"""Whether a run fits, before it is loaded: memory a GPU, tokens, operations, hours, disk.

Memory is counted from the shapes of the model and the settings of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from entropy_mech.config import TrainConfig
from entropy_mech.config.run import architecture_of
from entropy_mech.config.shapes import Architecture
from entropy_mech.errors import bad_value
from entropy_mech.problems.benchmarks import protocol

# -- GPU memory ----------------------------------------------------------------------------------

GIB = 2**30
# CUDA context, NCCL's buffers, fragmentation, what a sleeping sampler keeps: an allowance.
OTHER_BYTES = 4 * GIB
# DeepSpeed's default: gradients are reduced in buckets of so many values, two at once.
BUCKET_VALUES = 500_000_000
# Logits of a tile of the head on a GPU: objectives.logprobs's, which imports torch.
HEAD_TILE_LOGITS = 2**26


@dataclass(frozen=True)
class Memory:
    """Bytes a GPU.

    ``state`` stays there all the time (name to bytes); ``update`` and ``reference`` come and go,
    ``sampler`` is the share that a colocated engine takes while it is awake. Training and sampling
    take turns, so the peak is the state, the allowance and the largest of the three.
    """

    state: dict[str, int]
    update: dict[str, int]
    reference: int
    sampler: int
    host: int
    """Bytes of host memory for each GPU, by offloading and by copies that rest there."""
    loading: int
    """Bytes of host memory for each GPU at the start, at most: every process loads whole models.

    Weights that are stored in the engine's precision are mapped, once for all of a host."""
    unsharded: int
    """Bytes of a GPU at the start: DeepSpeed moves the whole model there before it shards it."""

    @property
    def peak(self) -> int:
        """The most that a GPU holds at once."""
        largest = max(sum(self.update.values()), self.reference, self.sampler)
        return max(sum(self.state.values()) + largest, self.unsharded) + OTHER_BYTES


def estimate_memory(
    config: TrainConfig, model: Architecture, gpus: int, gpu_memory_bytes: int
) -> Memory:
    """Count the memory of a run on ``gpus`` training GPUs."""
    state, update, host = _engine(config, model, gpus)
    prime = config.algorithm.name == "prime"
    if prime:  # the implicit PRM has an engine of its own
        state = {**state, **{f"PRM's {name}": size for name, size in state.items()}}
        host *= 2
    update |= _passes(config, model)
    whole = model.parameters * _weight_bytes(config)
    reference = whole if prime or config.loss.reference_kl else 0
    host += reference  # where it rests between questions
    loading = whole * (1 + bool(reference) + prime)
    sharded = config.engine.kind == "deepspeed" and config.engine.zero_stage == 3
    if sharded and config.sampler.kind == "torch":  # it samples with weights that it gathers
        state["sampler's copy"] = whole
    colocated = getattr(config.sampler, "placement", "") == "colocated"
    share = config.sampler.gpu_memory_fraction if colocated else 0.0
    sampler = int(share * gpu_memory_bytes)
    return Memory(state, update, reference, sampler, host, loading, unsharded=whole)


def sampler_cache_tokens(config: TrainConfig, model: Architecture, gpu_memory_bytes: int) -> int:
    """Return how many tokens of keys and values an engine of the sampler has room for."""
    sampler = config.sampler
    free = sampler.gpu_memory_fraction * gpu_memory_bytes * sampler.tensor_parallel
    free -= model.parameters * _pass_bytes(config) + OTHER_BYTES / 2 * sampler.tensor_parallel
    return max(int(free / (model.cache_values * _pass_bytes(config))), 0)


def longest_sequence(config: TrainConfig) -> int:
    """Return the tokens of the longest prompt and response together."""
    return config.rollout.max_new_tokens + getattr(config.problems, "max_prompt_tokens", 0)


def micro_batch_tokens(config: TrainConfig) -> int:
    """Return the most tokens of one backward pass, padding counted in."""
    update = config.update
    return update.micro_batch_tokens or update.micro_batch_size * longest_sequence(config)


def block_bytes(model: Architecture, value_bytes: int) -> int:
    """Bytes a token that autograd keeps of one transformer block, with fused attention.

    Twice a norm: its input as float32 and its normalised output (and 4 bytes for the scale). Then
    the inputs of the projections (D for q, k, v; all heads for the output; D for gate and up),
    rotated queries and keys, values, what attention returns (and 4 bytes a head), and four tensors
    of the feed-forward part: gate, its activation, up, their product.
    """
    norms = 2 * (4 * model.hidden + value_bytes * model.hidden + 4)
    inputs = 2 * model.hidden
    attention = 2 * model.query_width + 2 * model.key_width
    values = inputs + attention + 4 * model.intermediate
    return norms + value_bytes * values + 4 * model.heads


def _weight_bytes(config: TrainConfig) -> int:
    """Bytes of a weight in the trainer: the torch engine keeps float32 whatever it computes in."""
    return _pass_bytes(config) if config.engine.kind == "deepspeed" else 4


def _pass_bytes(config: TrainConfig) -> int:
    return 2 if config.engine.dtype == "bfloat16" else 4


def _engine(
    config: TrainConfig, model: Architecture, gpus: int
) -> tuple[dict[str, int], dict[str, int], int]:
    """Return what stays on the GPU, what an update adds, and what offloading puts on the host."""
    n, engine = model.parameters, config.engine
    moments = 8 if config.update.optimizer == "adamw" else 0
    if engine.kind == "torch":
        casts = 2 * n if engine.dtype == "bfloat16" else 0
        state = {"weights": 4 * n, "optimizer": moments * n}
        return state, {"gradients": 4 * n, "bfloat16 casts": casts}, 0
    value, stage = _pass_bytes(config), engine.zero_stage
    shards = [n if stage < least else -(-n // gpus) for least in (1, 2, 3)]
    optimizer_part, gradient_part, weight_part = shards
    weights = value * weight_part
    optimizer = (4 + moments) * optimizer_part  # a float32 copy of the weights, and the moments
    host = (optimizer if engine.offload_optimizer else 0) + (
        weights if engine.offload_weights else 0
    )
    state = {
        "weights": 0 if engine.offload_weights else weights,
        "optimizer": 0 if engine.offload_optimizer else optimizer,
    }
    update = {"gradients": value * gradient_part}
    if not engine.offload_optimizer:
        update["gradients as float32"] = 4 * optimizer_part
    update["reduction buckets"] = 2 * value * min(BUCKET_VALUES, n)
    if stage == 3:  # a block is gathered while the next one is fetched, and the head
        gathered = 2 * model.block_parameters + model.head_parameters
        update["gathered weights"] = value * gathered
    return state, update, host


def _passes(config: TrainConfig, model: Architecture) -> dict[str, int]:
    """Bytes of activations and of the head in one backward pass."""
    value, tokens = _pass_bytes(config), micro_batch_tokens(config)
    block = block_bytes(model, value)
    if config.engine.gradient_checkpointing:  # each block's input, and one block at a time
        activations = tokens * (value * model.hidden * model.layers + block)
    else:
        activations = tokens * block * model.layers
    # Passes without gradient hold one block at a time; that they are longer matters rarely.
    longest = max(config.engine.forward_tokens, longest_sequence(config))
    activations = max(activations, longest * block)
    tiles = 4 if config.loss.entropy_bonus else 2
    tile = 4 * min(HEAD_TILE_LOGITS, tokens * model.vocabulary)
    gradient = (4 + (value if value < 4 else 0)) * model.head_parameters
    return {"activations": activations, "head": tiles * tile + gradient}


def gib(size: float) -> str:
    """Write bytes for a reader.

    >>> gib(3 * 2**29), gib(2**20)
    ('1.5 GiB', '1.0 MiB')
    """
    return f"{size / GIB:.1f} GiB" if size >= 0.05 * GIB else f"{size / 2**20:.1f} MiB"


# -- Tokens, operations, hours, disk -------------------------------------------------------------

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
            return max(config.problems.level_shares) + 2  # a start, a name a step, a sign
        return min(self.prompt_tokens, config.problems.max_prompt_tokens)


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


# -- The estimate --------------------------------------------------------------------------------

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


# -- The estimate as lines -----------------------------------------------------------------------


def report(found: Estimate) -> list[str]:
    """Return the estimate, a subject a line; the last lines warn of what does not fit."""
    rows = [*_memory(found), *_work(found), ("disk", _sizes(found.disk)), _assumed(found)]
    return [f"{subject:<14}{text}" for subject, text in rows] + [
        f"warning: {problem}" for problem in found.problems
    ]


def _memory(found: Estimate) -> list[tuple[str, str]]:
    config, memory = found.config, found.memory
    name = "toy" if config.toy else config.model.path
    others = f", and {found.sampling_gpus} that sample" if found.sampling_gpus else ""
    turns = {
        "update": _sizes(memory.update)
        + f" (micro-batches of {micro_batch_tokens(config):,} tokens)",
        "reference": gib(memory.reference) if memory.reference else "",
        "sampling": f"{gib(memory.sampler)} for the engine" if memory.sampler else "",
    }
    rows = [
        (
            "model",
            f"{name}: {found.model.parameters:,} parameters, "
            f"{found.model.body_parameters:,} without embedding and head",
        ),
        ("GPUs", f"{found.gpus} of {gib(found.gpu_memory_bytes)}{others}"),
        ("memory a GPU", f"{gib(memory.peak)} at the peak"),
        ("  always", f"{_sizes(memory.state)}, allowance {gib(OTHER_BYTES)}"),
        *((f"  {turn}", text) for turn, text in turns.items() if text),
        (
            "host memory",
            f"for each GPU at most {gib(memory.loading)} while loading"
            + (f", then {gib(memory.host)}" if memory.host else ""),
        ),
    ]
    if found.seconds:
        whole = found.cache_tokens // longest_sequence(config)
        rows.append(
            (
                "cache",
                f"{found.cache_tokens:,} tokens an engine: {whole:,} sequences of full length",
            )
        )
    return rows


def _work(found: Estimate) -> list[tuple[str, str]]:
    config, count = found.config, found.counts
    sampled, trained = count.sampled * count.response, count.trained * count.response
    rows = [
        (
            "a rollout",
            f"{count.sampled:,} responses sampled ({sampled:,} tokens), "
            f"{count.trained:,} trained on ({trained:,})",
        ),
        (
            "the run",
            f"{config.steps:,} rollouts, "
            f"{config.steps * config.update.updates_per_rollout:,} updates, "
            f"{config.steps * sampled:,} tokens sampled, {config.steps * trained:,} trained on",
        ),
        ("operations", _amounts(found.flops, ".2e") + " a rollout"),
    ]
    if found.seconds:
        total, hours = sum(found.seconds.values()), found.gpu_hours
        clock = hours / (found.gpus + found.sampling_gpus)
        rows += [
            ("seconds", f"{_amounts(found.seconds, '.0f')}; {total:.0f} a rollout"),
            ("time", f"{hours:,.0f} GPU hours, {clock:,.1f} hours on the clock"),
        ]
    return rows


def _assumed(found: Estimate) -> tuple[str, str]:
    assume, count = found.assume, found.counts
    text = f"responses of {count.response} tokens, prompts of {count.prompt}"
    if found.config.rollout.group_filter:
        text += f", the filter keeps {assume.kept_fraction:.0%}"
    if found.seconds:
        text += (
            f"; {assume.training_mfu:.0%} of {assume.peak_flops:.3g} operations a second in "
            f"passes, {assume.bandwidth_fraction:.0%} of {assume.bandwidth:.3g} bytes a second in "
            "sampling; grading, weight sync and checkpoints not counted"
        )
    return "assumed", text


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gib(size)}" for name, size in sizes.items() if size)


def _amounts(amounts: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {amount:{form}}" for name, amount in amounts.items())
