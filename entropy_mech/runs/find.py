"""Which run somebody means: by its folder, its id or the start of it, its file's name, its config.

What a run *is* decides what it is called (``store.RunStore.run``); this module is for people, who
type.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import load_config, make_config
from entropy_mech.errors import UserError, bad_value, nearest, unknown_name
from entropy_mech.runs.status import list_runs
from entropy_mech.runs.store import (
    DamagedFile,
    Run,
    RunStore,
    default_store,
    project_root,
    read_json,
    run_path,
)

_ID_OR_ITS_START = re.compile(r"[0-9a-f]{1,16}")
_CLOSE = 0.8  # so like the name of a run's file that no model of the hub can be meant


def find_config(
    what: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    profile: str = "toy",
    seed: int | None = None,
    steps: int = 0,
) -> TrainConfig:
    """Return the configuration that is meant.

    Args:
        what: a configuration, nested tables as in a TOML file, the path of a TOML file, or the
            name of a file of ``reproduce/runs/<profile>/``, such as ``fig11_7b_kl_cov``.
        profile: where a name is looked for: toy or paper.
        seed: in place of the configuration's own.
        steps: rollouts in place of the configuration's own; 0 keeps them.

    Raises:
        UserError: no such file or name (says the nearest), or a value that cannot be used.

    """
    changes = [f"steps={steps}"] if steps else []
    changes += [] if seed is None else [f"seed={seed}"]
    if not isinstance(what, TrainConfig | Mapping | str | Path):
        raise bad_value(
            "config", what, "give a configuration, tables, the path of a TOML file, or a run's name"
        )
    if isinstance(what, TrainConfig | Mapping):
        table = what.model_dump() if isinstance(what, TrainConfig) else dict(what)
        given = {"steps": steps or None, "seed": seed}
        return make_config({**table, **{k: v for k, v in given.items() if v is not None}})
    path = Path(what)
    if path.suffix == ".toml" or path.is_file():
        return load_config(existing_file(path), changes)
    if str(what) not in run_names(profile):
        raise _unknown(str(what), run_names(profile), "a run's file")
    return load_config(run_path(str(what), profile), changes)


def existing_file(path: str | Path) -> Path:
    """Return the path of a run's file, or raise the error that names the nearest one."""
    path = Path(path)
    if path.exists():
        return path
    runs = project_root() / "reproduce" / "runs"
    files = [p for f in (path.parent, runs / "toy", runs / "paper") for p in f.glob("[!_]*.toml")]
    files.reverse()  # of files of one name the nearest folder's is meant
    by_stem = {file.stem: os.path.relpath(file) for file in files}
    near = by_stem.get(nearest(path.stem, by_stem))
    fix = f"did you mean {near!r}?" if near else "give the path of a TOML file"
    raise bad_value("config", str(path), f"no such file; {fix}")


def find_run(
    what: str | Path | TrainConfig | Run,
    *,
    store: RunStore | None = None,
    profile: str = "toy",
    seed: int | None = None,
) -> Run:
    """Return the run that is meant, which need not have been started yet if its file is named.

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
    store = store or default_store()
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
            # Of an id people type the start: compare like with like.
            starts = [name[: len(str(what))] for name in ids]
            raise _unknown(
                str(what), starts or run_names(profile), f"a run of {store.root}, nor a run's file"
            )
    return store.run(find_config(what, profile=profile, seed=seed))


def run_or_model(name: str, *, store: RunStore, profile: str = "toy") -> Run | None:
    """Return the run that a user names where a model may be meant too; None where one is.

    A model is a folder in Hugging Face format, or an id on the hub.

    Raises:
        UserError: what looks like a run and is none (says the nearest).

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
    """Return the run that moved last, one in training before all others.

    Raises:
        UserError: there is none.

    """
    frame = list_runs(store)
    frame = frame[frame["state"] != "damaged"]
    if frame.empty:
        raise UserError(f"no runs in {store.root}; start one: entropy-mech train CONFIG.toml")
    in_work = frame[frame["state"].isin(["training", "waiting"])]
    return _run_in(store.root / (in_work if len(in_work) else frame)["id"].iloc[0])


def run_names(profile: str) -> list[str]:
    """Return the names of a profile's run files; a file whose name begins with _ is no run."""
    profiles = [p.name for p in (project_root() / "reproduce" / "runs").iterdir() if p.is_dir()]
    if profile not in profiles:
        raise unknown_name("profile", profile, profiles)
    files = (project_root() / "reproduce" / "runs" / profile).glob("*.toml")
    return sorted(p.stem for p in files if p.stem[0] != "_")


def names_of_runs(runs: Iterable[Run], store: RunStore, profile: str) -> dict[str, str]:
    """Return the name of each run's file by the run's id; runs of no file are left out.

    Of several files that are one run (a baseline that two figures share) the first by name counts.
    """
    seeds = {run.config.seed for run in runs}
    if not seeds:
        return {}
    configs = {name: find_config(name, profile=profile) for name in run_names(profile)}
    named: dict[str, str] = {}
    for seed in seeds:
        for name, config in configs.items():
            run = store.run(config.model_copy(update={"seed": seed}))
            named.setdefault(run.path.name, name)
    return named


def _is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run's; one in Hugging Face format has a config.json too."""
    if not (folder / "config.json").is_file():
        return False
    try:
        return not {"architectures", "model_type"} & set(read_json(folder / "config.json"))
    except DamagedFile:
        return True  # whose error names it


def _run_in(folder: Path) -> Run:
    """Return the run in a folder by the configuration in it."""
    config = read_json(folder / "config.json")
    if not config:
        raise UserError(f"run = {folder.name}: only starting, or killed as it started: no config")
    return Run(folder, make_config(config))


def _unknown(name: str, known: list[str], what: str) -> UserError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`entropy-mech runs` lists those there are"
    return bad_value("run", name, f"not {what}; {hint}")
