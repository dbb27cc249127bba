"""What is missing for some targets: runs, measurements of their policies, executed notebooks."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import entropy_mech
from entropy_mech.reproduction.report import kept_runs, small_model_results
from entropy_mech.reproduction.targets import (
    Target,
    checked_parameters,
    notebook_parameters,
)
from entropy_mech.runs.jobs import Job
from entropy_mech.runs.kept import KEPT
from entropy_mech.runs.launch import (
    evaluation_job_name,
    evaluation_jobs,
    group_digest,
    run_job_name,
    training_jobs,
)
from entropy_mech.runs.store import Run, RunStore, read_json, read_json_if_whole

_NOTEBOOK_S = 10.0


def make_plan(
    targets: Sequence[Target], given: Mapping[str, Any], folder: Path, store: RunStore
) -> list[Job]:
    """Return what is missing for these targets, in their order, none twice.

    Args:
        targets: nearest first.
        given: profile, seed, seeds and other parameters of the notebooks.
        folder: where the profile's results go.
        store: where runs lie.

    """
    library, jobs = _library_digest(), {}
    for target in targets:
        for job in _target_jobs(target, given, folder, store, library):
            jobs.setdefault(job.name, job)
    return list(jobs.values())


def _target_jobs(
    target: Target, given: Mapping[str, Any], folder: Path, store: RunStore, library: str
) -> list[Job]:
    """Return a target's jobs, empty where its result is there and nothing has changed since."""
    found = target.configs(
        profile=given["profile"],
        seed=given["seed"],
        seeds=given["seeds"],
        steps=int(given.get("steps", 0)),
    )
    names, configs = [name for name, _ in found], list(found.values())
    group = target.benchmarks(given["profile"])
    profile = target.in_place_of(given["profile"])
    if profile in KEPT:
        kept = kept_runs(names, configs, profile)
        inputs = [str(run.manifest().get("weights_sha256")) for run in kept]
        inputs += [*_inputs(kept, group), *_small_models_verdicts(target)]
        return _notebook_jobs(target, given, folder, [], inputs, library)
    runs = [store.run(config) for config in configs]
    missing = training_jobs(configs, store, names=names)
    needs = [run_job_name(run) for run in runs]
    if group:
        missing += evaluation_jobs(configs, store, group, names=names)
        needs += [evaluation_job_name(run, group) for run in runs]
    return [*missing, *_notebook_jobs(target, given, folder, needs, _inputs(runs, group), library)]


def _small_models_verdicts(target: Target) -> list[str]:
    """What stands beside the toys' verdicts, without which a notebook would be out of date."""
    results = read_json(small_model_results()).get("targets", {}).get(target.name, {})
    return [json.dumps(results.get("claims", [])), str(len(results.get("runs", [])))]


def _inputs(runs: Sequence[Run], group: str) -> list[str]:
    """Name what a notebook reads of the runs, in the same words before and after they are there."""
    named = [f"{run.path.name}:{run.config.steps}" for run in runs]
    named += [str(run.manifest()["imported"]) for run in runs if "imported" in run.manifest()]
    return [*named, f"{group} {group_digest(group)}"] if group else named


def _notebook_jobs(
    target: Target,
    given: Mapping[str, Any],
    folder: Path,
    needs: Sequence[str],
    inputs: Sequence[str],
    library: str,
) -> list[Job]:
    """Return the job of a target's notebook, none where it was made of the same things."""
    # The target's own parameters overlaid by those given that its notebook has.
    known = notebook_parameters(target.notebook_path)
    accepted = {name: value for name, value in given.items() if name in known}
    parameters = {**target.parameters, **checked_parameters(target, accepted)}
    output = folder / "notebooks" / f"{target.notebook}.ipynb"
    stamp = folder / "stamps" / f"{target.name}.json"
    parts = [target.notebook_path.read_text(), parameters, list(inputs), library]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    if read_json_if_whole(stamp).get("key") == key and output.exists():
        return []
    stamp.parent.mkdir(parents=True, exist_ok=True)
    order = {
        "source": str(target.notebook_path),
        "output": str(output),
        "parameters": parameters,
        "stamp": str(stamp),
        "key": key,
    }
    job = Job(
        name=f"notebook {target.name}",
        label=target.item,
        command=[sys.executable, "-m", "entropy_mech.reproduction.notebook"],
        stdin=json.dumps(order),
        log=folder / "logs" / f"{target.name}.txt",
        needs=frozenset(needs),
        warm=True,
        kind="notebook",
        cost_s=_NOTEBOOK_S,
    )
    return [job]


def _library_digest() -> str:
    """Hash the package's own sources and data, which any notebook may use."""
    digest = hashlib.sha256()
    root = Path(entropy_mech.__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".csv", ".toml"):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
