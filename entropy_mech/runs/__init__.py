"""Where runs live: folders named by their configuration's hash."""

from entropy_mech.runs.store import Run, RunStore, default_store

__all__ = ["Run", "RunStore", "default_store"]
