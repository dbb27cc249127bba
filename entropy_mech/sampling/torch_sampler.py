"""Batched sampling from a Hugging Face model in this process, with a KV cache.

Any class is decoded by its own code, three of them by a faster decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    DynamicCache,
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
)

from entropy_mech.objectives import token_entropy
from entropy_mech.objectives.logprobs import HALF, float32_product
from entropy_mech.random_streams import uniforms
from entropy_mech.sampling.sampler import Completions, SamplingRequest, places_by_temperature

# -- The sampler ---------------------------------------------------------------------------------


class TorchSampler:
    """Samples with the trainer's own model, so its weights are never stale.

    A token is drawn by inverting the cumulative distribution at the request's uniform number
    for that position. Its draws are therefore the same in any batch order or composition; only
    the rounding of the logits, which padding can move, could ever turn one token into another.

    Qwen2, Llama and Mistral in float32 on a CPU are decoded by ``FusedDecoder``, which copies the
    weights at every call; all else by the model's own forward pass. With ``keep_entropy`` the
    completions have the policy's entropy at every token.
    """

    def __init__(
        self, model: PreTrainedModel, *, pad_token: int, eos_token: int, keep_entropy: bool = False
    ):
        self.model, self.pad_token, self.eos_token = model, pad_token, eos_token
        self.keep_entropy = keep_entropy

    @torch.no_grad()
    def sample(
        self,
        requests: Sequence[SamplingRequest],
        *,
        temperature: float,
        max_new_tokens: int,
        policy_version: int = 0,
    ) -> Completions:
        """Sample one response a request; see ``sampling.sampler.Sampler``."""
        by_temperature = places_by_temperature(requests, temperature)
        shape, device = (len(requests), max_new_tokens), self.model.device
        out = _Output(shape, self.pad_token, device, keep_entropy=self.keep_entropy)
        with _in_evaluation_mode(self.model):
            for own, places in by_temperature.items():
                self._fill(out, places, [requests[place] for place in places], own)
        return out.completions(policy_version)

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
        chosen = FusedDecoder if why_not_fused(self.model) is None else HuggingFaceDecoder
        prompts = [request.prompt_tokens for request in requests]
        decoder: Decoder = chosen(self.model, prompts, self.pad_token)
        keys = np.array([request.key for request in requests], dtype=np.uint64)
        alive = torch.tensor(places, device=self.model.device)
        columns = out.tokens.shape[1]
        for position in range(columns):
            draws = torch.from_numpy(uniforms(keys, position))
            token, logp = _draw(decoder.logits, temperature, draws)
            out.write(position, alive, token, logp)
            if self.keep_entropy:
                out.entropy[alive, position] = token_entropy(decoder.logits)
            finished = token == self.eos_token
            if finished.any():
                # Finished rows leave the batch: most responses are far shorter than the longest.
                out.finished[alive[finished]] = True
                left = decoder.drop(finished)
                alive, token, keys = alive[left], token[left], keys[left.cpu().numpy()]
            if not len(alive) or position + 1 == columns:
                break
            decoder.advance(token)


@contextmanager
def _in_evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    """Sample as in evaluation: in training mode, gradient checkpointing keeps no KV cache.

    Hugging Face then drops the cache with a warning, and each token would attend to itself alone.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _Output:
    """Result tensors, filled column by column."""

    def __init__(
        self, shape: tuple[int, int], pad: int, device: torch.device, *, keep_entropy: bool
    ):
        rows = shape[0]
        self.tokens = torch.full(shape, pad, device=device)
        self.logp = torch.zeros(shape, device=device)
        self.entropy = torch.zeros(shape, device=device) if keep_entropy else None
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)

    def write(self, position: int, rows: Tensor, token: Tensor, logp: Tensor) -> None:
        self.tokens[rows, position] = token
        self.logp[rows, position] = logp
        self.length[rows] = position + 1

    def completions(self, policy_version: int) -> Completions:
        longest = int(self.length.max()) if len(self.length) else 0
        columns = torch.arange(longest, device=self.length.device)
        return Completions(
            tokens=self.tokens[:, :longest],
            response_mask=columns < self.length.unsqueeze(1),
            logp_sampler=self.logp[:, :longest],
            finished=self.finished,
            policy_version=policy_version,
            entropy=None if self.entropy is None else self.entropy[:, :longest],
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


class Decoder(Protocol):
    """A KV cache and the logits of the next token, n x V float32, one row a live response."""

    logits: Tensor

    def drop(self, finished: Tensor) -> Tensor:
        """Forget some of the n rows (n, bool); return which old row each of those left was."""
        ...

    def advance(self, tokens: Tensor) -> None:
        """Feed one token to each row."""
        ...


class HuggingFaceDecoder:
    """Decodes with the model's own forward pass and a ``DynamicCache``."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        self.model = model
        ids, self.mask, row = padded_prompts(prompts, pad, model.device)
        self.cache = DynamicCache(config=model.config)
        self._forward(ids, positions_of(self.mask))
        self._select(row)
        self.logits = self.logits[row]

    def drop(self, finished: Tensor) -> Tensor:
        """Forget rows; those left keep their order."""
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
        states = self.model.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        head = self.model.lm_head
        if states.dtype in HALF and head.bias is None:
            self.logits = float32_product(states[:, -1], head.weight.T)
        else:
            self.logits = head(states[:, -1]).float()


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


# -- Weights of the faster decoder ---------------------------------------------------------------

_CLASSES = (Qwen2ForCausalLM, LlamaForCausalLM, MistralForCausalLM)
# Rotary angles that are functions of the position alone, and not of how long a sequence became.
_ROTARY_KINDS = ("default", "linear", "llama3", "yarn")
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


def why_not_fused(model: PreTrainedModel) -> str | None:
    """Return why ``FusedDecoder`` does not take a model, or None where it does."""
    if type(model) not in _CLASSES:
        return f"the class {type(model).__name__} is not a known one"
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in model.parameters()):
        return "its weights are not all float32 on the CPU"
    if sum(p.numel() for p in model.model.layers.parameters()) > _MOST_PARAMETERS:
        return "copies of its weights would take too much memory"
    config = model.config
    rope = config.rope_parameters or {}
    if rope.get("rope_type") not in _ROTARY_KINDS:
        return f"its rotary angles are of the kind {rope.get('rope_type')}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "its rotary angles turn a part of each head"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    windows = {getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers}
    if windows != {None} or (type(model) is MistralForCausalLM and config.sliding_window):
        return "its attention has a sliding window"
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        plain = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        if any(type(module) is not nn.Linear for module in (*plain, *projections)):
            return "a projection is not a plain linear layer"
        if any(module.bias is not None for module in plain):
            return "a projection other than query, key and value has a bias"
        if len({module.bias is None for module in projections}) > 1:
            return "only some of query, key and value have a bias"
    return None


@torch.no_grad()
def fused_blocks(model: PreTrainedModel) -> list[Block]:
    """Return copies of the weights as they are now."""
    return [_block(layer, model.config.num_key_value_heads) for layer in model.model.layers]


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
# Only models known to be computed correctly are taken (``why_not_fused``); all others are left to
# ``HuggingFaceDecoder``.

# Prompt tokens passed at once, and columns that the cache has beyond those in use:
# they bound memory and do not change results.
_PREFILL_TOKENS = 8192
_COLUMNS_AHEAD = 64


class FusedDecoder:
    """Decodes with copies of the weights as they are when it is made."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int):
        config = model.config
        self.model, self.eps = model, config.rms_norm_eps
        self.blocks = fused_blocks(model)
        attention = model.model.layers[0].self_attn
        self.head_dim = attention.head_dim
        self.groups = config.num_key_value_heads
        self.heads_a_group = config.num_attention_heads // self.groups
        ids, mask, row = padded_prompts(prompts, pad, model.device)
        self.rows, self.columns = len(row), ids.shape[1]
        self.cache = self._new_cache(self.rows, self.columns + _COLUMNS_AHEAD)
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
        logits = []
        prompts_at_once = max(1, _PREFILL_TOKENS // self.columns)
        for start in range(0, len(ids), prompts_at_once):
            part = slice(start, start + prompts_at_once)
            here = (row >= start) & (row < start + prompts_at_once)
            own = row[here] - start
            logits.append(self._prefill_part(ids[part], mask[part].bool(), here, own))
        self.logits = torch.cat(logits)[row]

    def _prefill_part(self, ids: Tensor, keep: Tensor, here: Tensor, own: Tensor) -> Tensor:
        count, length = ids.shape
        rotation = self._rotations(positions_of(keep.long()).flatten())
        visible = keep.unsqueeze(1) & torch.ones(length, length, dtype=torch.bool).tril()
        # Padding attends to itself, so no row is fully masked.
        visible |= torch.eye(length, dtype=torch.bool)
        places = here.nonzero().squeeze(1)
        states = self.model.model.embed_tokens(ids.flatten())
        for number, block in enumerate(self.blocks):
            heads = self._heads(block, states, rotation).unflatten(0, (count, length))
            by_head = heads.permute(0, 2, 3, 1, 4)  # U x groups x heads of a group x L x width
            keys, values = by_head[:, :, -2], by_head[:, :, -1]
            for place, part in ((2 * number, keys), (2 * number + 1, values)):
                self.cache[place][places, :, :length] = part[own]
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

    def _new_cache(self, rows: int, columns: int) -> list[Tensor]:
        """Return keys and values of each block in turn, rows x groups x columns x width."""
        shape = (rows, self.groups, columns, self.head_dim)
        return [torch.empty(shape) for _ in range(2 * len(self.blocks))]

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
