"""Batched sampling from a Hugging Face model in this process, with a KV cache.

Any class is decoded by its own code; the usual ones faster: by a decoder written out on a CPU, and
by one CUDA graph a token on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AttentionInterface,
    DynamicCache,
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
)

from entropy_mech.objectives import token_entropy
from entropy_mech.objectives.logprobs import HALF, float32_product
from entropy_mech.random_streams import uniforms
from entropy_mech.sampling.sampler import Completions, SamplingRequest, places_by_temperature

# -- The sampler ---------------------------------------------------------------------------------

# Beyond so many responses at once a GPU gains little, and their keys and values may not fit: 256 of
# 2,000 tokens are 27 GiB for Qwen2.5-7B. A batch on a CPU is never split.
_ROWS_AT_ONCE = 256


class TorchSampler:
    """Samples with the trainer's own model, so its weights are never stale.

    A token is drawn by inverting the cumulative distribution at the request's uniform number
    for that position. Its draws are therefore the same in any batch order or composition; only
    the rounding of the logits, which padding can move, could ever turn one token into another.

    Qwen2, Llama and Mistral in float32 on a CPU are decoded by ``FusedDecoder``, which copies the
    weights at every call; on a GPU these and Qwen3 by ``StaticDecoder``; all else by the model's
    own forward pass and a growing cache, which without ``cuda_graph`` serves on GPUs, too. With
    ``keep_entropy`` the completions have the policy's entropy at every token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        pad_token: int,
        eos_token: int,
        keep_entropy: bool = False,
        cuda_graph: bool = True,
    ):
        self.model, self.pad_token, self.eos_token = model, pad_token, eos_token
        self.keep_entropy, self.cuda_graph = keep_entropy, cuda_graph

    @torch.no_grad()
    def sample(
        self, requests: Sequence[SamplingRequest], *, temperature: float, max_new_tokens: int
    ) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``."""
        device, training = self.model.device, self.model.training
        shape = (len(requests), max_new_tokens)
        out = _Output(shape, self.pad_token, device, keep_entropy=self.keep_entropy)
        # In training mode gradient checkpointing keeps no KV cache: Hugging Face drops it with a
        # warning, and each token would attend to itself alone.
        self.model.eval()
        try:
            for own, places in places_by_temperature(requests, temperature).items():
                at_once = len(places) if device.type == "cpu" else _ROWS_AT_ONCE
                for start in range(0, len(places), at_once):
                    part = places[start : start + at_once]
                    self._fill(out, part, [requests[place] for place in part], own)
        finally:
            self.model.train(training)
        return out.completions(self.eos_token)

    def stream(
        self, requests: Sequence[SamplingRequest], **settings
    ) -> Iterator[tuple[Sequence[int], Completions]]:
        """Yield places among the requests and their responses: all at once, as ``sample``."""
        if requests:
            yield range(len(requests)), self.sample(requests, **settings)

    def _fill(
        self,
        out: _Output,
        places: Sequence[int],
        requests: Sequence[SamplingRequest],
        temperature: float,
    ) -> None:
        """Write the responses of some requests, of one temperature, to their rows."""
        prompts = [request.prompt_tokens for request in requests]
        decoder = self._decoder_class()(self.model, prompts, self.pad_token)
        keys = np.array([request.key for request in requests], dtype=np.uint64)
        alive = torch.tensor(places, device=self.model.device)
        ended = torch.zeros_like(alive, dtype=torch.bool)
        columns, step = out.tokens.shape[1], decoder.tokens_a_check
        for start in range(0, columns, step):
            positions = np.arange(start, min(start + step, columns))
            # One upload for them all, for which the host waits.
            draws = torch.from_numpy(uniforms(keys, positions[:, None])).to(alive.device)
            for position, own in zip(positions.tolist(), draws, strict=True):
                token, logp = _draw(decoder.logits, temperature, own)
                out.tokens[alive, position] = token
                out.logp[alive, position] = logp
                if self.keep_entropy:
                    out.entropy[alive, position] = token_entropy(decoder.logits)
                ended |= token == self.eos_token
                if position < positions[-1]:
                    decoder.advance(token)
            count = int(ended.sum())  # the host waits for the device
            if count == len(alive) or start + step >= columns:
                break
            if count:
                # Finished rows leave the batch: most responses are far shorter than the longest.
                left = decoder.drop(ended)
                alive, token, ended = alive[left], token[left], ended[left]
                keys = keys[left.cpu().numpy()]
            decoder.advance(token)

    def _decoder_class(self) -> type[HuggingFaceDecoder | StaticDecoder | FusedDecoder]:
        if can_be_fused(self.model):
            return FusedDecoder
        on_gpu = self.model.device.type != "cpu"
        static = on_gpu and self.cuda_graph and can_be_static(self.model)
        return StaticDecoder if static else HuggingFaceDecoder


class _Output:
    """Result tensors, filled column by column."""

    def __init__(
        self, shape: tuple[int, int], pad: int, device: torch.device, *, keep_entropy: bool
    ):
        self.pad = pad
        self.tokens = torch.full(shape, pad, device=device)
        self.logp = torch.zeros(shape, device=device)
        self.entropy = torch.zeros(shape, device=device) if keep_entropy else None

    def completions(self, eos: int) -> Completions:
        """Return what was written up to each row's first end-of-sequence token."""
        ends = self.tokens == eos
        mask = ends.cumsum(dim=1) == ends  # none before this one
        longest = int(mask.sum(dim=1).max()) if len(mask) else 0
        mask = mask[:, :longest]

        def cut(values: Tensor, beyond: float) -> Tensor:
            return values[:, :longest].masked_fill(~mask, beyond)

        return Completions(
            tokens=cut(self.tokens, self.pad),
            response_mask=mask,
            logp_sampler=cut(self.logp, 0.0),
            finished=ends.any(dim=1),
            entropy=None if self.entropy is None else cut(self.entropy, 0.0),
        )


def _draw(logits: Tensor, temperature: float, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return a token a row and its log-probability (at temperature 1 where greedy)."""
    logp = torch.log_softmax(logits / temperature if temperature else logits, dim=-1)
    if temperature:
        cumulative = logp.double().exp_().cumsum_(dim=-1)
        threshold = draws.to(cumulative).unsqueeze(1) * cumulative[:, -1:]
        # The first word whose cumulative probability is above the threshold.
        token = torch.searchsorted(cumulative, threshold, right=True).squeeze(1)
        token = token.clamp(max=logits.shape[-1] - 1)
    else:
        token = logits.argmax(dim=-1)
    return token, logp.gather(1, token.unsqueeze(1)).squeeze(1)


# -- Hugging Face classes ------------------------------------------------------------------------


class HuggingFaceDecoder:
    """Decodes with the model's own forward pass and a ``DynamicCache``.

    A decoder is a KV cache and ``logits`` of the next token, n x V float32, one row a response.
    """

    tokens_a_check = 1  # tokens after which it is worth asking which rows have finished

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        self.model = model
        ids, self.mask, row = padded_prompts(prompts, pad, model.device)
        self.cache = DynamicCache(config=model.config)
        self._forward(ids, positions_of(self.mask))
        self._select(row)
        self.logits = self.logits[row]

    def drop(self, finished: Tensor) -> Tensor:
        """Forget finished rows (n, bool); return which old row each of those left was."""
        left = (~finished).nonzero().squeeze(1)
        self._select(left)
        return left

    def advance(self, tokens: Tensor) -> None:
        """Feed one token to each row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self._forward(tokens.unsqueeze(1), self.mask.sum(dim=1, keepdim=True) - 1)

    def _select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        self.logits = _next_logits(self.model, ids, self.mask, positions, self.cache)


def _next_logits(
    model: PreTrainedModel, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any
) -> Tensor:
    """Feed tokens (rows x columns) to a model with its cache; return the last ones' logits."""
    states = model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return _logits(model.lm_head, states[:, -1])


def _logits(head: nn.Module, states: Tensor) -> Tensor:
    """Return float32 logits of each row."""
    if states.dtype in HALF and head.bias is None:
        return float32_product(states, head.weight.T)
    return head(states).float()


def padded_prompts(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay out the U different prompts among B; the responses of one share its pass.

    Returns:
        Tokens and mask (1 = keep), U x L: padding stands on the left, so that every row's next
        token is the same column. And B, which of the U rows each prompt is.

    """
    place: dict[tuple[int, ...], int] = {}
    row = [place.setdefault(tuple(prompt), len(place)) for prompt in prompts]
    longest = max(map(len, place))
    missing = [longest - len(prompt) for prompt in place]
    ids = [[pad] * gap + list(prompt) for gap, prompt in zip(missing, place, strict=True)]
    mask = [[0] * gap + [1] * (longest - gap) for gap in missing]
    return (
        torch.tensor(ids, device=device),
        torch.tensor(mask, device=device),
        torch.tensor(row, device=device),
    )


def positions_of(mask: Tensor) -> Tensor:
    """Return the position of each token under a mask with padding on the left; 0 on padding."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


# -- One CUDA graph a token ----------------------------------------------------------------------
# Launching the kernels of a forward pass of one token a row, hundreds of them, takes Python several
# times as long as a GPU takes to run them. Captured as a CUDA graph they are one launch, if every
# buffer stays where it is and nothing waits for the host. The places of the weights are part of a
# graph: it lasts for one decoder, that is for one sampling call, between two updates.
#
# A captured batch has a fixed size. Rows that finish are decoded on (their tokens are cut off
# later) until half of them or fewer are left: those are then captured as a smaller batch. So a row
# is paid for at most twice, and 256 rows need 9 captures at most. The cache is read to its full
# length; it begins a little longer than the prompts and grows by half when it is full, so that of a
# long one a third at most is read in vain, and 8,192 tokens need 10 captures. A capture costs about
# two passes without a graph.
_FINE_COLUMNS = 64  # lengths in these steps; attention kernels ask for a multiple of 16


class StaticDecoder:
    """Decodes with the model's own forward pass over buffers that stay where they are.

    On CUDA the pass is captured and replayed; elsewhere the same pass runs as it is.
    """

    # The host waits at each check, while the device has nothing to do.
    tokens_a_check = 16

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        self.model, self.graph = model, None
        start = HuggingFaceDecoder(model, prompts, pad)
        self.logits, self.used = start.logits, start.mask.shape[1]
        self.cache = _FixedCache(start.cache, torch.tensor([self.used], device=model.device))
        # Of each row: columns that it attends to (rows x 1 x 1 x columns), next position and token.
        self.visible = start.mask.bool()[:, None, None]
        self.position = start.mask.sum(dim=1, keepdim=True)
        self.tokens = torch.zeros_like(self.position)

    def drop(self, finished: Tensor) -> Tensor:
        """Forget finished rows once they are half of the batch, which is then captured anew."""
        left = (~finished).nonzero().squeeze(1)
        if 2 * len(left) > len(finished):
            return torch.arange(len(finished), device=finished.device)
        self.graph = None
        self.cache.change(lambda part: part[left])
        self.visible, self.position = self.visible[left], self.position[left]
        self.tokens = self.tokens[left]
        return left

    def advance(self, tokens: Tensor) -> None:
        """Feed one token to each row."""
        if self.used == self.visible.shape[-1]:
            self._lengthen()
        self.tokens.copy_(tokens.unsqueeze(1))
        if self.graph is not None:
            self.graph.replay()
            self.logits = self.replayed
        elif _has_graphs(self.tokens.device):
            self._step_and_capture()
        else:
            self.logits = self._step()
        self.used += 1

    def _step(self) -> Tensor:
        """Return the next logits; change all buffers in place, and ask the device for nothing."""
        self.visible.index_fill_(3, self.cache.column, True)
        with _attention_by_groups(self.model):
            logits = _next_logits(self.model, self.tokens, self.visible, self.position, self.cache)
        self.position.add_(1)
        self.cache.column.add_(1)
        return logits

    def _step_and_capture(self) -> None:
        """Take one step, which warms up, and capture the same for those that follow."""
        stream, graph = _side_stream(self.tokens.device), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            self.logits = self._step()
        torch.cuda.current_stream(stream.device).wait_stream(stream)
        try:
            # Only this thread is watched: NCCL's own may ask its events at any time.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self.replayed = self._step()
        except RuntimeError as error:
            error.add_note("sampler.cuda_graph = false samples without CUDA graphs")
            raise
        self.graph = graph

    def _lengthen(self) -> None:
        self.graph = None
        columns = self.used + max(_FINE_COLUMNS, self.used // 2)
        more = -(-columns // _FINE_COLUMNS) * _FINE_COLUMNS - self.used
        # With zeros: a hidden column has no weight, but its value must be a number.
        self.cache.change(lambda part: functional.pad(part, (0, 0, 0, more)))
        self.visible = functional.pad(self.visible, (0, more))


def _has_graphs(device: torch.device) -> bool:
    return device.type == "cuda"


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all captures: cuBLAS keeps a workspace for every stream it has seen."""
    return torch.cuda.Stream(device)


class _FixedCache:
    """Keys and values, rows x groups x columns x width; each step writes one column in place.

    As much of transformers' ``Cache`` as a forward pass asks for. Its ``StaticCache`` has its full
    length from the start, which for 8,192 tokens is read and kept in vain.
    """

    def __init__(self, prompts: DynamicCache, column: Tensor):
        self.column = column  # the next one, of one element
        self.layers = []
        for layer in prompts.layers:
            self.layers.append([layer.keys, layer.values])
            layer.keys = layer.values = None  # given back as soon as they are laid out anew

    def update(self, keys: Tensor, values: Tensor, layer: int, *_, **__) -> tuple[Tensor, Tensor]:
        """Write one column of a layer; return all of them."""
        for part, new in zip(self.layers[layer], (keys, values), strict=True):
            part.index_copy_(2, self.column, new)
        return tuple(self.layers[layer])

    def get_seq_length(self, layer: int = 0) -> int:
        """Return 0: transformers 5.0 counts positions from it, where none are given."""
        return 0

    def change(self, make: Callable[[Tensor], Tensor]) -> None:
        """Replace all tensors, one after the other."""
        for parts in self.layers:
            for place in range(2):
                parts[place] = make(parts[place])


@contextmanager
def _attention_by_groups(model: PreTrainedModel) -> Iterator[None]:
    own = model.config._attn_implementation
    model.config._attn_implementation = _BY_GROUPS
    try:
        yield
    finally:
        model.config._attn_implementation = own


def _attend_by_groups(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float,
    **_,
) -> tuple[Tensor, None]:
    """Attention of one token a row: heads that share keys are rows of one product.

    Where there is a mask, transformers' own copies keys and values for every head first: seven
    times all that is read, for Qwen2.5-7B.
    """
    grouped = query.squeeze(2).unflatten(1, (key.shape[1], -1))
    attended = functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=scaling
    )
    return attended.flatten(1, 2).unsqueeze(1), None


_BY_GROUPS = "one_token_by_groups"
AttentionInterface.register(_BY_GROUPS, _attend_by_groups)


# Rotary angles that are functions of the position alone, and not of how long a sequence became.
_ROTARY_KINDS = ("default", "linear", "llama3", "yarn")
# Classes whose positions and attention are known: all layers as one, causal, from a mask.
PLAIN_CLASSES = (Qwen2ForCausalLM, LlamaForCausalLM, MistralForCausalLM)


def has_sliding_window(model: PreTrainedModel) -> bool:
    """Return whether any layer of a known class attends to the last tokens alone."""
    windows = {getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers}
    if isinstance(model, MistralForCausalLM):
        windows.add(model.config.sliding_window)
    return windows != {None}


def can_be_static(
    model: PreTrainedModel, classes: tuple[type, ...] = (*PLAIN_CLASSES, Qwen3ForCausalLM)
) -> bool:
    """Return whether ``StaticDecoder`` takes a model: known class and angles, no window."""
    if type(model) not in classes or has_sliding_window(model):
        return False
    return (model.config.rope_parameters or {}).get("rope_type") in _ROTARY_KINDS


# -- Weights of the faster decoder ---------------------------------------------------------------

# The copies cost memory, and what they save is nothing beside a large model's products.
_MOST_PARAMETERS = 500_000_000


@dataclass(frozen=True)
class Block:
    """One transformer block; the weights of its two norms are multiplied into what follows.

    Attributes:
        query_key_value: groups * (heads of a group + 2) * width, x D. By groups of heads that
            share keys: queries (scaled by 1 / sqrt(width)), key, value.
        query_key_value_bias: the same rows, or None.
        output: D x D, transposed.
        gate_up: 2 I x D.
        down: I x D, transposed.

    """

    query_key_value: Tensor
    query_key_value_bias: Tensor | None
    output: Tensor
    gate_up: Tensor
    down: Tensor


def can_be_fused(model: PreTrainedModel) -> bool:
    """Return whether ``FusedDecoder`` takes a model: it must compute just what is written there."""
    if not can_be_static(model, PLAIN_CLASSES):
        return False
    config, layers = model.config, model.model.layers
    linear = [module for module in layers.modules() if isinstance(module, nn.Linear)]
    return (
        all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
        and sum(p.numel() for p in layers.parameters()) <= _MOST_PARAMETERS
        and config.rope_parameters.get("partial_rotary_factor", 1.0) == 1.0
        and config.hidden_act == "silu"
        and all(type(module) is nn.Linear for module in linear)
        # Qwen2's query, key and value have a bias whatever these say, and nothing else has.
        and not getattr(config, "attention_bias", False)
        and not getattr(config, "mlp_bias", False)
    )


def _block(layer: nn.Module, groups: int) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    width = attention.head_dim

    def arranged(kind: str) -> Tensor:
        query, key, value = (
            getattr(getattr(attention, name), kind).unflatten(0, (groups, -1, width))
            for name in ("q_proj", "k_proj", "v_proj")
        )
        parts = [_pairs_adjacent(query) * width**-0.5, _pairs_adjacent(key), value]
        return torch.cat(parts, dim=1).flatten(0, 2)

    bias = None if attention.q_proj.bias is None else arranged("bias")
    gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    return Block(
        query_key_value=arranged("weight") * layer.input_layernorm.weight,
        query_key_value_bias=bias,
        output=attention.o_proj.weight.t(),
        gate_up=gate_up * layer.post_attention_layernorm.weight,
        down=mlp.down_proj.weight.t(),
    )


def _pairs_adjacent(rows: Tensor) -> Tensor:
    """Order each head's rows (dimension 2) so that i and i + width / 2, turned together, meet.

    Products of queries and keys do not change, since both are ordered alike.
    """
    return rows.unflatten(2, (2, -1)).transpose(2, 3).flatten(2, 3)


# -- The faster decoder: Qwen2, Llama, Mistral ---------------------------------------------------
# At one token a row the Hugging Face forward pass spends its time between the matrix products: on
# small operations, a growing cache and masks. Here the projections are fused, the cache is
# allocated ahead and rows that finish are removed in place, and attention is two batched products.
# Only models known to be computed correctly are taken (``can_be_fused``); all others are left to
# ``HuggingFaceDecoder``.

# Prompt tokens passed at once, and columns that the cache has beyond those in use:
# they bound memory and do not change results.
_PREFILL_TOKENS = 8192
_COLUMNS_AHEAD = 64


class FusedDecoder:
    """Decodes with copies of the weights as they are when it is made."""

    tokens_a_check = 1

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        config = model.config
        self.model, self.eps = model, config.rms_norm_eps
        self.head_dim = model.model.layers[0].self_attn.head_dim
        self.groups = config.num_key_value_heads
        with torch.no_grad():
            self.blocks = [_block(layer, self.groups) for layer in model.model.layers]
        self.heads_a_group = config.num_attention_heads // self.groups
        ids, mask, row = padded_prompts(prompts, pad, model.device)
        self.rows, self.columns = len(row), ids.shape[1]
        # Keys and values of each block in turn, rows x groups x columns x width.
        shape = (self.rows, self.groups, self.columns + _COLUMNS_AHEAD, self.head_dim)
        self.cache = [torch.empty(shape) for _ in range(2 * len(self.blocks))]
        self._prefill(ids, mask, row)
        self.next_position = mask.sum(dim=1)[row]
        # Added to the scores; None where no prompt is padded, which is one pass less.
        self.padding = None
        if not mask.all():
            hidden = torch.zeros(mask.shape).masked_fill_(mask == 0, -torch.inf)[row]
            self.padding = functional.pad(hidden, (0, _COLUMNS_AHEAD)).unsqueeze(1)

    def drop(self, finished: Tensor) -> Tensor:
        """Forget rows: the last rows move into the places that become free."""
        left = self.rows - int(finished.sum())
        order = torch.arange(left)
        free = finished[:left].nonzero().squeeze(1)
        moved = left + (~finished[left:]).nonzero().squeeze(1)
        order[free] = moved
        for part in self.cache:
            part[free, :, : self.columns] = part[moved, :, : self.columns]
        self.next_position = self.next_position[order]
        if self.padding is not None:
            self.padding[free] = self.padding[moved]
        self.rows = left
        return order

    def advance(self, tokens: Tensor) -> None:
        """Feed one token to each row."""
        self._reserve_column()
        end = self.columns + 1
        rotation = self._rotations(self.next_position)
        states = self.model.model.embed_tokens(tokens)
        for number, block in enumerate(self.blocks):
            heads = self._heads(block, states, rotation)
            keys, values = self.cache[2 * number : 2 * number + 2]
            keys[: self.rows, :, self.columns] = heads[:, :, -2]
            values[: self.rows, :, self.columns] = heads[:, :, -1]
            # Groups of heads that share keys are rows of one small product.
            query = heads[:, :, :-2].flatten(0, 1)
            scores = query @ keys[: self.rows, :, :end].flatten(0, 1).transpose(1, 2)
            if self.padding is not None:
                scores.view(self.rows, -1, end).add_(self.padding[: self.rows, :, :end])
            attended = scores.softmax(dim=-1) @ values[: self.rows, :, :end].flatten(0, 1)
            self._finish(block, states, attended.view(len(tokens), -1))
        self.columns, self.next_position = end, self.next_position + 1
        self.logits = self._head(states)

    def _prefill(self, ids: Tensor, mask: Tensor, row: Tensor) -> None:
        """Pass each different prompt once, and lay its keys and values into all of its rows."""
        prompts_at_once = max(1, _PREFILL_TOKENS // self.columns)
        shape = (len(ids), self.groups, self.columns, self.head_dim)
        caches, logits = [torch.empty(shape) for _ in self.cache], []
        for start in range(0, len(ids), prompts_at_once):
            part = slice(start, start + prompts_at_once)
            own = [cache[part] for cache in caches]
            logits.append(self._prefill_part(ids[part], mask[part].bool(), own))
        for whole, of_prompts in zip(self.cache, caches, strict=True):
            whole[:, :, : self.columns] = of_prompts[row]
        self.logits = torch.cat(logits)[row]

    def _prefill_part(self, ids: Tensor, keep: Tensor, caches: list[Tensor]) -> Tensor:
        count, length = ids.shape
        rotation = self._rotations(positions_of(keep.long()).flatten())
        visible = keep.unsqueeze(1) & torch.ones(length, length, dtype=torch.bool).tril()
        # Padding attends to itself, so no row is fully masked.
        visible |= torch.eye(length, dtype=torch.bool)
        states = self.model.model.embed_tokens(ids.flatten())
        for number, block in enumerate(self.blocks):
            heads = self._heads(block, states, rotation).unflatten(0, (count, length))
            by_head = heads.permute(0, 2, 3, 1, 4)  # U x groups x heads of a group x L x width
            keys, values = by_head[:, :, -2], by_head[:, :, -1]
            caches[2 * number].copy_(keys)
            caches[2 * number + 1].copy_(values)
            attended = functional.scaled_dot_product_attention(
                by_head[:, :, :-2].flatten(1, 2),
                keys,
                values,
                attn_mask=visible.unsqueeze(1),
                scale=1.0,  # the query weights are scaled
                enable_gqa=True,
            )
            self._finish(block, states, attended.transpose(1, 2).reshape(count * length, -1))
        return self._head(states.view(count, length, -1)[:, -1])

    def _heads(self, block: Block, states: Tensor, rotation: Tensor) -> Tensor:
        """Return rotated queries, rotated keys and values: rows x groups x (heads + 2) x width."""
        normed = functional.rms_norm(states, states.shape[-1:], None, self.eps)
        heads = functional.linear(normed, block.query_key_value, block.query_key_value_bias)
        heads = heads.view(len(states), self.groups, self.heads_a_group + 2, self.head_dim)
        # The weights' rows were ordered so that a pair that is turned together is a complex number.
        turned = heads[:, :, :-1].unflatten(-1, (-1, 2))
        torch.view_as_complex(turned).mul_(rotation[:, None, None])
        return heads

    def _finish(self, block: Block, states: Tensor, attended: Tensor) -> None:
        """Add the attention's output and the feed-forward part to the states, in place."""
        states.addmm_(attended, block.output)
        normed = functional.rms_norm(states, states.shape[-1:], None, self.eps)
        gate, up = functional.linear(normed, block.gate_up).chunk(2, dim=-1)
        states.addmm_(functional.silu(gate, inplace=True).mul_(up), block.down)

    def _head(self, states: Tensor) -> Tensor:
        return self.model.lm_head(self.model.model.norm(states))

    def _rotations(self, positions: Tensor) -> Tensor:
        """Return the model's own rotary angles as complex numbers, rows x width / 2."""
        like = torch.empty(0)  # says dtype and device
        cos, sin = self.model.model.rotary_emb(like, positions.unsqueeze(0))
        half = self.head_dim // 2
        return torch.complex(cos[0, :, :half], sin[0, :, :half])

    def _reserve_column(self) -> None:
        """Lengthen the cache where it is full; the rows that were dropped are given back."""
        if self.columns < self.cache[0].shape[2]:
            return
        ahead = max(_COLUMNS_AHEAD, self.columns // 2)
        for place, old in enumerate(self.cache):
            new = old.new_empty(self.rows, self.groups, self.columns + ahead, self.head_dim)
            new[:, :, : self.columns] = old[: self.rows]
            self.cache[place] = new
        if self.padding is not None:
            self.padding = functional.pad(self.padding[: self.rows], (0, ahead))
