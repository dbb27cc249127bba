"""The model to evaluate: a run's newest checkpoint, its base model, or a Hugging Face model."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from entropy_mech.errors import UserError, bad_value
from entropy_mech.hub import cache_only, hub_answers
from entropy_mech.runs.store import RunStore
from entropy_mech.train.checkpoint import load_latest_checkpoint
from entropy_mech.train.config_io import base_model_id, load_config
from entropy_mech.train.pretrain import base_model


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
        model, tokenizer = base_model(store.root, config)
        return model, tokenizer, f"base-{base_model_id(config)}"
    found = load_latest_checkpoint(run.checkpoints, print, at_most=run.steps_done)
    if found is None:
        raise bad_value("model", path, f"is not trained yet; run: entropy-mech train {path}")
    model, tokenizer = base_model(store.root, config)
    step, state = found
    model.load_state_dict(state["model"])
    return model, tokenizer, f"{run.path.name}-step{step}"


def _from_hugging_face(name: str):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    local = Path(name).is_dir()
    try:
        with contextlib.nullcontext() if local or hub_answers() else cache_only():
            model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
            tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model = {name}: cannot be loaded ({reason}); give a run's .toml, a folder in "
            "Hugging Face format, or a hub id that this machine can reach"
        ) from None
    if tokenizer.eos_token_id is None:
        raise bad_value("model", name, "its tokenizer has no end-of-sequence token")
    tokenizer.pad_token_id = tokenizer.pad_token_id or tokenizer.eos_token_id
    place = str(Path(name).resolve()) if local else name
    return model.eval(), tokenizer, f"hf-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
