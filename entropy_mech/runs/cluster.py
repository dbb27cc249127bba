"""Runs as jobs of a Slurm cluster, through submitit.

A job trains one run, on one node or, with torchrun on each, on several. If the cluster ends it
early (preemption, its time limit) it is submitted again and goes on from its checkpoint.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from entropy_mech.errors import UserError
from entropy_mech.runs.store import Run, RunStore, read_json_if_whole, write_json

CLUSTERS = ("slurm", "local")
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "FINISHED"}
# A job that the cluster does not know yet, so soon after it was submitted, is in its queue.
_NEW_S = 600.0
_PORT = 29500


@dataclass(frozen=True)
class ClusterRun:
    """A run and the resources it needs; a toy needs one core and no GPU."""

    name: str
    run: Run
    nodes: int = 1
    gpus_a_node: int = 0


@dataclass
class Training:
    """What a job executes on each of its nodes."""

    store: Path
    config: Path
    nodes: int
    gpus_a_node: int

    def __call__(self) -> None:
        """Train; a failure is the job's.

        Raises:
            subprocess.CalledProcessError: the trainer ended with an exit code that is not 0.

        """
        import submitit

        subprocess.run(self.command(submitit.JobEnvironment().hostnames[0]), check=True)

    def checkpoint(self):
        """Return the job to submit in this one's place when the cluster ends it early."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def command(self, first_host: str) -> list[str]:
        """Return the command of one node.

        >>> Training(Path("runs"), Path("c.json"), 1, 0).command("a")[1:5]
        ['-m', 'entropy_mech.train', '--store', 'runs']
        >>> " ".join(Training(Path("runs"), Path("c.json"), 4, 8).command("a")[3:11])
        '--nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint a:29500'
        """
        train = ["-m", "entropy_mech.train", "--store", str(self.store)]
        train += ["--config", str(self.config)]
        if not self.gpus_a_node:
            return [sys.executable, *train]
        hosts, meeting = ["--standalone"], []
        if self.nodes > 1:
            hosts = ["--nnodes", str(self.nodes)]
            meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first_host}:{_PORT}"]
        processes = [*hosts, "--nproc-per-node", str(self.gpus_a_node), *meeting]
        return [sys.executable, "-m", "torch.distributed.run", *processes, *train]


def submit_runs(
    runs: Sequence[ClusterRun], store: RunStore, options: Mapping[str, object]
) -> list[str]:
    """Submit runs that are not in the queue yet, and return a line for each run.

    ``options`` are submitit's (``slurm_partition``, ``timeout_min``, ...; Slurm's own names such
    as ``partition`` too); ``cluster`` is ``slurm`` or, to try, ``local``: processes here.

    Raises:
        UserError: no submitit, no Slurm, or an option that submitit does not know.

    """
    options = dict(options)
    kind = str(options.pop("cluster", "slurm"))
    executor = _executor(kind, store.root / "cluster" / "jobs", options)
    lines = []
    for one in runs:
        name = f"{one.name} seed {one.run.config.seed}"
        note = store.root / "cluster" / f"{one.run.path.name}.json"
        active = _active(read_json_if_whole(note))
        if active:
            lines.append(f"{name}: job {active} is in the queue already")
            continue
        # Whole paths: a job starts in a folder of its own.
        config = (store.root / "cluster" / f"{one.run.path.name}.config.json").resolve()
        config.write_text(one.run.config.model_dump_json())
        resources = {"nodes": one.nodes, "tasks_per_node": 1, "gpus_per_node": one.gpus_a_node}
        _update(executor, {"timeout_min": 24 * 60, "name": "entropy-mech", **resources, **options})
        training = Training(store.root.resolve(), config, one.nodes, one.gpus_a_node)
        job = executor.submit(training)
        write_json(note, {"job": job.job_id, "cluster": kind, "folder": str(executor.folder),
                          "submitted": time.time()})  # fmt: skip
        lines.append(f"{name}: job {job.job_id} submitted, log {job.paths.stdout}")
    return lines


def _executor(kind: str, folder: Path, options: dict):
    if kind not in CLUSTERS:
        raise UserError(f"cluster = {kind}: give {' or '.join(CLUSTERS)}")
    submitit = _submitit()
    try:
        return submitit.AutoExecutor(folder, cluster=kind)
    except RuntimeError as error:  # submitit's word for "no srun here"
        raise UserError(f"--slurm: {error}; submit from a node that has Slurm's commands") from None


def _update(executor, options: dict) -> None:
    """Set options; Slurm's own names get submitit's prefix."""
    known = {"name", "timeout_min", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task",
             "mem_gb", "stderr_to_stdout"}  # fmt: skip
    named = {
        key if key in known or key.startswith("slurm_") else f"slurm_{key}": value
        for key, value in options.items()
    }
    try:
        executor.update_parameters(**named)
    except (NameError, TypeError) as error:
        raise UserError(f"--slurm-set: {str(error).splitlines()[0]}") from None


def _active(note: dict) -> str:
    """Return the id of a job that has not ended, else ""."""
    if not note:
        return ""
    submitit = _submitit()
    kinds = {"slurm": submitit.SlurmJob, "local": submitit.LocalJob}
    state = kinds[note["cluster"]](folder=note["folder"], job_id=note["job"]).state
    if state == "UNKNOWN" and time.time() - note["submitted"] > _NEW_S:
        return ""
    return "" if state.split()[0] in _OVER else note["job"]


def _submitit():
    try:
        import submitit
    except ImportError:
        raise UserError('--slurm: needs submitit; pip install "entropy-mech[slurm]"') from None
    return submitit
