"""The model to evaluate: a run's newest checkpoint, its base model, or a Hugging Face model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from entropy_mech.errors import bad_value
from entropy_mech.runs.find import run_or_model
from entropy_mech.runs.store import Run, RunStore
from entropy_mech.train.config_io import base_model_id
from entropy_mech.train.pretrain import prepare_base_model


@dataclass(frozen=True)
class FoundModel:
    """Where a model's weights and tokenizer are; nothing is loaded yet.

    Attributes:
        place: a folder in Hugging Face format, or a hub id.
        identity: a name that changes when the weights do.
        revision: of a hub id, where a configuration pins one.
        toy: whether it is a toy's, which is always sampled on the CPU.
        threads: of torch, where a run's configuration says how many.

    """

    place: str
    identity: str
    revision: str | None = None
    toy: bool = False
    threads: int | None = None


def find_model(
    name: str, store: RunStore, *, before_training: bool = False, profile: str = "toy"
) -> FoundModel:
    """Return where a model is that a user names.

    ``name`` is a run, as ``runs.find.find_run`` takes it (its id, its folder, its file or the
    name of that, which ``profile`` says where to look for), a folder in Hugging Face format, or a
    hub id. ``before_training`` takes a run's base model.

    Raises:
        UserError: a run that has no policy yet, or no such run.

    """
    run = run_or_model(name, store=store, profile=profile)
    if run is None:
        if before_training:
            raise bad_value("--before-training", name, "is no run; leave the option out")
        place = str(Path(name).resolve()) if Path(name).is_dir() else name
        return FoundModel(name, f"hf-{hashlib.sha256(place.encode()).hexdigest()[:12]}")
    config = run.config
    if not before_training:
        found = newest_policy(run)
        if found is None:
            fix = f"run: entropy-mech train {name}" if name.endswith(".toml") else "train it first"
            raise bad_value("model", name, f"is not trained yet; {fix}")
        return found
    identity = f"base-{base_model_id(config)}"
    if config.toy:
        place = prepare_base_model(store.root, config)
        return FoundModel(str(place), identity, toy=True, threads=config.threads)
    return FoundModel(config.model.path, identity, config.model.revision, threads=config.threads)


def newest_policy(run: Run) -> FoundModel | None:
    """Return the newest policy of a run; None where it has none."""
    folder = run.newest_model()
    if folder is None:
        return None
    config = run.config
    identity = f"{run.path.name}-{folder.name}"
    return FoundModel(str(folder), identity, toy=config.toy, threads=config.threads)
