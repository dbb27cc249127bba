"""A copy of a run's metrics for a dashboard: TensorBoard, Weights & Biases or trackio.

The run's own files are the record; a mirror is for watching. It disables itself at its first error,
from a missing package to a lost network, which is printed in one line, and the run goes on.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from entropy_mech.runs.store import Run, read_json, write_json
from entropy_mech.train.distributed import Ranks

_CLOSE_S = 90.0
# Waits of wandb's own, in seconds, which has none on some of them; what the user set stays.
_WANDB_DEFAULTS = {
    "WANDB_CONSOLE": "off",  # it would capture the progress line
    "WANDB_QUIET": "true",
    "WANDB_LOGIN_TIMEOUT": "30",
    "WANDB_INIT_TIMEOUT": "60",
    "WANDB_FINISH_TIMEOUT": "60",
}


def mirror_of(run: Run, ranks: Ranks, say: Callable[[str], None]) -> Mirror:
    """Open the dashboard that shows a run, on rank 0; a resumed run opens the same again."""
    config = run.config
    kind = config.mirror.kind if ranks.first else "none"
    name = f"{config.loss.method}-seed{config.seed}-{run.path.name}"
    return Mirror(kind, name, run.path / "mirror", config.model_dump(mode="json"), say)


class Mirror:
    """A dashboard that disables itself at its first error.

    Args:
        kind: which dashboard; ``none`` gives a mirror that does nothing.
        run_name: its name there, different for different runs; letters, digits, ``-_.``.
        folder: belongs to this run and mirror alone. TensorBoard's files lie in it, and what the
            others need to know of earlier sessions.
        config_table: the run's configuration, shown beside the metrics.
        say: is told, once and in one line, if the mirror fails.

    """

    def __init__(
        self,
        kind: str,
        run_name: str,
        folder: Path,
        config_table: dict[str, Any],
        say: Callable[[str], None],
    ):
        self.kind, self._say, self._dashboard = kind, say, None
        with self._off_at_an_error("opening"):
            if kind == "tensorboard":
                self._dashboard = _TensorBoard(run_name, folder, config_table)
            elif kind != "none":
                self._dashboard = _Tracker(kind, run_name, folder, config_table)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Copy a step's numbers; null metrics and whatever is no finite number are left out."""
        if self._dashboard is None:
            return
        numbers = {
            name: float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        with self._off_at_an_error(f"step {step}"):
            self._dashboard.log(step, numbers)

    def close(self) -> None:
        """Send what is left, for at most a minute and a half, and let go of the dashboard."""
        if self._dashboard is None:
            return
        sent = Future()

        def send() -> None:
            try:
                sent.set_result(self._dashboard.close())
            except Exception as error:
                sent.set_exception(error)

        threading.Thread(target=send, daemon=True).start()
        with self._off_at_an_error("closing"):
            if not wait([sent], _CLOSE_S).done:
                raise TimeoutError(f"not all was sent within {_CLOSE_S:.0f} s")
            sent.result()

    @contextmanager
    def _off_at_an_error(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._dashboard = None
            reason = " ".join(str(error).split())
            if isinstance(error, ModuleNotFoundError):
                reason = f"{error.name} is not installed: pip install {self.kind}"
            self._say(
                f"mirror.kind = {self.kind}: off from here, {doing} failed "
                f"({type(error).__name__}: {reason[:200]}); the run and its own files go on"
            )


class _TensorBoard:
    """Event files below the folder; opened at the first step, which says where to go on.

    A resumed run makes the steps after its checkpoint again: ``purge_step`` tells TensorBoard to
    forget what the session before wrote from there on.
    """

    def __init__(self, run_name: str, folder: Path, config_table: dict[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._open = lambda step: SummaryWriter(folder / run_name, purge_step=step)
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

    def __init__(self, kind: str, run_name: str, folder: Path, config_table: dict[str, Any]):
        own = {"embed": False}
        if kind == "wandb":
            own = {"id": run_name, "dir": str(folder)}
            for name, value in _WANDB_DEFAULTS.items():
                os.environ.setdefault(name, value)
        tracker = importlib.import_module(kind)
        folder.mkdir(parents=True, exist_ok=True)
        self._sent_file = folder / f"shown-{kind}.json"
        self._sent = int(read_json(self._sent_file).get("steps", 0))
        project = config_table["mirror"]["project"]
        self._run = tracker.init(
            project=project, name=run_name, resume="allow", config=config_table, **own
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if step >= self._sent:
            self._run.log(dict(numbers), step=step)
            self._sent = step + 1
            write_json(self._sent_file, {"steps": self._sent})

    def close(self) -> None:
        self._run.finish()
