"""What a run is doing, from its files alone, so that anybody may watch it from anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from entropy_mech.runs.costs import base_model_s, run_s
from entropy_mech.runs.launch import base_model_folder
from entropy_mech.runs.listing import base_models_in_work, run_row
from entropy_mech.runs.locks import lock_is_held
from entropy_mech.runs.progress import clock
from entropy_mech.runs.store import Run, RunStore

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
