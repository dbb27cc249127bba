"""Profiles that need GPUs: on which each run fits, and its command; a request in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from entropy_mech.config import TrainConfig
from entropy_mech.config.memory import MemoryCheck, check_memory, gib
from entropy_mech.reproduction.plan import Plan
from entropy_mech.runs.jobs import Schedule, clock
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
        run: where it lies, or will.
        memory: on the fewest GPUs of whole nodes that it fits; None for an unknown model.

    """

    profile: str
    name: str
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


def gpu_run(profile: str, name: str, run: Run, *, gpu_memory_gib: float) -> GPURun:
    """Return a run on the fewest GPUs of this memory that it fits.

    >>> from entropy_mech.reproduction.targets import run_config
    >>> from entropy_mech.runs.store import RunStore
    >>> config = run_config("fig11_32b_grpo", profile="paper", seed=1)
    >>> run = RunStore(".").run(config)
    >>> gpu_run("paper", "fig11_32b_grpo", run, gpu_memory_gib=80.0).gpus
    32
    """
    found = None
    for gpus in _GPU_COUNTS:
        found = check_memory(run.config, gpus=gpus, gpu_memory_gib=gpu_memory_gib)
        if found is None or not found.problems:
            break
    return GPURun(profile, name, run, found)


# -- A request in words --------------------------------------------------------------------------

_TARGETS_SHOWN = 6


def cpu_lines(plan: Plan, workers: int) -> list[str]:
    """Return what would be done on this computer, a line a job, and how long all of it takes."""
    if not plan.jobs:
        return ["nothing is missing"]
    on_the_clock, _ = Schedule(plan.jobs, workers).left_s(plan.jobs, {})
    kinds = Counter(job.kind for job in plan.jobs)
    said = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items())
    lines = [f"{said}: about {clock(on_the_clock)} on {workers} cores; a guess, before any speed "
             "was measured here"]  # fmt: skip
    for job in plan.jobs:
        if job.kind != "notebook":
            lines.append(f"  {job!s:<44}{clock(job.cost_s):>12}   {_for(plan.shared[job.name])}")
    notebooks = [str(job) for job in plan.jobs if job.kind == "notebook"]
    return [*lines, f"  then the notebooks of {', '.join(notebooks)}"] if notebooks else lines


def gpu_lines(
    missing: Sequence[GPURun], needed_by: dict[str, list[str]], left_out: Sequence[str]
) -> list[str]:
    """Return runs, models, data, GPUs, disk and commands.

    Args:
        missing: runs to be trained, none twice.
        needed_by: the targets of a run, by the name of its file.
        left_out: targets that have no runs in the profile.

    """
    if not missing:
        return ["nothing is missing: the runs are there", *_left_out(left_out)]
    width = max(len(one.name) for one in missing) + 2
    head = f"{'run':<{width}}seed  {'model':<38}{'data':<28}GPUs  {'disk':>11}  for"
    lines = [f"{len(missing)} runs are missing", "", head]
    lines += [_row(one, width, needed_by[one.name]) for one in missing]
    disk = sum(sum(one.memory.disk.values()) for one in missing if one.memory)
    lines += [
        "",
        f"disk        {gib(disk)} in all; checkpoints may go when a run is complete",
        f"models      {', '.join(dict.fromkeys(one.config.model.path for one in missing))}",
        f"data        {', '.join(dict.fromkeys(_data(one) for one in missing))}",
        *_problems(missing),
        *_left_out(left_out),
        "",
        "# one run a line; where there are several nodes, on each of them, NODE0 being the first",
        *(one.command for one in missing),
        "# then, or with runs copied from elsewhere (entropy-mech import-run), the same command "
        "without --dry-run",
    ]
    return lines


def _row(one: GPURun, width: int, targets: Sequence[str]) -> str:
    disk = gib(sum(one.memory.disk.values())) if one.memory else "?"
    return (
        f"{one.name:<{width}}{one.config.seed:<6}{one.config.model.path:<38}{_data(one):<28}"
        f"{one.gpus:>4}  {disk:>11}  {_for(targets)}"
    )


def _data(one: GPURun) -> str:
    named = one.config.problems.training_set
    return named if isinstance(named, str) else "+".join(named)


def _problems(missing: Sequence[GPURun]) -> list[str]:
    found = [(one.name, text) for one in missing if one.memory for text in one.memory.problems]
    return [f"warning: {name}: {text}" for name, text in found]


def _left_out(names: Sequence[str]) -> list[str]:
    return [f"left out: {', '.join(names)}: not in this profile"] if names else []


def _for(targets: Sequence[str]) -> str:
    shown = list(dict.fromkeys(targets))
    more = f" and {len(shown) - _TARGETS_SHOWN} more" if len(shown) > _TARGETS_SHOWN else ""
    return ", ".join(shown[:_TARGETS_SHOWN]) + more
