"""What the run store holds, what each run is doing, and which run a name refers to.

Read from files alone.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import load_config, make_config, run_id
from entropy_mech.errors import UserError, bad_value, nearest, unknown_name
from entropy_mech.runs.jobs import clock
from entropy_mech.runs.store import (
    DamagedFile,
    MetricsFile,
    Run,
    RunStore,
    lock_is_held,
    opened,
    project_root,
    read_json,
    run_path,
)

# -- One run -------------------------------------------------------------------------------------

# In this order of asking: "training" and "waiting" are held by a process, the others by none.
STATES = ("complete", "training", "waiting", "failed", "stopped", "damaged")
IN_WORK = ("training", "waiting")
_TICK_S = 0.2
# Redraw functions of open views; ``pause`` calls each about five times a second.
OPEN_VIEWS: set[Callable[[], object]] = set()
_RECENT_STEPS = 20
_STARTUP_S = 60.0


@dataclass(frozen=True)
class RunStatus:
    """Where a run is, by its files.

    Attributes:
        id: of the run: its folder's name.
        state: *complete* (as far as its configuration asks), *training* (a process holds its lock
            and has done a step), *waiting* (a process holds it and has not, or its folder is new:
            it starts, or waits for a base model), *failed* (its last session ended with an error),
            *stopped* (it goes on from its checkpoint when started again), *damaged* (so does it;
            one of its files cannot be read) or, of a handle, *new* (never started).
        algorithm: of its configuration, as method, model and seed are.
        steps_done: rollouts behind it.
        steps_total: rollouts that it is to make.
        time_left_s: seconds still to come, by its last steps; NaN unless it trains.
        entropy_nats: the last that was measured; NaN before.
        validation_accuracy: the last that was measured, a fraction; NaN before.
        updated: Unix time.
        error: in one line, why it failed, or what is damaged.
        name: what people call it.

    """

    id: str
    state: str
    algorithm: str = ""
    method: str = ""
    model: str = ""
    seed: int | None = None
    steps_done: int = 0
    steps_total: int = 0
    time_left_s: float = math.nan
    entropy_nats: float = math.nan
    validation_accuracy: float = math.nan
    updated: float = 0.0
    error: str = ""
    name: str = ""

    @property
    def in_work(self) -> bool:
        """Whether a process is working on it."""
        return self.state in IN_WORK

    @property
    def fraction(self) -> float:
        """The share of the rollouts done."""
        return min(self.steps_done / self.steps_total, 1.0) if self.steps_total else 0.0

    def __str__(self) -> str:
        """One line, short enough for a notebook's cell: done/total are rollouts."""
        if self.error:
            return self.error
        parts = [f"{self.name}: {self.state} {self.steps_done}/{self.steps_total}"]
        if not math.isnan(self.entropy_nats):
            parts.append(f"entropy {self.entropy_nats:.3f} nats")
        if not math.isnan(self.validation_accuracy):
            parts.append(f"accuracy {self.validation_accuracy:.3f}")
        if self.in_work and not math.isnan(self.time_left_s):
            parts.append(f"about {clock(self.time_left_s)} left")
        return ", ".join(parts)

    __repr__ = __str__


def status_of(run: Run, *, name: str = "", alive: bool | None = None) -> RunStatus:
    """Return where a run is.

    ``alive`` True: its process is running, though it may not hold the run's lock yet, since
    importing torch takes seconds. False: it has ended.
    """
    name = name or f"run {run.path.name[:8]}"
    if not run.path.is_dir():
        return RunStatus(run.path.name, "new", steps_total=run.config.steps, name=name)
    status = _by_files(run.path)
    state = "complete" if run.complete else status.state
    if state in ("failed", "stopped", "damaged") and alive:
        state = "waiting"
    if state == "waiting" and alive is False and not lock_is_held(run.path.with_suffix(".lock")):
        state = "stopped"
    error = f"{name} failed: {status.error}" if state == "failed" else ""
    if error and (run.path / "log.txt").is_file():
        error += f" (log: {run.path / 'log.txt'})"
    return replace(status, name=name, state=state, steps_total=run.config.steps, error=error)


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


# -- All runs ------------------------------------------------------------------------------------

COLUMNS = tuple(RunStatus.__dataclass_fields__)[:-1]  # a name is a handle's
_RUN_FOLDER = re.compile(r"[0-9a-f]{16}")


def list_runs(
    store: RunStore, *, state: str | None = None, name: str | None = None
) -> pd.DataFrame:
    """Return the runs of a store, the most recently changed first: ``COLUMNS`` of ``RunStatus``.

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
    rows = [_by_files(path) for path in found if path.is_dir() and _RUN_FOLDER.fullmatch(path.name)]
    rows = [row for row in rows if state in (None, row.state) and _is_called(row, name)]
    frame = pd.DataFrame(rows, columns=list(RunStatus.__dataclass_fields__))[list(COLUMNS)]
    frame = frame.astype({"seed": "Int64"})
    return frame.sort_values("updated", ascending=False, ignore_index=True)


def _is_called(row: RunStatus, name: str | None) -> bool:
    words = (row.algorithm, row.method, row.model)
    return name is None or row.id.startswith(name) or any(name in word for word in words)


def _by_files(path: Path) -> RunStatus:
    try:
        return _by_whole_files(path)
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        # Files that hold something else than a run wrote; the other runs are of use.
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        why = why.removeprefix(f"{path}/")
        return RunStatus(path.name, "damaged", updated=path.stat().st_mtime, error=why)


def _by_whole_files(path: Path) -> RunStatus:
    config, status = read_json(path / "config.json"), read_json(path / "status.json")
    metrics = MetricsFile(path / "metrics.jsonl").rows()
    done, total = len(metrics), config.get("steps", 0)
    state = _state(path, status, done, total)
    return RunStatus(
        id=path.name,
        state=state,
        algorithm=config.get("algorithm", {}).get("name", ""),
        method=config.get("loss", {}).get("method", ""),
        model=_model_name(config.get("model", {})),
        seed=None if config.get("seed") is None else int(config["seed"]),
        steps_done=done,
        steps_total=total,
        time_left_s=_step_s(path) * (total - done) if state == "training" else math.nan,
        entropy_nats=_last(metrics, "entropy_nats"),
        validation_accuracy=_last(metrics, "validation_accuracy"),
        updated=float(status.get("updated", path.stat().st_mtime)),
        error=status.get("error", "") if state == "failed" else "",
    )


def _state(path: Path, status: dict[str, Any], done: int, total: int) -> str:
    if lock_is_held(path.with_suffix(".lock")):
        return "training" if done else "waiting"
    manifest = read_json(path / "manifest.json")
    if total and manifest.get("steps", 0) >= total:
        if done < total and manifest.get("imported", {}).get("kind") != "log":
            raise UserError(f"metrics.jsonl: {done} of {total} lines; start the run again")
        return "complete"
    if status.get("stage") == "failed":
        return "failed"
    # A child has a folder, for its log, some seconds before it takes its lock: it imports torch.
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


# -- Which run a name refers to ------------------------------------------------------------------
# A run is addressed by its configuration's hash (``store.RunStore.run``); people type its folder,
# the start of its id or the name of its file.

_ID_OR_ITS_START = re.compile(r"[0-9a-f]{1,16}")
_CLOSE = 0.8  # so similar to the name of a run's file that no hub id is meant


def find_config(
    what: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    profile: str = "toy",
    seed: int | None = None,
    steps: int = 0,
) -> TrainConfig:
    """Return the configuration that ``what`` names.

    Args:
        what: a configuration, nested tables as in a TOML file, the path of a TOML file, or the
            name of a file of ``reproduce/runs/<profile>/``, such as ``fig11_7b_kl_cov``.
        profile: where a name is looked for: toy or paper.
        seed: in place of the configuration's own.
        steps: rollouts in place of the configuration's own; 0 keeps them.

    Raises:
        UserError: no such file or name (says the nearest), or a value that cannot be used.

    """
    changes = {"steps": steps or None, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    if isinstance(what, TrainConfig):
        what = what.model_dump()
    if isinstance(what, Mapping):
        return make_config({**what, **changes})
    if not isinstance(what, str | Path):
        fix = "give a configuration, tables, the path of a TOML file, or a run's name"
        raise bad_value("config", what, fix)
    path = Path(what)
    if path.suffix == ".toml" or path.is_file():
        path = existing_file(path)
    elif str(what) in run_names(profile):
        path = run_path(str(what), profile)
    else:
        raise _unknown(str(what), run_names(profile), "a run's file", "see reproduce/runs/")
    return load_config(path, [f"{name}={value}" for name, value in changes.items()])


def existing_file(path: str | Path) -> Path:
    """Return the path of a run's file, or raise the error that names the nearest one."""
    path = Path(path)
    if path.exists():
        return path
    runs = project_root() / "reproduce" / "runs"
    # Of files of one name the nearest folder's is meant; the project's, if typed outside of it.
    folders = (runs / "paper", runs / "toy", project_root() / path.parent, path.parent)
    files = (file for folder in folders for file in folder.glob("[!_]*.toml"))
    by_stem = {file.stem: os.path.relpath(file) for file in files if file.exists()}
    near = by_stem.get(nearest(path.stem, by_stem))
    fix = f"did you mean {near!r}?" if near else "give the path of a TOML file"
    raise bad_value("config", str(path), f"no such file; {fix}")


def find_run(
    what: str | Path | TrainConfig | Run,
    *,
    store: RunStore | str | Path | None = None,
    profile: str = "toy",
    seed: int | None = None,
) -> Run:
    """Return the run that ``what`` names; named by its file, it need not have been started yet.

    Args:
        what: a run, its folder, its id or a start of it that no other has, the name or path of
            its file, or its configuration.
        store: where runs lie; the default store if None.
        profile: of a name: toy or paper.
        seed: of a name or a configuration; its own (1) if None.

    Raises:
        UserError: no such run (says the nearest), or more than one.

    """
    if isinstance(what, Run):
        return what
    store = opened(store)
    if not isinstance(what, str | Path | TrainConfig):
        raise bad_value("run", what, "give its id, its folder, or the name of its file")
    if isinstance(what, str | Path):
        if _is_run_folder(Path(what)):
            return _run_in(Path(what))
        ids = list_runs(store)["id"].tolist() if _ID_OR_ITS_START.fullmatch(str(what)) else []
        fitting = [name for name in ids if name.startswith(str(what))]
        if len(fitting) > 1:
            shown = ", ".join(fitting[:4])
            raise bad_value("run", str(what), f"{len(fitting)} runs begin so: {shown}; type more")
        if fitting:
            return _run_in(store.root / fitting[0])
        if not str(what).endswith(".toml") and str(what) not in run_names(profile):
            # People type the start of an id: compare starts.
            starts = [name[: len(str(what))] for name in ids]
            place = f"a run of {store.root}, nor a run's file"
            listed = "`entropy-mech runs` lists those there are"
            raise _unknown(str(what), starts or run_names(profile), place, listed)
    return store.run(find_config(what, profile=profile, seed=seed))


def run_or_model(name: str, *, store: RunStore, profile: str = "toy") -> Run | None:
    """Return the run that a user names; None where the name is that of a model.

    A model is a folder in Hugging Face format, or an id on the hub.

    Raises:
        UserError: it looks like a run, and there is none (says the nearest).

    """
    if not name.strip():
        raise bad_value("model", name, "give a run, a model's folder, or an id on the hub")
    if Path(name).is_dir() and not _is_run_folder(Path(name)):
        return None
    by_name = name.endswith(".toml") or _ID_OR_ITS_START.fullmatch(name)
    likely = by_name or _is_run_folder(Path(name))
    known = run_names(profile)
    near = "/" not in name and difflib.get_close_matches(name, known, 1, _CLOSE)
    return find_run(name, store=store, profile=profile) if likely or near else None


def newest_run(store: RunStore) -> Run:
    """Return the most recently changed run; one in training comes before all others.

    Raises:
        UserError: there is none.

    """
    frame = list_runs(store)
    for states in (IN_WORK, set(STATES) - {"damaged"}):
        for name in frame.loc[frame["state"].isin(states), "id"]:
            return _run_in(store.root / name)
    raise UserError(f"no runs in {store.root}; start one: entropy-mech train CONFIG.toml")


def run_names(profile: str) -> list[str]:
    """Return the names of a profile's run files; a file whose name begins with _ is no run."""
    runs = project_root() / "reproduce" / "runs"
    profiles = [path.name for path in runs.iterdir() if path.is_dir()]
    if profile not in profiles:
        raise unknown_name("profile", profile, profiles)
    return sorted(path.stem for path in (runs / profile).glob("[!_]*.toml"))


def names_of_runs(runs: Iterable[Run], profile: str) -> dict[str, str]:
    """Return the name of each run's file by the run's id; runs of no file are left out.

    Of several files that are one run (a baseline that two figures share) the first by name counts.
    """
    seeds, named = {run.config.seed for run in runs}, {}
    for name in run_names(profile) if seeds else ():
        config = find_config(name, profile=profile)
        for seed in seeds:
            named.setdefault(run_id(config.model_copy(update={"seed": seed})), name)
    return named


def _is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run's; one in Hugging Face format has a config.json too."""
    if not (folder / "config.json").is_file():
        return False
    try:
        return not {"architectures", "model_type"} & set(read_json(folder / "config.json"))
    except DamagedFile:  # whose error names it, unless it is a model's
        return not any(folder.glob("*.safetensors")) and not any(folder.glob("tokenizer*"))


def _run_in(folder: Path) -> Run:
    """Return the run in a folder by the configuration in it."""
    config = read_json(folder / "config.json")
    if not config:
        raise UserError(f"run = {folder.name}: only starting, or killed as it started: no config")
    return Run(folder, make_config(config))


def _unknown(name: str, known: list[str], what: str, listed: str) -> UserError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else listed
    return bad_value("run", name, f"not {what}; {hint}")
