"""Evidence kept in the tree: what finished runs measured, as tables that any machine reads.

A folder of kept runs (``reproduce/kept``, ``reproduce/kept_smollm``) has ``metrics.parquet`` (a row
a run and step), ``tokens.parquet``, ``lemma1.parquet``, ``evaluations.parquet`` and, of language
models, ``answers.parquet``, each with a column ``run`` that holds the hash of the run's
configuration, and ``manifest.json``, which says of each run where it came from. A kept run is read
as a stored one is; it has no policy to go on from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.errors import UserError
from entropy_mech.runs.launch import answers, scores
from entropy_mech.runs.store import (
    Run,
    RunStore,
    atomic_write,
    file_sha256,
    project_root,
    write_json,
)

# Profiles of kept runs, each a folder of reproduce/, and the profile that trains such runs.
KEPT = {"kept": "toy", "kept_smollm": "smollm"}
TABLES = ("metrics", "tokens", "lemma1", "evaluations", "answers")
# Scores of what a run started from stand beside its own, under the group's name with this.
BEFORE = " before"
# Of a token record what is one number a response.
PER_RESPONSE = ("problem", "sample", "reward")
_FROM_MANIFEST = ("wall_time_s", "commit", "processor", "cores", "platform", "python", "packages")


class KeptStore(RunStore):
    """The runs of a folder of kept evidence, by configuration."""

    def run(self, config: TrainConfig) -> Run:
        """Return the kept run of a configuration; it is incomplete where it was not kept."""
        plain = super().run(config)
        return KeptRun(plain.path, config)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Return where each kept run came from, by the hash of its configuration."""
        return _by_run(self.root / "manifest.json")


def kept_store(profile: str = "kept") -> KeptStore:
    """Return the evidence of a profile (``KEPT``) in this source tree."""
    return KeptStore(project_root() / "reproduce" / profile)


class KeptRun(Run):
    """A run whose measurements are rows of the tables beside it."""

    @property
    def steps_done(self) -> int:
        """Steps that were kept."""
        return len(self._rows("metrics"))

    def metrics(self, *columns: str) -> pd.DataFrame:
        """Return the metrics up to the configuration's last step; see ``Run.metrics``."""
        frame = self._rows("metrics").head(self.config.steps).dropna(axis="columns", how="all")
        return self._named(frame, columns)

    def token_frame(self, step: int) -> pd.DataFrame:
        """Return the response tokens of a step, a row a token; see ``Run.token_frame``.

        Of a language model there is a column more, ``text``.
        """
        return self._of_step("tokens", step)

    def tokens(self, step: int) -> dict[str, np.ndarray]:
        """Return the token record of a step: B x T arrays; see ``Run.tokens``."""
        frame = self.token_frame(step).drop(columns="text", errors="ignore")
        row, position = frame.pop("row").to_numpy(), frame.pop("position").to_numpy()
        shape = row.max() + 1, position.max() + 1
        mask = np.zeros(shape, dtype=bool)
        mask[row, position] = True
        record = {"response_mask": mask}
        for name, column in frame.items():
            record[name] = np.zeros(shape, dtype=column.dtype)
            record[name][row, position] = column
        # A response has tokens, so the first position says what is one number a response.
        return record | {name: record[name][:, 0] for name in PER_RESPONSE if name in record}

    def token_texts(self) -> Callable[[int], str]:
        """Return what makes text of a token id: as it was kept, else the id itself."""
        frame = self._rows("tokens")
        texts = dict(zip(frame["tokens"], frame["text"], strict=True)) if "text" in frame else {}
        return lambda token: texts.get(token, f"[{token}]")

    def lemma1(self, step: int) -> dict[str, np.ndarray]:
        """Return the check of Lemma 1 at a step: a value a distinct prefix."""
        return {name: column.to_numpy() for name, column in self._of_step("lemma1", step).items()}

    def _recorded_steps(self, table: str) -> list[int]:
        return sorted(set(self._rows(table).get("step", ())))

    def scores(self, group: str, *, before: bool = False) -> pd.DataFrame:
        """Return what was measured of the final policy; see ``launch.scores``."""
        frame, group = self._rows("evaluations"), group + BEFORE * before
        return frame[frame["group"] == group].drop(columns="group") if len(frame) else frame

    def answers(self) -> pd.DataFrame:
        """Return answers to held-out problems before and after training: ``launch.answers``."""
        return self._rows("answers")

    def manifest(self) -> dict[str, Any]:
        """Return where the run came from."""
        return _by_run(self.path.parent / "manifest.json").get(self.path.name, {})

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


def _by_run(path: Path) -> dict[str, Any]:
    """Return what a file holds of each run: rows of a table, an entry of the manifest."""
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=16)
def _read(path: Path, _changed_ns: int) -> dict[str, Any]:
    if path.suffix == ".json":
        return json.loads(path.read_text())["runs"]
    groups = pd.read_parquet(path).groupby("run", sort=False)
    return {run: rows.drop(columns="run").reset_index(drop=True) for run, rows in groups}


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
        groups: by hash of a run, the benchmarks that its policy was measured on.
        tokens_of: hashes of the runs of which tokens are kept too: of the first step, of a language
            model of every recorded one, with their texts.

    Returns:
        How many runs were added or replaced.

    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {run.path.name: (name, run) for name, run in runs if run.complete}
    said = _by_run(folder / "manifest.json")
    for table in TABLES:
        path = folder / f"{table}.parquet"
        new = {
            key: _table(table, run, groups.get(key, ""))
            for key, (_, run) in found.items()
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
        if not group:
            return pd.DataFrame()
        after, before = scores(run, group), scores(run, group, before=True)
        both = (after.assign(group=group), before.assign(group=f"{group}{BEFORE}"))
        return pd.concat([frame for frame in both if len(frame)] or [after], ignore_index=True)
    if table == "answers":
        return answers(run, group) if group and not run.config.toy else pd.DataFrame()
    recorded, read = run.lemma1_steps(), run.lemma1
    if table == "tokens":  # of a toy the first step, which is what Table 1 and Listing 1 are about
        recorded, read = run.token_steps()[: 1 if run.config.toy else None], run.token_frame
    frames = [pd.DataFrame(read(s)).assign(step=s) for s in recorded if s < run.config.steps]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if table == "tokens" and not run.config.toy and len(rows):
        rows["text"] = rows["tokens"].map(run.token_texts())
    return rows


def _source(name: str, run: Run) -> dict[str, Any]:
    manifest, policy = run.manifest(), run.newest_model()
    weights = policy and policy / "model.safetensors"
    # Of a model out of an installed package, which it was; its folder is this computer's own.
    model = manifest.get("model") or {}
    package = {key: model[key] for key in ("package", "version", "file", "sha256") if key in model}
    return {
        "name": name,
        "seed": run.config.seed,
        "steps": run.config.steps,
        "weights_sha256": file_sha256(weights) if weights and weights.is_file() else None,
        **{key: manifest[key] for key in _FROM_MANIFEST if key in manifest},
        **({"model": package} if package else {}),
        "config": run.config.model_dump(mode="json", exclude_defaults=True),
    }


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
