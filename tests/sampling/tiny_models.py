"""Models small enough for a test and large enough for vLLM (heads of 32 on a CPU)."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY, END, PAD = 48, 1, 0
LONGEST = 320

_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": PAD,
}


def make(kind: str) -> PreTrainedModel:
    """Return ``untied`` or ``tied`` (Qwen2) or ``llama``, with random weights."""
    torch.manual_seed(7)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**_SHAPE, tie_word_embeddings=False)).eval()
    return Qwen2ForCausalLM(Qwen2Config(**_SHAPE, tie_word_embeddings=kind == "tied")).eval()


def save(model: PreTrainedModel, folder: Path) -> Path:
    """Write the model; its tokenizer is never asked for."""
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def perturb(model: PreTrainedModel, seed: int, size: float = 0.05) -> None:
    """Move every weight, as an update would."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.add_(size * torch.randn(weight.shape, generator=generator))


@torch.no_grad()
def logp_of(model: PreTrainedModel, rows: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return log-probabilities of all tokens but the first: B x L to B x (L - 1)."""
    logp = torch.log_softmax(model(rows).logits[:, :-1].float() / temperature, dim=-1)
    return logp.gather(2, rows[:, 1:, None]).squeeze(2)
