"""The paper profile: on which GPUs each run fits, how long it takes, and its command."""

from __future__ import annotations

import math
from dataclasses import dataclass

from entropy_mech.reproduction.targets import Target
from entropy_mech.runs.store import Run, project_root, run_path
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.estimate import Estimate, estimate

GPUS_A_NODE = 8
_GPU_COUNTS = (8, 16, 32, 64, 128)
RENDEZVOUS = "--rdzv-backend c10d --rdzv-endpoint NODE0:29500"


@dataclass(frozen=True)
class PaperRun:
    """One run of the paper, and what it needs.

    Attributes:
        name: of its file.
        run: where it lies, or will.
        estimate: on the fewest GPUs of whole nodes that it fits; None for an unknown model.

    """

    name: str
    run: Run
    estimate: Estimate | None

    @property
    def config(self) -> TrainConfig:
        """Its configuration."""
        return self.run.config

    @property
    def gpus(self) -> int:
        """GPUs that train and, where they are others, sample."""
        return self.estimate.gpus + self.estimate.sampling_gpus if self.estimate else GPUS_A_NODE

    @property
    def nodes(self) -> int:
        """Nodes of ``GPUS_A_NODE`` GPUs."""
        return math.ceil(self.gpus / GPUS_A_NODE)

    @property
    def command(self) -> str:
        """The command to paste; with several nodes, on each of them."""
        where = "--standalone" if self.nodes == 1 else f"--nnodes {self.nodes}"
        meet = "" if self.nodes == 1 else f" {RENDEZVOUS}"
        path = run_path(self.name, "paper").relative_to(project_root())
        return (
            f"torchrun {where} --nproc-per-node {GPUS_A_NODE}{meet} "
            f"-m entropy_mech train {path} --set seed={self.config.seed}"
        )


def paper_run(name: str, run: Run, *, gpu_memory_gib: float) -> PaperRun:
    """Return a run on the fewest GPUs of this memory that it fits.

    >>> from entropy_mech.reproduction.targets import run_config
    >>> from entropy_mech.runs.store import RunStore
    >>> config = run_config("fig11_32b_grpo", profile="paper", seed=1)
    >>> paper_run("fig11_32b_grpo", RunStore(".").run(config), gpu_memory_gib=80.0).gpus
    32
    """
    found = None
    for gpus in _GPU_COUNTS:
        found = estimate(run.config, gpus=gpus, gpu_memory_gib=gpu_memory_gib)
        if found is None or not found.problems:
            break
    return PaperRun(name, run, found)


def has_paper_runs(target: Target) -> bool:
    """Whether all of a target's runs have a file of the paper's size; some are checks of toys."""
    return all(run_path(name, "paper").is_file() for name in target.runs)
