"""The policy's weights and tokenizer, made (a toy's) or loaded, and the engine around them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from entropy_mech.config import EngineConfig, TrainConfig, UpdateConfig
from entropy_mech.errors import bad_value
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine, TorchEngine
from entropy_mech.train.pretrain import base_model, prepare_base_model
from entropy_mech.train.pretrained import (
    check_token_ids,
    embedding_rows,
    hub_commit,
    in_hugging_face_format,
    load_pretrained,
    loading,
    refuse_broken,
    source_of,
)
from entropy_mech.train.tasks import Prompts


@dataclass(frozen=True)
class LoadedModel:
    """A model, its tokenizer, and where a sampler of another process finds the same.

    Attributes:
        place: folder, or id on the hub.
        revision: the commit on the hub that the weights are of; None for a folder.
        source: package, version and sha256 of a model that was made from an installed package's.

    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    place: str
    revision: str | None = None
    source: dict[str, Any] = field(default_factory=dict)


def load_policy(config: TrainConfig, store: Path, ranks: Ranks | None = None) -> LoadedModel:
    """Return the policy that a run starts from; what has to be made for it, rank 0 makes for all.

    Raises:
        UserError: the model cannot be loaded, or its embedding and head do not fit the trainer.

    """
    ranks = ranks or Ranks()
    place = _starting_point(config, store) if ranks.first else ""
    ranks.meet("the making of the base model")
    place = place or _starting_point(config, store)
    if config.toy:
        with loading(str(place), "base model", "remove that folder, and it is made again"):
            model, tokenizer = base_model(store, config)
            refuse_broken(model, {})
        check_token_ids(tokenizer, embedding_rows(model), str(place), "base model")
        return LoadedModel(model, tokenizer, str(place))
    half = config.engine.kind == "deepspeed" and config.engine.dtype == "bfloat16"
    dtype = torch.bfloat16 if half else torch.float32
    revision = None if Path(place).is_dir() else config.model.revision
    model, tokenizer = load_pretrained(
        place,
        revision,
        field="model.path",
        check=lambda tokenizer: Prompts(tokenizer, config),
        dtype=dtype,
        attn_implementation=attention_kernel(config.engine.attention, dtype),
    )
    if getattr(model, "lm_head", None) is None or model.lm_head.bias is not None:
        raise bad_value("model.path", place, "needs a causal model whose head has no bias")
    return LoadedModel(model, tokenizer, place, hub_commit(place, revision), source_of(place))


def _starting_point(config: TrainConfig, store: Path) -> str:
    """Return the folder or hub id of what a run starts from, made unless it is there."""
    if config.makes_base_model:
        return str(prepare_base_model(store, config))
    return in_hugging_face_format(config.model.path, store, field="model.path")


def attention_kernel(asked: str, dtype: torch.dtype) -> str:
    """Return the attention implementation for ``engine.attention`` and weights of a dtype.

    FlashAttention refuses float32, which the torch engine's weights are, whatever its passes are.
    """
    if asked != "auto":
        return asked
    usable = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if usable and dtype == torch.bfloat16 else "sdpa"


def build_engine(
    model: PreTrainedModel,
    config: EngineConfig,
    update: UpdateConfig,
    ranks: Ranks,
    **settings: float,
) -> Engine:
    """Return the engine that ``config`` names, around ``model``.

    ``settings`` are the temperature of the policy (1 unless given) and a learning rate in place of
    ``update.learning_rate``.
    """
    chosen = TorchEngine
    if config.kind == "deepspeed":
        from entropy_mech.train.engine_deepspeed import DeepSpeedEngine as chosen
    return chosen(model, config, update, ranks, **settings)
