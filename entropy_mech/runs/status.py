"""What the run store holds and what each run is doing, from files alone."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.runs.jobs import base_model_s, clock, run_s
from entropy_mech.runs.store import (
    MetricsFile,
    Run,
    RunStore,
    base_model_folder,
    lock_is_held,
    read_json,
    read_json_if_whole,
)

# -- One run -------------------------------------------------------------------------------------

IN_WORK = ("training", "waiting")
_TICK_S = 0.2
# What is drawn while somebody waits: open views, each called about five times a second.
OPEN_VIEWS: set[Callable[[], object]] = set()


@dataclass(frozen=True)
class RunStatus:
    """Where a run is.

    Attributes:
        name: what people call it.
        state: complete, training, waiting (it starts, or its base model is made), failed, stopped
            (it goes on when started again), damaged (so does it) or new (never started).
        done: rollouts behind it.
        total: rollouts that it is to make.
        left_s: seconds still to come, a guess; NaN where there is none.
        entropy_nats: the last that was measured; NaN before.
        accuracy: of the last validation, a fraction; NaN before.
        base_fraction: how far its base model is; NaN unless that is being made.
        error: in one line, why it failed, or what is damaged.

    """

    name: str
    state: str
    done: int
    total: int
    left_s: float = math.nan
    entropy_nats: float = math.nan
    accuracy: float = math.nan
    base_fraction: float = math.nan
    error: str = ""

    @property
    def in_work(self) -> bool:
        """Whether a process is at it."""
        return self.state in IN_WORK

    @property
    def fraction(self) -> float:
        """The share of the rollouts done."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    def __str__(self) -> str:
        """One line, short enough for a notebook's cell: done/total are rollouts."""
        if self.error:
            return self.error
        parts = [f"{self.name}: {self.state} {self.done}/{self.total}"]
        if not math.isnan(self.base_fraction):
            parts = [f"{self.name}: making its base model, {self.base_fraction:.0%}"]
        if not math.isnan(self.entropy_nats):
            parts.append(f"entropy {self.entropy_nats:.3f} nats")
        if not math.isnan(self.accuracy):
            parts.append(f"accuracy {self.accuracy:.3f}")
        if self.in_work and not math.isnan(self.left_s):
            parts.append(f"about {clock(self.left_s)} left")
        return ", ".join(parts)

    __repr__ = __str__


def status_of(run: Run, *, name: str = "", alive: bool | None = None) -> RunStatus:
    """Return where a run is.

    ``alive`` True says that a process is at it, though it may not have come to take the run's
    lock: one that has just been started reads torch first. False says that it has ended.
    """
    shown = name or f"run {run.path.name[:8]}"
    if not run.path.is_dir():
        return RunStatus(shown, "new", 0, run.config.steps)
    row = run_row(run.path)
    state = "complete" if run.complete else row["state"]
    if state in ("failed", "stopped", "damaged") and alive:
        state = "waiting"
    if state == "waiting" and alive is False and not lock_is_held(run.path.with_suffix(".lock")):
        state = "stopped"
    base = base_models_in_work(_store(run)).get(_base_id(run), math.nan)
    return RunStatus(
        name=shown,
        state=state,
        done=row["steps_done"],
        total=run.config.steps,
        left_s=_left_s(run, row["time_left_s"], base) if state in IN_WORK else math.nan,
        entropy_nats=row["entropy_nats"],
        accuracy=row["validation_accuracy"],
        base_fraction=base if state == "waiting" else math.nan,
        error=_in_one_line(shown, row["error"], run) if state == "failed" else "",
    )


def pause(seconds: float = _TICK_S) -> None:
    """Wait, and let open views draw meanwhile."""
    until = time.monotonic() + seconds
    while True:
        for draw in list(OPEN_VIEWS):
            draw()
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(_TICK_S, left))


def _in_one_line(name: str, error: str, run: Run) -> str:
    log = run.path / "log.txt"
    return f"{name} failed: {error}" + (f" (log: {log})" if log.is_file() else "")


def _left_s(run: Run, of_steps: float, base_fraction: float) -> float:
    """Return the seconds left: by the steps so far, else guessed from the configuration."""
    if not math.isnan(of_steps):
        return of_steps
    if run.steps_done or not run.config.toy:
        return math.nan
    left = run_s(run, _store(run))
    if not base_model_folder(_store(run), run.config).exists():
        done = 0.0 if math.isnan(base_fraction) else base_fraction
        left += (1 - done) * base_model_s(run.config)
    return left


def _store(run: Run) -> RunStore:
    return RunStore(run.path.parent)


def _base_id(run: Run) -> str:
    return base_model_folder(_store(run), run.config).name if run.config.toy else ""


# -- All runs ------------------------------------------------------------------------------------

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
