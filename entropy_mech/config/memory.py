"""Whether a run fits, before it is loaded: bytes a GPU, of host memory and of disk.

Counted from the shapes of the model and the settings of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from entropy_mech.config import TrainConfig
from entropy_mech.config.run import architecture_of
from entropy_mech.config.shapes import Architecture

# -- GPU memory ----------------------------------------------------------------------------------

GIB = 2**30
# CUDA context, NCCL's buffers, fragmentation, what a sleeping engine keeps: an allowance.
OTHER_BYTES = 4 * GIB
# DeepSpeed's default: gradients are reduced in buckets of so many values, two at once.
BUCKET_VALUES = 500_000_000
# Logits of a tile of the head on a GPU: objectives.logprobs's, which imports torch.
HEAD_TILE_LOGITS = 2**26


@dataclass(frozen=True)
class Memory:
    """Bytes a GPU.

    ``state`` stays there all the time (name to bytes); ``update`` and ``reference`` come and go,
    ``sampler`` is the share that a vLLM engine takes while it is awake. Training and sampling
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
    sampler = int(getattr(config.sampler, "gpu_memory_fraction", 0.0) * gpu_memory_bytes)
    return Memory(state, update, reference, sampler, host, loading, unsharded=whole)


def micro_batch_tokens(config: TrainConfig) -> int:
    """Return the most tokens of one backward pass, padding counted in."""
    update = config.update
    return update.micro_batch_tokens or update.micro_batch_size * config.longest_sequence


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
    summed = 4 if stage else value  # gradients are summed and reduced in float32
    update = {"gradients": summed * gradient_part}
    if stage == 1 and value < summed:  # nothing is sharded before the last micro-batch
        update["gradients of a micro-batch"] = value * n
    if not engine.offload_optimizer:
        update["gradients as float32"] = 4 * optimizer_part
    update["reduction buckets"] = 2 * summed * min(BUCKET_VALUES, n)
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
    longest = max(config.engine.forward_tokens, config.longest_sequence)
    activations = max(activations, longest * block)
    tiles = 4 if config.loss.entropy_bonus else 2
    tile = 4 * min(HEAD_TILE_LOGITS, tokens * model.vocabulary)
    gradient = (4 + (value if value < 4 else 0)) * model.head_parameters
    return {"activations": activations, "head": tiles * tile + gradient}


# -- The check -----------------------------------------------------------------------------------

# Tried in turn when a run does not fit.
_GPU_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class MemoryCheck:
    """What a run takes of the GPUs that it is given; all sizes in bytes.

    Attributes:
        gpus: processes that train, one on each GPU.

    """

    config: TrainConfig
    model: Architecture
    gpus: int
    gpu_memory_bytes: int

    @cached_property
    def memory(self) -> Memory:
        """Bytes a GPU and of its host."""
        return estimate_memory(self.config, self.model, self.gpus, self.gpu_memory_bytes)

    @property
    def cache_tokens(self) -> int | None:
        """Keys and values that one sampling engine has room for; None without vLLM."""
        sampler, value = self.config.sampler, _pass_bytes(self.config)
        if sampler.kind != "vllm":
            return None
        a_gpu = sampler.gpu_memory_fraction * self.gpu_memory_bytes - OTHER_BYTES / 2
        free = a_gpu * sampler.tensor_parallel - self.model.parameters * value
        return max(int(free / (self.model.cache_values * value)), 0)

    @property
    def disk(self) -> dict[str, int]:
        """Checkpoints and the exported policy, each with the one that is being written."""
        config, n = self.config, self.model.parameters
        moments = 8 if config.update.optimizer == "adamw" else 0
        # DeepSpeed keeps a float32 copy of the weights beside those that it computes with.
        copy = 4 if config.engine.kind == "deepspeed" else 0
        models = 2 if config.algorithm.name == "prime" else 1
        checkpoint = models * (_weight_bytes(config) + moments + copy) * n
        return {
            "a checkpoint": checkpoint,
            "checkpoints": checkpoint * (config.checkpoint.keep + 1),
            "exported policy": 2 * _weight_bytes(config) * n,  # the old one until the new is whole
        }

    @property
    def fits(self) -> bool:
        """Whether the peak is within the memory of a GPU."""
        return self.memory.peak <= self.gpu_memory_bytes

    @property
    def problems(self) -> list[str]:
        """Why the run does not fit these GPUs, each with a fix; empty if it does."""
        found, cache, longest = [], self.cache_tokens, self.config.longest_sequence
        if not self.fits:
            sizes = f"{gib(self.memory.peak)} of {gib(self.gpu_memory_bytes)} a GPU"
            found.append(f"does not fit: {sizes}; {self._fix()}")
        if cache is not None and cache < longest:
            found.append(
                f"an engine has room for {cache:,} tokens of cache, and a sequence may "
                f"have {longest:,}: raise sampler.gpu_memory_fraction or sampler.tensor_parallel"
            )
        width = getattr(self.config.sampler, "tensor_parallel", 1)
        if self.gpus % width:
            found.append(f"{self.gpus} GPUs do not divide into engines of {width}")
        return found

    def _fix(self) -> str:
        """Return the nearest change that makes the run fit."""
        engine, hint = self.config.engine, ""
        if engine.kind == "torch":
            return 'give engine.kind = "deepspeed" and more GPUs, or a smaller model'
        offloaded = engine.model_copy(update={"offload_optimizer": True})
        if replace(self, config=self.config.model_copy(update={"engine": offloaded})).fits:
            hint = ", or here with engine.offload_optimizer = true"
        for gpus in _GPU_COUNTS:
            if gpus > self.gpus and replace(self, gpus=gpus).fits:
                return f"it would on {gpus} GPUs{hint}"
        if engine.zero_stage < 3:
            return f"give engine.zero_stage = 3{hint}"
        return f"give a smaller update.micro_batch_tokens{hint}"


def check_memory(
    config: TrainConfig, *, gpus: int = 8, gpu_memory_gib: float = 80.0
) -> MemoryCheck | None:
    """Check a run against its GPUs; None where the model's shape is not known without loading it.

    An engine of the kind ``torch`` trains in one process, on one GPU.
    """
    model = architecture_of(config)
    gpus = 1 if config.engine.kind == "torch" else gpus
    # Capped beyond all GPUs: infinitely many bytes are no whole number.
    return model and MemoryCheck(config, model, gpus, int(min(gpu_memory_gib, GIB) * GIB))


def report(found: MemoryCheck) -> list[str]:
    """Return the check, a subject a line; the last lines warn of what does not fit."""
    config, memory = found.config, found.memory
    name = "toy" if config.toy else config.model.path
    update = f"{_sizes(memory.update)} (micro-batches of {micro_batch_tokens(config):,} tokens)"
    rows = {
        "model": f"{name}: {found.model.parameters:,} parameters, "
        f"{found.model.body_parameters:,} without embedding and head",
        "GPUs": f"{found.gpus} of {gib(found.gpu_memory_bytes)}",
        "memory a GPU": f"{gib(memory.peak)} at the peak",
        "  always": f"{_sizes(memory.state)}, allowance {gib(OTHER_BYTES)}",
        "  update": update,
        "  reference": gib(memory.reference) if memory.reference else "",
        "  sampling": f"{gib(memory.sampler)} for the engine" if memory.sampler else "",
        "host memory": f"for each GPU at most {gib(memory.loading)} while loading"
        + (f", then {gib(memory.host)}" if memory.host else ""),
    }
    if found.cache_tokens is not None:
        whole = found.cache_tokens // config.longest_sequence
        rows["cache"] = (
            f"{found.cache_tokens:,} tokens an engine: {whole:,} sequences of full length"
        )
    rows["disk"] = _sizes(found.disk)
    return [f"{subject:<14}{text}" for subject, text in rows.items() if text] + [
        f"warning: {problem}" for problem in found.problems
    ]


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gib(size)}" for name, size in sizes.items() if size)


def gib(size: float) -> str:
    """Write bytes for a reader.

    >>> gib(3 * 2**29), gib(2**20)
    ('1.5 GiB', '1.0 MiB')
    """
    return f"{size / GIB:.1f} GiB" if size >= 0.05 * GIB else f"{size / 2**20:.1f} MiB"
