"""The model to evaluate: a run's newest checkpoint, its base model, or a Hugging Face model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from entropy_mech.errors import bad_value
from entropy_mech.runs.store import RunStore
from entropy_mech.train.config_io import base_model_id, load_config
from entropy_mech.train.models import load_policy, load_pretrained


def open_model(
    name: str, store: RunStore, *, before_training: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """Return a model, its tokenizer, and a name for it that changes when its weights do.

    ``name`` is a run's configuration (.toml), a folder in Hugging Face format, or a hub id.
    ``before_training`` takes a run's base model.
    """
    if name.endswith(".toml"):
        return _from_run(name, store, before_training)
    return _from_hugging_face(name)


def _from_run(path: str, store: RunStore, before_training: bool):
    config = load_config(path)
    torch.set_num_threads(config.threads)
    run = store.run(config)
    if before_training:
        loaded = load_policy(config, store.root)
        return loaded.model, loaded.tokenizer, f"base-{base_model_id(config)}"
    folder = run.newest_model()
    if folder is None:
        raise bad_value("model", path, f"is not trained yet; run: entropy-mech train {path}")
    model, tokenizer = load_pretrained(str(folder))
    return model, tokenizer, f"{run.path.name}-{folder.name}"


def _from_hugging_face(name: str):
    model, tokenizer = load_pretrained(name)
    place = str(Path(name).resolve()) if Path(name).is_dir() else name
    return model, tokenizer, f"hf-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
