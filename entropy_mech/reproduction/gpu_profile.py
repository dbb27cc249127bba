"""Profiles that need GPUs: on which each run fits, and its command; a request in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from entropy_mech.config import TrainConfig
from entropy_mech.config.memory import MemoryCheck, check_memory, gib
from entropy_mech.runs.jobs import Job, Schedule, clock
from entropy_mech.runs.store import Run, project_root, run_path

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


def gpu_run(
    profile: str, name: str, targets: list[str], run: Run, *, gpu_memory_gib: float
) -> GPURun:
    """Return a run on the fewest GPUs of this memory that it fits.

    >>> from entropy_mech.reproduction.targets import run_config
    >>> from entropy_mech.runs.store import RunStore
    >>> config = run_config("fig11_32b_grpo", profile="paper", seed=1)
    >>> run = RunStore(".").run(config)
    >>> gpu_run("paper", "fig11_32b_grpo", [], run, gpu_memory_gib=80.0).gpus
    32
    """
    found = None
    for gpus in _GPU_COUNTS:
        found = check_memory(run.config, gpus=gpus, gpu_memory_gib=gpu_memory_gib)
        if found is None or not found.problems:
            break
    return GPURun(profile, name, targets, run, found)


# -- A request in words --------------------------------------------------------------------------

_TARGETS_SHOWN = 6


def cpu_lines(jobs: Sequence[Job], workers: int) -> list[str]:
    """Return what would be done on this computer, a line a job, and how long all of it takes."""
    if not jobs:
        return ["nothing is missing"]
    on_the_clock, _ = Schedule(jobs, workers).left_s(jobs, {})
    kinds = Counter(job.kind for job in jobs)
    said = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items())
    lines = [f"{said}: about {clock(on_the_clock)} on {workers} cores; a guess, before any speed "
             "was measured here"]  # fmt: skip
    lines += [f"  {job!s:<44}{clock(job.cost_s):>12}" for job in jobs if job.kind != "notebook"]
    notebooks = [str(job) for job in jobs if job.kind == "notebook"]
    return [*lines, f"  then the notebooks of {', '.join(notebooks)}"] if notebooks else lines


def gpu_lines(missing: Sequence[GPURun], left_out: Sequence[str]) -> list[str]:
    """Return runs, models, data, GPUs, disk and commands.

    Args:
        missing: runs to be trained, none twice.
        left_out: targets that have no runs in the profile.

    """
    out = [f"left out: {', '.join(left_out)}: not in this profile"] if left_out else []
    if not missing:
        return ["nothing is missing: the runs are there", *out]
    width = max(len(one.name) for one in missing) + 2
    known = [one for one in missing if one.memory]
    disk = sum(sum(one.memory.disk.values()) for one in known)
    return [
        f"{len(missing)} runs are missing",
        "",
        f"{'run':<{width}}seed  {'model':<38}{'data':<28}GPUs  {'disk':>11}  for",
        *(_row(one, width) for one in missing),
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


def _row(one: GPURun, width: int) -> str:
    disk = gib(sum(one.memory.disk.values())) if one.memory else "?"
    more = len(one.targets) - _TARGETS_SHOWN
    targets = ", ".join(one.targets[:_TARGETS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return (
        f"{one.name:<{width}}{one.config.seed:<6}{one.config.model.path:<38}{_data(one):<28}"
        f"{one.gpus:>4}  {disk:>11}  {targets}"
    )


def _data(one: GPURun) -> str:
    return "+".join(one.config.problems.training_sets)
