"""Where a target's result comes from: its runs with their hashes, seeds, hardware and time."""

from __future__ import annotations

from typing import Any

from entropy_mech.runs.store import Run
from entropy_mech.train.config_io import base_model_id

_FROM_MANIFEST = ("wall_time_s", "commit", "processor", "cores", "python", "packages", "imported")


def provenance(name: str, run: Run) -> dict[str, Any]:
    """Return what a reader needs to find a run again or to make it again.

    ``run`` is the hash of its whole configuration, ``base_model`` that of what it started from.
    """
    manifest, config = run.manifest(), run.config
    return {
        "name": name,
        "run": run.path.name,
        "base_model": base_model_id(config) if config.toy else config.model.path,
        "method": config.loss.method,
        "seed": config.seed,
        "steps": config.steps,
        **{key: manifest[key] for key in _FROM_MANIFEST if key in manifest},
    }
