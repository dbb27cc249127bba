"""What is in a run store, a row a run, from the files alone: nothing is loaded or trained."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.runs.locks import lock_is_held
from entropy_mech.runs.metrics import MetricsFile
from entropy_mech.runs.store import RunStore, read_json, read_json_if_whole

# In this order of asking: "training" and "waiting" are held by a process, the others by none.
STATES = ("complete", "training", "waiting", "failed", "stopped", "damaged")
COLUMNS = (
    "id", "state", "algorithm", "method", "model", "seed", "steps_done", "steps_total",
    "time_left_s", "entropy_nats", "validation_accuracy", "updated", "error",
)  # fmt: skip
_RUN_FOLDER = re.compile(r"[0-9a-f]{16}")
_RECENT_STEPS = 20
_STARTUP_S = 60.0


def list_runs(
    store: RunStore, *, state: str | None = None, name: str | None = None
) -> pd.DataFrame:
    """Return the runs of a store, the one that moved last first.

    ``state`` is *complete* (as far as its configuration asks), *training* (a process holds its
    lock and has done a step), *waiting* (a process holds it and has not, or its folder is new: it
    starts, or waits for a base model), *failed* (its last session ended with an error, in column
    ``error``), *stopped* (it goes on from its checkpoint when started again) or *damaged* (one of
    its files cannot be read: column ``error`` names it). Entropy and accuracy are the last that
    were measured, NaN before; ``time_left_s`` is NaN unless the run trains.

    Args:
        store: where the runs lie.
        state: keep the runs in this state only.
        name: keep the runs whose id starts with this or whose algorithm, method or model has it.

    Raises:
        UserError: no such state (names the nearest).

    """
    if state is not None and state not in STATES:
        raise unknown_name("state", state, STATES)
    found = store.root.iterdir() if store.root.is_dir() else ()
    rows = [run_row(path) for path in found if path.is_dir() and _RUN_FOLDER.fullmatch(path.name)]
    rows = [row for row in rows if state in (None, row["state"]) and _is_called(row, name)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": "Int64"})
    return frame.sort_values("updated", ascending=False, ignore_index=True)


def _is_called(row: dict[str, Any], name: str | None) -> bool:
    if name is None:
        return True
    words = [row["algorithm"], row["method"], row["model"]]
    return row["id"].startswith(name) or any(name in word for word in words)


def run_row(path: Path) -> dict[str, Any]:
    """Return one run's row of ``list_runs``, by its folder."""
    try:
        return _row(path)
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        # Files that hold something else than a run wrote; the other runs are of use.
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        why = why.removeprefix(f"{path}/")
        nothing = dict.fromkeys(("time_left_s", "entropy_nats", "validation_accuracy"), math.nan)
        words = dict.fromkeys(("algorithm", "method", "model"), "")
        counts = {"seed": None, "steps_done": 0, "steps_total": 0}
        moved = path.stat().st_mtime
        known = {"id": path.name, "state": "damaged", "updated": moved, "error": why}
        return {**known, **nothing, **words, **counts}


def _row(path: Path) -> dict[str, Any]:
    config, status = read_json(path / "config.json"), read_json(path / "status.json")
    metrics = MetricsFile(path / "metrics.jsonl").rows()
    done, total = len(metrics), config.get("steps", 0)
    state = _state(path, status, done, total)
    return {
        "id": path.name,
        "state": state,
        "algorithm": config.get("algorithm", {}).get("name", ""),
        "method": config.get("loss", {}).get("method", ""),
        "model": _model_name(config.get("model", {})),
        "seed": None if config.get("seed") is None else int(config["seed"]),
        "steps_done": done,
        "steps_total": total,
        "time_left_s": _step_s(path) * (total - done) if state == "training" else math.nan,
        "entropy_nats": _last(metrics, "entropy_nats"),
        "validation_accuracy": _last(metrics, "validation_accuracy"),
        "updated": float(status.get("updated", path.stat().st_mtime)),
        "error": status.get("error", "") if state == "failed" else "",
    }


def _state(path: Path, status: dict[str, Any], done: int, total: int) -> str:
    if lock_is_held(path.with_suffix(".lock")):
        return "training" if done else "waiting"
    if total and read_json(path / "manifest.json").get("steps", 0) >= total:
        return "complete"
    if status.get("stage") == "failed":
        return "failed"
    # A child has a folder, for its log, some seconds before it has read torch and takes its lock.
    starts = not done and time.time() - path.stat().st_mtime < _STARTUP_S
    return "waiting" if starts else "stopped"


def _model_name(model: dict[str, Any]) -> str:
    """Return ``layers x width`` of a toy, else the last part of the path.

    >>> _model_name({"layers": 2, "hidden_size": 64}), _model_name({"path": "Qwen/Qwen2.5-7B"})
    ('2x64', 'Qwen2.5-7B')
    """
    if "path" in model:
        return Path(model["path"]).name
    return f"{model['layers']}x{model['hidden_size']}" if "layers" in model else ""


def _last(metrics: list[dict[str, Any]], name: str) -> float:
    """Return the last value that is not null; NaN where there is none."""
    values = (row[name] for row in reversed(metrics) if row.get(name) is not None)
    return float(next(values, math.nan))


def _step_s(path: Path) -> float:
    """Return the seconds of a step, the mean of the last ones; validation is in some of them."""
    rows = MetricsFile(path / "timings.jsonl").rows(last=_RECENT_STEPS)
    steps = [sum(v for k, v in row.items() if k != "step") for row in rows]
    return float(np.mean(steps)) if steps else math.nan


def base_models_in_work(store: RunStore) -> dict[str, float]:
    """Return the base models that a process trains now, by id, with the fraction done."""
    work = {}
    for path in (store.root / "base_models").glob("*.lock"):
        said = read_json_if_whole(path.with_suffix(".status.json"))
        if said.get("total") and lock_is_held(path):
            work[path.stem] = said["done"] / said["total"]
    return work
