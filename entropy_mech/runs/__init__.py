"""Where runs live: folders named by their configuration's hash."""

from typing import Any

from entropy_mech.runs.store import Run, RunStore, default_store

__all__ = ["Run", "RunStore", "default_store", "follow", "handle_on"]


def __getattr__(name: str) -> Any:
    # Imported on first use: a caller that only needs a store does not wait for the rest.
    if name in ("follow", "handle_on"):
        from entropy_mech.runs import handle

        return getattr(handle, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
