"""Reproduce targets: the runs they need over the cores, their notebooks, then the gallery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from entropy_mech.errors import UserError, bad_value, folder_path, whole_number
from entropy_mech.reproduction.check import Beginnings, draw
from entropy_mech.reproduction.gallery import write_gallery, write_verdicts
from entropy_mech.reproduction.gpu_profile import (
    GPU_PROFILES,
    GPUS_A_NODE,
    GPURun,
    cpu_lines,
    gpu_lines,
    gpu_run,
)
from entropy_mech.reproduction.plan import make_plan
from entropy_mech.reproduction.report import chosen_runs
from entropy_mech.reproduction.targets import (
    Target,
    check_profile,
    checked_parameters,
    find_target,
    load_targets,
    run_config,
)
from entropy_mech.runs.jobs import Job, run_jobs
from entropy_mech.runs.kept import KEPT, keep
from entropy_mech.runs.launch import (
    evaluation_jobs,
    gpu_memory_here_gib,
    gpus_here,
    refuse_without_gpus,
    usable_cores,
)
from entropy_mech.runs.store import Run, default_store, project_root


@dataclass(frozen=True)
class Request:
    """What is to be reproduced.

    Attributes:
        names: targets; all where empty.
        profile: one of ``targets.PROFILES``.
        seed: the first seed.
        seeds: how many, counting up; 0 takes all that are kept, in the other profiles three.
        check: in the profile kept, how many rollouts of each run's first seed are trained here
            and compared with the kept ones; 0 trains nothing.
        parameters: of the notebooks, as for papermill; each must be one that every target has.

    """

    names: tuple[str, ...] = ()
    profile: str = "kept"
    seed: int = 1
    seeds: int = 0
    check: int = 0
    parameters: Mapping[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """Where the profile's results go."""
        return project_root() / "out" / self.profile


def targets_of(request: Request) -> list[Target]:
    """Return a request's targets, in the order of their file.

    Raises:
        UserError: unknown target, profile or notebook parameter.

    """
    check_profile(request.profile)
    whole_number("seed", request.seed)
    whole_number("seeds", request.seeds)
    # A language model's beginnings would take hours.
    if request.check and request.profile != "kept":
        raise bad_value("check", request.check, "compares with kept runs: give profile = kept")
    targets = [find_target(name) for name in request.names] or list(load_targets().values())
    for target in targets:
        checked = checked_parameters(target, request.parameters or {})
        if checked.get("out_dir"):
            folder_path("out_dir", checked["out_dir"], "give another")
        chosen_runs(target, checked.get("models", ()), checked.get("methods", ()), request.profile)
    return targets


def reproduce(request: Request, *, workers: int | None = None) -> Path:
    """Bring targets up to date and write the gallery; return its path.

    What is there and unchanged is not done again. Runs are shared between targets; a notebook
    starts as soon as its runs are there, and is in the gallery when it ends. In profiles of GPUs
    runs are trained one after another on all GPUs here, and where there are too few, what needs no
    training is done before it is said what to do.

    Raises:
        UserError: unusable request, before anything is started.
        JobsFailed: some job failed; the others were done and the gallery was written.

    """
    targets, failure = targets_of(request), None
    try:
        if request.profile in GPU_PROFILES:
            _reproduce_on_gpus(request, targets)
        else:
            _run(request, _plan(request, targets), workers or usable_cores())
    except UserError as error:
        failure = error
    gallery = _gallery(request)
    if failure is not None:
        raise failure
    return gallery


def verdicts(request: Request, folder: Path) -> Path:
    """Write the verdicts of a profile's results into a folder; return the page's path."""
    targets = _shown(request)
    return write_verdicts(request.folder / "results", targets, request.profile, folder)


def keep_runs(request: Request, folder: Path, *, workers: int | None = None) -> int:
    """Keep what a request's finished runs measured in ``folder``; return how many there were.

    None is trained. Policies that a target measures on benchmarks are measured, where that has not
    been done; of other targets what has been measured is kept.
    """
    request = replace(request, profile=KEPT.get(request.profile, request.profile))
    targets = targets_of(request)
    runs = [(name, run) for name, run in _runs(request, targets) if run.complete]
    # A run is shared, by figures with names of their own for it: whoever keeps it, what others look
    # at is kept too.
    seeds = {run.config.seed for _, run in runs}
    groups, tokens_of, measured = {}, set(), set()
    asked = {target.name for target in targets}
    for target in load_targets().values():
        shared = _hashes(target, request.profile, seeds) if target.evaluate or target.tokens else []
        groups |= {one: target.benchmarks(request.profile) for one in shared if target.evaluate}
        tokens_of |= set(shared if target.tokens else ())
        measured |= set(shared if target.evaluate and target.name in asked else ())
    jobs = [
        job
        for name, run in runs
        if run.path.name in measured and run.newest_model()
        for job in evaluation_jobs(
            [run.config], default_store(), groups[run.path.name], names=[name]
        )
    ]
    if jobs:
        run_jobs(jobs, workers=workers or usable_cores())
    return keep(runs, folder, groups, tokens_of)


def _hashes(target: Target, profile: str, seeds: Iterable[int]) -> list[str]:
    names = target.own_run_names(profile)
    configs = [run_config(name, profile=profile, seed=s) for name in names for s in seeds]
    return [default_store().run(config).path.name for config in configs]


def dry_run(request: Request, *, gpu_memory_gib: float) -> list[str]:
    """Return what a request would train, as lines; nothing is started."""
    targets = targets_of(request)
    if request.profile in GPU_PROFILES:
        left_out = [target.name for target in targets if not target.there_in(request.profile)]
        return gpu_lines(_missing(request, targets, gpu_memory_gib), left_out)
    return cpu_lines(_plan(request, targets), usable_cores())


def submit(request: Request, options: Mapping[str, Any], gpu_memory_gib: float) -> list[str]:
    """Submit the missing runs to a Slurm cluster and return a line for each.

    Raises:
        UserError: no Slurm, no submitit, an unknown option.

    """
    from entropy_mech.runs.cluster import ClusterRun, submit_runs

    targets, store = targets_of(request), default_store()
    if request.profile in GPU_PROFILES:
        missing = _missing(request, targets, gpu_memory_gib)
        runs = [ClusterRun(one.name, one.run, one.nodes, GPUS_A_NODE) for one in missing]
    else:
        named = _runs(request, targets)
        runs = [ClusterRun(name, run) for name, run in named if not run.complete]
    if not runs:
        return ["nothing is missing"]
    after = "when they are done, the same command without --slurm makes the rest"
    return [*submit_runs(runs, store, options), after]


def _plan(request: Request, targets: Sequence[Target]) -> list[Job]:
    given = {"profile": request.profile, "seed": request.seed, "seeds": request.seeds}
    given |= dict(request.parameters or {})
    targets = [target for target in targets if target.there_in(request.profile)]
    jobs = make_plan(targets, given, request.folder, default_store())
    return [*jobs, *_beginnings(request).jobs(targets)] if request.check else jobs


def _beginnings(request: Request) -> Beginnings:
    return Beginnings(request.seed, request.check, default_store())


def _run(request: Request, jobs: Sequence[Job], workers: int) -> None:
    """Run the jobs; the gallery shows each item as soon as it is made."""

    def show(job: Job) -> None:
        if job.kind == "notebook":
            _gallery(request)

    if jobs:
        run_jobs(jobs, workers=workers, done=show)


def _gallery(request: Request) -> Path:
    """Write the gallery; the kept one says whether this machine gives the same numbers."""
    targets, checks, full_time_s = _shown(request), {}, None
    if request.check:
        beginnings = _beginnings(request)
        checks = beginnings.checks(targets)
        full_time_s = beginnings.full_time_s(targets, usable_cores())
        for target in targets:
            if target.name in checks:
                draw(target, checks[target.name], beginnings, request.folder / "figures")
    return write_gallery(request.folder, targets, request.profile, checks, full_time_s)


def _shown(request: Request) -> list[Target]:
    """Return the targets that a profile's pages have: all, of the small model's runs their own."""
    every = list(load_targets().values())
    if request.profile != "kept_smollm":
        return every
    return [t for t in every if t.run_names("smollm") and request.profile not in t.not_in]


def _reproduce_on_gpus(request: Request, targets: Sequence[Target]) -> None:
    """Train what is missing if the GPUs for it are here; else do what needs no training."""
    missing = _missing(request, targets, gpu_memory_here_gib())
    needed = max((one.gpus for one in missing), default=0)
    waits = {name for one in missing for name in one.targets} if needed > gpus_here() else ()
    _run(request, _plan(request, [t for t in targets if t.name not in waits]), workers=1)
    refuse_without_gpus(len(missing), needed, profile=request.profile)


def _missing(request: Request, targets: Sequence[Target], gpu_memory_gib: float) -> list[GPURun]:
    """Return the runs to be trained, each with the targets that need it."""
    missing: dict[str, GPURun] = {}
    for target in targets:
        for name, run in _runs(request, [target]) if target.there_in(request.profile) else ():
            if run.complete:
                continue
            if run.path.name not in missing:
                missing[run.path.name] = gpu_run(
                    request.profile, name, [], run, gpu_memory_gib=gpu_memory_gib
                )
            missing[run.path.name].targets.append(target.name)
    return list(missing.values())


def _runs(request: Request, targets: Sequence[Target]) -> list[tuple[str, Run]]:
    """Return the runs of targets with the names of their files, each configuration once."""
    store, found = default_store(), {}
    for target in targets:
        if not target.own_run_names(request.profile):
            continue
        configs = target.configs(
            profile=request.profile,
            seed=request.seed,
            seeds=request.seeds,
            steps=int((request.parameters or {}).get("steps", 0)),
        )
        for (name, _), config in configs.items():
            run = store.run(config)
            found.setdefault(run.path.name, (name, run))
    return list(found.values())
