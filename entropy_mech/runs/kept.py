"""Evidence kept in the tree: what finished runs measured, as tables that any machine reads.

A folder of kept runs (``reproduce/kept``) has ``metrics.parquet`` (a row a run and step),
``tokens.parquet``, ``lemma1.parquet`` and ``evaluations.parquet``, each with a column ``run`` that
holds the hash of the run's configuration, and ``manifest.json``, which says of each run where it
came from. A kept run is read as a stored one is; it has no policy to go on from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.errors import UserError
from entropy_mech.runs.launch import scores
from entropy_mech.runs.store import (
    Run,
    RunStore,
    atomic_write,
    file_sha256,
    project_root,
    write_json,
)

TABLES = ("metrics", "tokens", "lemma1", "evaluations")
_FROM_MANIFEST = ("wall_time_s", "commit", "processor", "cores", "platform", "python", "packages")


class KeptStore(RunStore):
    """The runs of a folder of kept evidence, by configuration."""

    def run(self, config: TrainConfig) -> Run:
        """Return the kept run of a configuration; it is incomplete where it was not kept."""
        plain = super().run(config)
        return KeptRun(plain.path, config)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Return where each kept run came from, by the hash of its configuration."""
        return _manifest(self.root)


def kept_store() -> KeptStore:
    """Return the evidence in this source tree."""
    return KeptStore(project_root() / "reproduce" / "kept")


class KeptRun(Run):
    """A run whose measurements are rows of the tables beside it."""

    @property
    def complete(self) -> bool:
        """Whether all steps that the configuration asks for were kept."""
        return self.steps_done >= self.config.steps

    @property
    def steps_done(self) -> int:
        """Steps that were kept."""
        return len(self._rows("metrics"))

    def metrics(self, *columns: str) -> pd.DataFrame:
        """Return the metrics up to the configuration's last step; see ``Run.metrics``."""
        frame = self._rows("metrics").head(self.config.steps).dropna(axis="columns", how="all")
        return self._named(frame, columns)

    def token_frame(self, step: int) -> pd.DataFrame:
        """Return the response tokens of a step, a row a token; see ``Run.token_frame``."""
        return self._of_step("tokens", step)

    def lemma1(self, step: int) -> dict[str, np.ndarray]:
        """Return the check of Lemma 1 at a step: a value a distinct prefix."""
        return {name: column.to_numpy() for name, column in self._of_step("lemma1", step).items()}

    def token_steps(self) -> list[int]:
        """Return the steps whose tokens were kept."""
        return sorted(set(self._rows("tokens").get("step", ())))

    def lemma1_steps(self) -> list[int]:
        """Return the steps whose checks of Lemma 1 were kept."""
        return sorted(set(self._rows("lemma1").get("step", ())))

    def scores(self, group: str) -> pd.DataFrame:
        """Return what was measured of the final policy; see ``runs.evaluations.scores``."""
        frame = self._rows("evaluations")
        return frame[frame["group"] == group].drop(columns="group") if len(frame) else frame

    def manifest(self) -> dict[str, Any]:
        """Return where the run came from."""
        return _manifest(self.path.parent).get(self.path.name, {})

    def newest_model(self) -> None:
        """Return None: policies are not kept."""

    def _of_step(self, table: str, step: int) -> pd.DataFrame:
        frame = self._rows(table)
        frame = frame[frame["step"] == step] if len(frame) else frame
        if not len(frame):
            raise UserError(f"step = {step}: {self} has no {table} kept of it")
        return frame.drop(columns="step").dropna(axis="columns", how="all").reset_index(drop=True)

    def _rows(self, table: str) -> pd.DataFrame:
        return _by_run(self.path.parent / f"{table}.parquet").get(self.path.name, pd.DataFrame())


def _by_run(path: Path) -> dict[str, pd.DataFrame]:
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=8)
def _read(path: Path, _changed_ns: int) -> dict[str, pd.DataFrame]:
    groups = pd.read_parquet(path).groupby("run", sort=False)
    return {run: rows.drop(columns="run").reset_index(drop=True) for run, rows in groups}


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    return _read_manifest(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=2)
def _read_manifest(path: Path, _changed_ns: int) -> dict[str, Any]:
    return json.loads(path.read_text())["runs"]


# -- Keeping -------------------------------------------------------------------------------------


def keep(
    runs: Iterable[tuple[str, Run]],
    folder: Path,
    groups: Mapping[str, str],
    tokens_of: Collection[str] = (),
) -> int:
    """Add runs that are complete to the tables of ``folder``, in place of earlier ones.

    Args:
        runs: names of their files, and the runs.
        folder: of kept evidence; made where it is missing.
        groups: the benchmarks that the policies of a name were measured on.
        tokens_of: hashes of the runs of which the tokens of the first step are kept too.

    Returns:
        How many runs were added or replaced.

    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {run.path.name: (name, run) for name, run in runs if run.complete}
    said = _manifest(folder)
    for table in TABLES:
        path = folder / f"{table}.parquet"
        new = {
            key: _table(table, run, groups.get(name, ""))
            for key, (name, run) in found.items()
            if table != "tokens" or key in tokens_of
        }
        # What is not asked for now may have been kept before, of the same run.
        every = _by_run(path) | {key: rows for key, rows in new.items() if len(rows)}
        frames = [rows.assign(run=key) for key, rows in every.items()]
        if frames:
            data = pd.concat(frames, ignore_index=True)
            with atomic_write(path) as whole:
                data.to_parquet(whole, index=False, compression="zstd")
    said = said | {key: _source(name, run) for key, (name, run) in found.items()}
    write_json(folder / "manifest.json", {"runs": dict(sorted(said.items()))})
    return len(found)


def _table(table: str, run: Run, group: str) -> pd.DataFrame:
    if table == "metrics":
        return run.metrics()
    if table == "evaluations":
        return scores(run, group).assign(group=group) if group else pd.DataFrame()
    if table == "tokens":  # of the first step alone: what Table 1 and Listing 1 are about
        steps = run.token_steps()[:1]
        frames = [run.token_frame(step).assign(step=step) for step in steps]
    else:
        steps = [step for step in run.lemma1_steps() if step < run.config.steps]
        frames = [pd.DataFrame(run.lemma1(step)).assign(step=step) for step in steps]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _source(name: str, run: Run) -> dict[str, Any]:
    manifest = run.manifest()
    return {
        "name": name,
        "seed": run.config.seed,
        "steps": run.config.steps,
        "weights_sha256": _weights_digest(run),
        **{key: manifest[key] for key in _FROM_MANIFEST if key in manifest},
        "config": run.config.model_dump(mode="json", exclude_defaults=True),
    }


def _weights_digest(run: Run) -> str | None:
    model = run.newest_model()
    file = model / "model.safetensors" if model else None
    return file_sha256(file) if file and file.is_file() else None


# -- Whether a run follows the kept one ----------------------------------------------------------

# Relative, of numbers that are not small: what another order of float32 sums may change in a step.
ROUNDING = 1e-4
_SMALL = 1e-3


@dataclass(frozen=True)
class Follows:
    """How far a run's metrics are those of the kept run of its configuration and seed.

    Attributes:
        steps: that both have.
        left_at: the first step that differs by more than rounding; None where there is none.
        largest: the largest difference before that, relative (of values below 1e-3: to 1e-3).
        metric: the metric that left, or differs most.

    """

    steps: int
    left_at: int | None
    largest: float
    metric: str = ""

    def __str__(self) -> str:
        if not self.steps:
            return "not compared: no step in common"
        if self.left_at is not None:
            return f"leaves the kept run at step {self.left_at} ({self.metric})"
        if self.largest == 0.0:
            return f"follows to the last bit, {self.steps} steps"
        return f"follows within rounding ({self.largest:.1g}), {self.steps} steps"


def follows(run: Run, kept: Run) -> Follows:
    """Compare a run with the kept run of the same configuration, as many steps as both have."""
    mine, theirs = run.metrics(), kept.metrics()
    steps = min(len(mine), len(theirs))
    columns = [name for name in theirs if name in mine]
    one, two = (frame[columns].head(steps).to_numpy(dtype=float) for frame in (mine, theirs))
    apart = np.abs(one - two) / np.maximum(np.abs(two), _SMALL)
    apart = np.where(np.isnan(one) & np.isnan(two), 0.0, np.nan_to_num(apart, nan=np.inf))
    gone = (apart > ROUNDING).any(axis=1) if steps else np.zeros(0, bool)
    left_at = int(gone.argmax()) if gone.any() else None
    shown = apart[left_at : left_at + 1] if left_at is not None else apart
    metric = columns[int(shown.max(axis=0).argmax())] if shown.size else ""
    before = apart[:left_at]
    return Follows(steps, left_at, float(before.max(initial=0.0)), metric)
