"""A copy of a run's metrics for a dashboard: TensorBoard, Weights & Biases or trackio.

The run's own files are the record; a mirror is for watching. It disables itself at its first error,
from a missing package to a lost network, which is printed in one line, and the run goes on.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from entropy_mech.runs.store import read_json, write_json

_CLOSE_S = 90.0
# Waits of wandb's own, in seconds, which has none on some of them; what the user set stays.
_WANDB_DEFAULTS = {
    "WANDB_CONSOLE": "off",  # it would capture the progress line
    "WANDB_QUIET": "true",
    "WANDB_LOGIN_TIMEOUT": "30",
    "WANDB_INIT_TIMEOUT": "60",
    "WANDB_FINISH_TIMEOUT": "60",
}


def open_mirror(
    kind: str,
    run_name: str,
    folder: Path,
    config_table: Mapping[str, Any],
    say: Callable[[str], None],
    *,
    project: str = "entropy_mech",
) -> Mirror:
    """Open a mirror of one run; a resumed run opens it again with the same name and folder.

    Args:
        kind: which dashboard; ``none`` gives a mirror that does nothing.
        run_name: its name there, different for different runs.
        folder: belongs to this run and mirror alone. TensorBoard's files lie in it, and what the
            others need to know of earlier sessions.
        config_table: the run's configuration, shown beside the metrics.
        say: is told, once and in one line, if the mirror fails.
        project: the run's project at wandb or trackio.

    """
    make = {"none": lambda *_: None, "tensorboard": _TensorBoard}.get(kind, partial(_Tracker, kind))
    return Mirror(kind, say, lambda: make(run_name, Path(folder), config_table, project))


class Mirror:
    """A dashboard that disables itself at its first error. Made by ``open_mirror``."""

    def __init__(
        self,
        kind: str,
        say: Callable[[str], None],
        make: Callable[[], _TensorBoard | _Tracker | None],
    ):
        self.kind, self._say, self._dashboard = kind, say, None
        try:
            self._dashboard = make()
        except Exception as error:
            self._give_up("opening", error)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Copy a step's numbers; null metrics and whatever is no finite number are left out."""
        if self._dashboard is None:
            return
        try:
            self._dashboard.log(step, _numbers(metrics))
        except Exception as error:
            self._give_up(f"step {step}", error)

    def close(self) -> None:
        """Send what is left, for at most a minute and a half, and let go of the dashboard."""
        dashboard, failures = self._dashboard, []
        if dashboard is None:
            return

        def send() -> None:
            try:
                dashboard.close()
            except Exception as error:
                failures.append(error)

        sender = threading.Thread(target=send, name=f"close {self.kind}", daemon=True)
        sender.start()
        sender.join(_CLOSE_S)
        if sender.is_alive():
            failures.append(TimeoutError(f"not all was sent within {_CLOSE_S:.0f} s"))
        self._dashboard = None
        if failures:
            self._give_up("closing", failures[0])

    def _give_up(self, doing: str, error: Exception) -> None:
        self._dashboard = None
        reason = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError):
            reason = f"{error.name} is not installed: pip install {self.kind}"
        self._say(
            f"mirror.kind = {self.kind}: off from here, {doing} failed "
            f"({type(error).__name__}: {reason[:200]}); the run and its own files go on"
        )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


class _TensorBoard:
    """Event files below the folder; opened at the first step, which says where to go on.

    A resumed run makes the steps after its checkpoint again: ``purge_step`` tells TensorBoard to
    forget what the session before wrote from there on.
    """

    def __init__(self, run_name: str, folder: Path, config_table: Mapping[str, Any], project: str):
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._open = lambda step: SummaryWriter(folder / _plain(run_name), purge_step=step)
        self._config = json.dumps(config_table, indent=2, default=str)
        self._writer = None

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = self._open(step)
            indented = "".join(f"    {line}\n" for line in self._config.splitlines())
            self._writer.add_text("configuration", indented, step)
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Tracker:
    """A run at a tracker with wandb's interface: wandb itself, or trackio.

    ``WANDB_MODE=offline`` keeps wandb's in the folder for later; trackio's stays on this machine
    unless ``TRACKIO_SPACE_ID`` names a Space. Neither takes a step back: a resumed run's steps
    after its checkpoint, which are the same as before, are not sent again.
    """

    def __init__(
        self, kind: str, run_name: str, folder: Path, config_table: Mapping[str, Any], project: str
    ):
        own = {"embed": False}
        if kind == "wandb":
            own = {"id": _plain(run_name), "dir": str(folder)}
            for name, value in _WANDB_DEFAULTS.items():
                os.environ.setdefault(name, value)
        tracker = importlib.import_module(kind)
        folder.mkdir(parents=True, exist_ok=True)
        self._sent_file = folder / f"shown-{kind}.json"
        self._sent = int(read_json(self._sent_file).get("steps", 0))
        self._run = tracker.init(
            project=project, name=run_name, resume="allow", config=dict(config_table), **own
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if step >= self._sent:
            self._run.log(dict(numbers), step=step)
            self._sent = step + 1
            write_json(self._sent_file, {"steps": self._sent})

    def close(self) -> None:
        self._run.finish()


def _plain(name: str) -> str:
    """Return a name that is good for a folder and for an id: letters, digits, ``-_.``."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
