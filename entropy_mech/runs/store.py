"""The run store: a run is found by what it is, not by a name somebody gave it."""

from __future__ import annotations

import json
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value, folder_path, unknown_name, whole_number
from entropy_mech.runs.manifest import write_json
from entropy_mech.runs.metrics import MetricsFile
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.config_io import run_id

STORE_VARIABLE = "ENTROPY_MECH_RUNS"
PROJECT_VARIABLE = "ENTROPY_MECH_PROJECT"
_REMOVE = "remove it, or the folder that it is in"


def project_root() -> Path:
    """Return the folder that holds ``notebooks/`` and ``reproduce/``.

    That is the one named by ``ENTROPY_MECH_PROJECT``, or the source tree that this package was
    installed from (editable), or the current folder or one above it.
    """
    named = os.environ.get(PROJECT_VARIABLE)
    places = (Path(__file__).resolve().parents[2], Path.cwd(), *Path.cwd().parents)
    for folder in (Path(named),) if named else places:
        if (folder / "reproduce" / "targets.toml").is_file():
            return folder
    if named:
        raise bad_value(
            PROJECT_VARIABLE, named, "no reproduce/targets.toml there; name a clone of entropy_mech"
        )
    raise bad_value(
        "project folder",
        str(Path.cwd()),
        "no reproduce/targets.toml here or above; change into a clone of entropy_mech",
    )


def run_path(name: str, profile: str) -> Path:
    """Return where a profile's run file of this name lies, or would."""
    return project_root() / "reproduce" / "runs" / profile / f"{name}.toml"


def default_store() -> RunStore:
    """Return the store named by ``ENTROPY_MECH_RUNS``, else ``runs/`` in the project folder."""
    named = os.environ.get(STORE_VARIABLE)
    return RunStore(Path(named) if named else project_root() / "runs")


class RunStore:
    """A folder of runs and of the base models that they share."""

    def __init__(self, root: str | Path):
        self.root = folder_path("run store", root, "set ENTROPY_MECH_RUNS to one, or leave it out")

    def run(self, config: TrainConfig) -> Run:
        """Return the run of a configuration, whether or not it has been trained yet."""
        return Run(self.root / run_id(config), config)


class Run:
    """One run's folder.

    ``config.json`` (resolved), ``metrics.jsonl`` (the same bytes each time on one thread),
    ``timings.jsonl``, ``manifest.json``, ``status.json``, ``checkpoints/``, ``models/`` (the policy
    in Hugging Face format), ``tokens/``, and of maths ``accepted_answers.jsonl`` (which answers
    were right for which references).
    """

    def __init__(self, path: Path, config: TrainConfig):
        self.path, self.config = path, config
        self.metrics_file = MetricsFile(path / "metrics.jsonl")
        self.timings_file = MetricsFile(path / "timings.jsonl")
        self.accepted_file = MetricsFile(path / "accepted_answers.jsonl")
        self.checkpoints = path / "checkpoints"

    def __repr__(self) -> str:
        return f"Run({self.path.name}, {self.config.loss.method}, seed {self.config.seed})"

    @property
    def steps_done(self) -> int:
        """Steps with a whole line of metrics."""
        return len(self.metrics_file.lines())

    @property
    def complete(self) -> bool:
        """Whether the run has gone as far as its configuration asks, and said so.

        A log that was imported is as long as it is: there is nothing to go on from.
        """
        manifest = self.manifest()
        if manifest.get("imported", {}).get("kind") == "log":
            return True
        return manifest.get("steps", 0) >= self.config.steps

    def metrics(self, *columns: str) -> pd.DataFrame:
        """Return the metrics up to the configuration's last step, all columns or those named.

        Raises:
            UserError: a column that the run does not have (names the nearest).

        """
        frame = self.metrics_file.frame().head(self.config.steps)
        for column in columns:
            if column not in frame:
                raise unknown_name("metric", column, frame.columns)
        return frame[list(columns)] if columns else frame

    def tokens(self, step: int) -> dict[str, np.ndarray]:
        """Return the token record of a step: B x T arrays of what was sampled and measured."""
        step = whole_number("step", step)
        return _load_record(self.token_path(step), step, "token record")

    def lemma1(self, step: int) -> dict[str, np.ndarray]:
        """Return the check of Lemma 1 at a step: a value a distinct prefix (``lemma1_probe``)."""
        step = whole_number("step", step)
        return _load_record(self.lemma1_path(step), step, "check of Lemma 1")

    def token_path(self, step: int) -> Path:
        """Return where a step's token record lies."""
        return self.path / "tokens" / f"step_{step:06d}.npz"

    def lemma1_path(self, step: int) -> Path:
        """Return where a step's check of Lemma 1 lies."""
        return self.path / "lemma1" / f"step_{step:06d}.npz"

    def token_steps(self) -> list[int]:
        """Return the steps that have a token record."""
        return _recorded_steps(self.path / "tokens")

    def lemma1_steps(self) -> list[int]:
        """Return the steps that have a check of Lemma 1."""
        return _recorded_steps(self.path / "lemma1")

    def newest_model(self) -> Path | None:
        """Return the newest exported policy (a folder in Hugging Face format), or None."""
        found = sorted((self.path / "models").glob("step_[0-9]*"))
        return found[-1] if found else None

    def manifest(self) -> dict[str, Any]:
        """Return the manifest, empty before the first session of the run ended or checkpointed.

        A damaged one is named in a warning and counts for none: the next session writes it anew.
        """
        return read_json_if_whole(self.path / "manifest.json")

    def status(self) -> dict[str, Any]:
        """Return what the run last said of itself: stage, done, total, updated (Unix time)."""
        return read_json_if_whole(self.path / "status.json")

    def note_failure(self, error: Exception) -> None:
        """Keep in the status, in one line, why a session ended; the next step replaces it."""
        if not self.path.is_dir():
            return  # refused before anything was written
        words = " ".join(f"{type(error).__name__}: {error}".split())
        failed = {
            "stage": "failed",
            "done": self.steps_done,
            "total": self.config.steps,
            "updated": time.time(),
            "error": words[:500],
        }
        # A full disk, say, is what the error is about: that is what must be raised, not this.
        with suppress(OSError):
            self.write("status.json", failed)

    def write(self, name: str, value: Any) -> None:
        """Replace one of the run's JSON files."""
        write_json(self.path / name, value)


def _recorded_steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step_")) for path in folder.glob("step_*.npz"))


def _load_record(path: Path, step: int, what: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        have = _recorded_steps(path.parent)
        raise UserError(f"step = {step}: no {what}; there are {have}")
    with np.load(path) as record:
        return dict(record)


class DamagedFile(UserError):
    """A file of this package's own that cannot be read: cut off, emptied or written over."""


class DamagedFileWarning(UserWarning):
    """A damaged file was passed over, as if it were not there."""


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's table, empty where there is no such file.

    Raises:
        DamagedFile: it holds no table.

    """
    try:
        data = path.read_bytes()
        table = json.loads(data) if data.strip() else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(f"{path}: cannot be read ({error}); {_REMOVE}") from None
    if not isinstance(table, dict):
        found = "holds no table" if data.strip() else "is empty"
        raise DamagedFile(f"{path}: {found}; {_REMOVE}")
    return table


def read_json_if_whole(path: Path) -> dict[str, Any]:
    """Return a JSON file's table; one that is damaged is named in a warning and counts as empty."""
    try:
        return read_json(path)
    except DamagedFile as error:
        warnings.warn(str(error), DamagedFileWarning, stacklevel=3)
        return {}
