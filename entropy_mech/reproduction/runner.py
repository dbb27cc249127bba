"""Reproduce targets: the runs they need over the cores, their notebooks, then the gallery."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import entropy_mech
from entropy_mech.reproduction.gallery import write_gallery
from entropy_mech.reproduction.targets import (
    Target,
    check_parameters,
    check_profile,
    find_target,
    load_targets,
    notebook_parameters,
)
from entropy_mech.runs.jobs import Job, JobsFailed, run_jobs
from entropy_mech.runs.launch import job_name, training_jobs, usable_cores
from entropy_mech.runs.store import RunStore, default_store, project_root, read_json

_NOTEBOOK_S = 12.0


def reproduce(
    names: Sequence[str],
    *,
    profile: str,
    seed: int,
    seeds: int,
    parameters: Mapping[str, Any],
    workers: int | None = None,
) -> Path:
    """Bring targets (all where ``names`` is empty) up to date and write the gallery.

    What is there and unchanged is not done again. Runs are shared between targets; a notebook
    starts as soon as its runs are there.

    Returns:
        The gallery's path.

    Raises:
        UserError: unknown target, profile or notebook parameter, before anything is started.
        JobsFailed: some job failed; the others were done and the gallery was written.

    """
    check_profile(profile)
    targets = [find_target(name) for name in names] or list(load_targets().values())
    given = {"profile": profile, "seed": seed, "seeds": seeds, **parameters}
    for target in targets:
        check_parameters(target, parameters)
    folder, store = project_root() / "out" / profile, default_store()
    jobs = _jobs(targets, given, folder, store, own_seeds=(seed, seeds))
    failure: JobsFailed | None = None
    try:
        if jobs:
            run_jobs(jobs, workers=workers or usable_cores())
    except JobsFailed as error:
        failure = error
    gallery = write_gallery(folder, list(load_targets().values()), profile)
    if failure is not None:
        raise failure
    return gallery


def _jobs(
    targets: Sequence[Target],
    given: Mapping[str, Any],
    folder: Path,
    store: RunStore,
    own_seeds: tuple[int, int],
) -> list[Job]:
    """Return training and notebook jobs, nearest target first, each once."""
    jobs: dict[str, Job] = {}
    library = _library_digest()
    for target in targets:
        configs = list(
            target.configs(
                profile=given["profile"],
                seed=own_seeds[0],
                seeds=own_seeds[1],
                steps=int(given.get("steps", 0)),
            ).values()
        )
        training = training_jobs(configs, store)
        parameters = _accepted(target, given)
        output = folder / "notebooks" / f"{target.notebook}.ipynb"
        stamp = folder / "stamps" / f"{target.name}.json"
        runs = [store.run(config) for config in configs]
        key = _key(target, parameters, [f"{r.path.name}:{r.config.steps}" for r in runs], library)
        if not training and read_json(stamp).get("key") == key and output.exists():
            continue
        jobs.update({job.name: job for job in training if job.name not in jobs})
        stamp.parent.mkdir(parents=True, exist_ok=True)
        name = f"notebook {target.name}"
        jobs[name] = Job(
            name=name,
            command=[sys.executable, "-m", "entropy_mech.reproduction.notebook"],
            stdin=json.dumps(
                {
                    "source": str(target.notebook_path),
                    "output": str(output),
                    "parameters": parameters,
                    "stamp": str(stamp),
                    "key": key,
                }
            ),
            log=folder / "logs" / f"{target.name}.txt",
            needs=frozenset(job_name(run) for run in runs),
            cost_s=_NOTEBOOK_S,
        )
    return list(jobs.values())


def _accepted(target: Target, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the target's own parameters overlaid by those given that its notebook has."""
    known = notebook_parameters(target.notebook_path)
    return {**target.parameters, **{name: v for name, v in given.items() if name in known}}


def _key(target: Target, parameters: Mapping[str, Any], runs: Sequence[str], library: str) -> str:
    """Name all that an executed notebook depends on: its source, its inputs, the library."""
    parts = [target.notebook_path.read_text(), dict(parameters), list(runs), library]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _library_digest() -> str:
    """Hash the package's own sources and data, which any notebook may use."""
    digest = hashlib.sha256()
    root = Path(entropy_mech.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".csv", ".toml"):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
