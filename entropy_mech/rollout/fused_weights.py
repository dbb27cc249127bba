"""Weights of Qwen2, Llama and Mistral laid out for ``FusedDecoder``, where they are known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, MistralForCausalLM, PreTrainedModel, Qwen2ForCausalLM

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
