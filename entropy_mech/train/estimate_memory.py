"""GPU memory of a run, counted from the shapes of its model and the settings of its engine.

What is counted is what the trainer, DeepSpeed and autograd are known to keep. Bytes are bytes;
nothing here is measured except that the activations of a block are compared with autograd's own in
a test.
"""

from __future__ import annotations

from dataclasses import dataclass

from entropy_mech.train.architecture import Architecture
from entropy_mech.train.config import TrainConfig

GIB = 2**30
# CUDA context, NCCL's buffers, fragmentation, what a sleeping sampler keeps: an allowance.
OTHER_BYTES = 4 * GIB
# DeepSpeed's default: gradients are reduced in buckets of so many values, two at once.
BUCKET_VALUES = 500_000_000
# Logits of a tile of the head on a GPU: objectives.chunked_head's, which imports torch.
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
