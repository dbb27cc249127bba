"""Reproduce targets: the runs they need over the cores, their notebooks, then the gallery."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import entropy_mech
from entropy_mech.config import TrainConfig
from entropy_mech.config.files import run_id
from entropy_mech.config.memory import MemoryCheck, check_memory, gib
from entropy_mech.errors import bad_value, folder_path, whole_number
from entropy_mech.reproduction.check import Beginnings
from entropy_mech.reproduction.gallery import write_gallery, write_verdicts
from entropy_mech.reproduction.report import chosen_runs, kept_runs, small_model_results
from entropy_mech.reproduction.targets import (
    Target,
    check_profile,
    checked_parameters,
    find_target,
    load_targets,
    notebook_parameters,
    run_config,
)
from entropy_mech.runs.jobs import Job, TimeLeft, clock, run_jobs
from entropy_mech.runs.kept import KEPT, keep
from entropy_mech.runs.launch import (
    evaluation_jobs,
    gpu_memory_here_gib,
    gpus_here,
    group_digest,
    refuse_without_gpus,
    training_jobs,
    usable_cores,
)
from entropy_mech.runs.store import (
    Run,
    default_store,
    project_root,
    read_json,
    read_json_if_whole,
    run_path,
)

# -- Requests ------------------------------------------------------------------------------------


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
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the profile's results go."""
        return project_root() / "out" / self.profile

    @property
    def beginnings(self) -> Beginnings:
        """What is trained here and compared with the kept runs."""
        return Beginnings(self.seed, self.check, default_store())

    def configs(self, target: Target) -> dict[tuple[str, int], TrainConfig]:
        """Return the configurations of a target's runs by (run, seed)."""
        steps = int(self.parameters.get("steps", 0))
        return target.configs(profile=self.profile, seed=self.seed, seeds=self.seeds, steps=steps)

    def runs(self, *targets: Target) -> list[tuple[str, Run]]:
        """Return the runs of targets with the names of their files, each configuration once."""
        store, found = default_store(), {}
        for target in targets:
            for (name, _), config in self.configs(target).items():
                if target.own_run_names(self.profile):
                    found.setdefault(run_id(config), (name, store.run(config)))
        return list(found.values())


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
        checked = checked_parameters(target, request.parameters)
        if checked.get("out_dir"):
            folder_path("out_dir", checked["out_dir"], "give another")
        chosen_runs(target, checked.get("models", ()), checked.get("methods", ()), request.profile)
    return targets


# -- What is done with them ----------------------------------------------------------------------


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
    targets = targets_of(request)
    try:
        if request.profile in GPU_PROFILES:
            _reproduce_on_gpus(request, targets)
        else:
            _run(request, _plan(request, targets), workers or usable_cores())
    finally:
        gallery = _gallery(request)
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
    targets, profile = targets_of(request), request.profile
    runs = [(name, run) for name, run in request.runs(*targets) if run.complete]
    seeds = {run.config.seed for _, run in runs}
    groups, tokens_of, jobs = {}, set(), {}
    # A run is shared, by figures with names of their own for it: whoever keeps it, what others look
    # at is kept too.
    for target in load_targets().values():
        names = target.own_run_names(profile) if target.evaluate or target.tokens else ()
        ids = {run_id(run_config(one, profile=profile, seed=s)) for one in names for s in seeds}
        if target.tokens:
            tokens_of |= ids
        if group := target.benchmarks(profile):
            groups |= dict.fromkeys(ids, group)
        if group and target.name in {one.name for one in targets}:
            shared = [(run.config, name) for name, run in runs if run.path.name in ids]
            configs, called = [config for config, _ in shared], [name for _, name in shared]
            found = evaluation_jobs(configs, default_store(), group, names=called)
            jobs |= {job.name: job for job in found}
    if jobs:
        run_jobs(list(jobs.values()), workers=workers or usable_cores())
    return keep(runs, folder, groups, tokens_of)


def dry_run(request: Request, *, gpu_memory_gib: float) -> list[str]:
    """Return what a request would train, as lines; nothing is started."""
    targets = targets_of(request)
    left_out = [target.name for target in targets if not target.there_in(request.profile)]
    if request.profile in GPU_PROFILES:
        return _gpu_lines(_missing(request, targets, gpu_memory_gib), left_out)
    return [*_cpu_lines(_plan(request, targets), usable_cores()), *_left_out(left_out)]


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
        named = request.runs(*targets)
        runs = [ClusterRun(name, run) for name, run in named if not run.complete]
    if not runs:
        return ["nothing is missing"]
    after = "when they are done, the same command without --slurm makes the rest"
    return [*submit_runs(runs, store, options), after]


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
        checks = request.beginnings.checks(targets)
        full_time_s = request.beginnings.full_time_s(targets, usable_cores())
        for target in targets:
            if target.name in checks:
                request.beginnings.draw(target, checks[target.name], request.folder / "figures")
    return write_gallery(request.folder, targets, request.profile, checks, full_time_s)


def _shown(request: Request) -> list[Target]:
    """Return the targets that a profile's pages have: all, of the small model's runs their own."""
    every = list(load_targets().values())
    if request.profile != "kept_smollm":
        return every
    return [t for t in every if t.run_names("smollm") and request.profile not in t.not_in]


# -- What is missing -----------------------------------------------------------------------------

_NOTEBOOK_S = 10.0


def _plan(request: Request, targets: Sequence[Target]) -> list[Job]:
    """Return the jobs of what is missing for these targets, in their order, none twice."""
    library, jobs = _library_digest(), {}
    targets = [target for target in targets if target.there_in(request.profile)]
    for target in targets:
        for job in _target_jobs(request, target, library):
            jobs.setdefault(job.name, job)
    beginnings = request.beginnings.jobs(targets) if request.check else []
    return [*jobs.values(), *beginnings]


def _target_jobs(request: Request, target: Target, library: str) -> list[Job]:
    """Return a target's jobs, empty where its result is there and nothing has changed since."""
    found = request.configs(target)
    names, configs = [name for name, _ in found], list(found.values())
    group, profile = target.benchmarks(request.profile), target.in_place_of(request.profile)
    missing: list[Job] = []
    if profile in KEPT:
        runs = kept_runs(names, configs, profile)
        inputs = [str(run.manifest().get("weights_sha256")) for run in runs]
        # What stands beside the toys' verdicts, without which a notebook would be out of date.
        results = read_json(small_model_results()).get("targets", {}).get(target.name, {})
        inputs += [json.dumps(results.get("claims", [])), str(len(results.get("runs", [])))]
    else:
        store, inputs = default_store(), []
        runs = [store.run(config) for config in configs]
        missing = training_jobs(configs, store, names=names)
        if group:
            missing += evaluation_jobs(configs, store, group, names=names)
    inputs += _inputs(runs, group)
    return [*missing, *_notebook_jobs(request, target, missing, [*inputs, library])]


def _inputs(runs: Sequence[Run], group: str) -> list[str]:
    """Name what a notebook reads of the runs, in the same words before and after they are there."""
    named = [f"{run.path.name}:{run.config.steps}" for run in runs]
    named += [str(run.manifest()["imported"]) for run in runs if "imported" in run.manifest()]
    return [*named, f"{group} {group_digest(group)}"] if group else named


def _notebook_jobs(
    request: Request, target: Target, before: Sequence[Job], inputs: Sequence[str]
) -> list[Job]:
    """Return the job of a target's notebook, none where it was made of the same things."""
    given = {"profile": request.profile, "seed": request.seed, "seeds": request.seeds}
    known = notebook_parameters(target.notebook_path)
    given = {k: v for k, v in {**given, **request.parameters}.items() if k in known}
    parameters = {**target.parameters, **checked_parameters(target, given)}
    output = request.folder / "notebooks" / f"{target.notebook}.ipynb"
    stamp = request.folder / "stamps" / f"{target.name}.json"
    parts = [target.notebook_path.read_text(), parameters, list(inputs)]
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
        log=request.folder / "logs" / f"{target.name}.txt",
        needs=frozenset(job.name for job in before),
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


# -- GPUs and commands ---------------------------------------------------------------------------

GPU_PROFILES = ("paper", "one_gpu")
GPUS_A_NODE = 8
_GPU_COUNTS = (8, 16, 32, 64, 128)
RENDEZVOUS = "--rdzv-backend c10d --rdzv-endpoint NODE0:29500"


@dataclass(frozen=True)
class GPURun:
    """One run of a GPU profile, and what it needs.

    Attributes:
        profile: paper or one_gpu.
        name: of its file.
        targets: what it is for.
        run: where it lies, or will.
        memory: on the fewest GPUs of whole nodes that it fits; None for an unknown model.

    """

    profile: str
    name: str
    targets: list[str]
    run: Run
    memory: MemoryCheck | None

    @property
    def config(self) -> TrainConfig:
        """Its configuration."""
        return self.run.config

    @property
    def gpus(self) -> int:
        """GPUs that train and sample."""
        return self.memory.gpus if self.memory else GPUS_A_NODE

    @property
    def nodes(self) -> int:
        """Nodes of ``GPUS_A_NODE`` GPUs."""
        return math.ceil(self.gpus / GPUS_A_NODE)

    @property
    def command(self) -> str:
        """The command to paste; with several nodes, on each of them."""
        path = run_path(self.name, self.profile).relative_to(project_root())
        if self.gpus == 1:
            return f"entropy-mech train {path} --set seed={self.config.seed}"
        where = "--standalone" if self.nodes == 1 else f"--nnodes {self.nodes}"
        meet = "" if self.nodes == 1 else f" {RENDEZVOUS}"
        return (
            f"torchrun {where} --nproc-per-node {GPUS_A_NODE}{meet} "
            f"-m entropy_mech train {path} --set seed={self.config.seed}"
        )


def _gpu_run(request: Request, name: str, run: Run, gpu_memory_gib: float) -> GPURun:
    """Return a run on the fewest GPUs of this memory that it fits."""
    found = None
    for gpus in _GPU_COUNTS:
        found = check_memory(run.config, gpus=gpus, gpu_memory_gib=gpu_memory_gib)
        if found is None or not found.problems:
            break
    return GPURun(request.profile, name, [], run, found)


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
        for name, run in request.runs(target) if target.there_in(request.profile) else ():
            if run.complete:
                continue
            if run.path.name not in missing:
                missing[run.path.name] = _gpu_run(request, name, run, gpu_memory_gib)
            missing[run.path.name].targets.append(target.name)
    return list(missing.values())


# -- A request in words --------------------------------------------------------------------------

_TARGETS_SHOWN = 6


def _cpu_lines(jobs: Sequence[Job], workers: int) -> list[str]:
    """Return what would be done on this computer, a line a job, and how long all of it takes."""
    if not jobs:
        return ["nothing is missing"]
    on_the_clock, _ = TimeLeft(workers).left_s(jobs, {})
    kinds = Counter(job.kind for job in jobs)
    said = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items())
    lines = [f"{said}: about {clock(on_the_clock)} on {workers} cores; a guess, before any speed "
             "was measured here"]  # fmt: skip
    lines += [f"  {job!s:<44}{clock(job.cost_s):>12}" for job in jobs if job.kind != "notebook"]
    notebooks = [str(job) for job in jobs if job.kind == "notebook"]
    return [*lines, f"  then the notebooks of {', '.join(notebooks)}"] if notebooks else lines


def _left_out(names: Sequence[str]) -> list[str]:
    return [f"left out: {', '.join(names)}: not in this profile"] if names else []


def _gpu_lines(missing: Sequence[GPURun], left_out: Sequence[str]) -> list[str]:
    """Return runs, models, data, GPUs, disk and commands.

    Args:
        missing: runs to be trained, none twice.
        left_out: targets that have no runs in the profile.

    """
    out = _left_out(left_out)
    if not missing:
        return ["nothing is missing: the runs are there", *out]
    width = max(len(one.name) for one in missing) + 2
    known = [one for one in missing if one.memory]
    disk = sum(sum(one.memory.disk.values()) for one in known)
    return [
        f"{len(missing)} runs are missing",
        "",
        f"{'run':<{width}}seed  {'model':<38}{'data':<28}GPUs  {'disk':>11}  for",
        *(_gpu_row(one, width) for one in missing),
        "",
        f"disk        {gib(disk)} in all; checkpoints may go when a run is complete",
        f"models      {', '.join(dict.fromkeys(one.config.model.path for one in missing))}",
        f"data        {', '.join(dict.fromkeys(map(_data, missing)))}",
        *(f"warning: {one.name}: {text}" for one in known for text in one.memory.problems),
        *out,
        "",
        "# one run a line; where there are several nodes, on each of them, NODE0 being the first",
        *(one.command for one in missing),
        "# then, or with runs copied from elsewhere (entropy-mech import-run), the same command "
        "without --dry-run",
    ]


def _gpu_row(one: GPURun, width: int) -> str:
    disk = gib(sum(one.memory.disk.values())) if one.memory else "?"
    more = len(one.targets) - _TARGETS_SHOWN
    targets = ", ".join(one.targets[:_TARGETS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{one.name:<{width}}{one.config.seed:<6}{one.config.model.path:<38}{_data(one):<28}"
        f"{one.gpus:>4}  {disk:>11}  {targets}"
    )


def _data(one: GPURun) -> str:
    return "+".join(one.config.problems.training_sets)
