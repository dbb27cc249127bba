"""Runs on demand: what is there is taken, what is missing is trained in child processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from entropy_mech.runs.jobs import Job, run_jobs
from entropy_mech.runs.store import Run, RunStore, read_json
from entropy_mech.train.config import TrainConfig
from entropy_mech.train.config_io import base_model_id

# Seconds on one core of an ordinary laptop, for the progress line alone.
_BASE_MODEL_STEP_S = 0.033
_RUN_STEP_S = 0.3
_STARTUP_S = 8.0


def ensure_runs(
    configs: Sequence[TrainConfig], store: RunStore, *, workers: int | None = None
) -> list[Run]:
    """Return the runs of these configurations, training those that are missing or too short.

    Raises:
        JobsFailed: a child failed.

    """
    jobs = training_jobs(configs, store)
    if jobs:
        run_jobs(jobs, workers=workers or usable_cores())
    return [store.run(config) for config in configs]


def training_jobs(configs: Sequence[TrainConfig], store: RunStore) -> list[Job]:
    """Return the jobs that bring these runs about: base models first, then runs, none twice."""
    jobs: dict[str, Job] = {}
    for config in configs:
        run = store.run(config)
        if run.complete:
            continue
        base = _base_job(config, store)
        if base is not None:
            jobs.setdefault(base.name, base)
        job = _run_job(run, store, base)
        jobs.setdefault(job.name, job)
    return list(jobs.values())


def job_name(run: Run) -> str:
    """Name a run's job: method, seed and the head of its hash."""
    return f"{run.config.loss.method} seed {run.config.seed} ({run.path.name[:6]})"


def usable_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def base_model_folder(store: RunStore, config: TrainConfig) -> Path:
    """Return where a configuration's base model lies, or will."""
    return store.root / "base_models" / base_model_id(config)


def _base_job(config: TrainConfig, store: RunStore) -> Job | None:
    folder = base_model_folder(store, config)
    if folder.exists():
        return None
    return Job(
        name=f"base model {folder.name[:6]}",
        warm=config.toy,
        kind="base model",
        command=_command(store, "--base-model"),
        stdin=config.model_dump_json(),
        log=folder.with_suffix(".log"),
        cost_s=_STARTUP_S + _BASE_MODEL_STEP_S * config.base.steps,
        fraction=lambda: _fraction_in(folder.with_suffix(".status.json")),
    )


def _run_job(run: Run, store: RunStore, base: Job | None) -> Job:
    return Job(
        name=job_name(run),
        warm=run.config.toy,
        kind="run",
        command=_command(store),
        stdin=run.config.model_dump_json(),
        log=run.path / "log.txt",
        needs=frozenset([base.name] if base else []),
        cost_s=_STARTUP_S + _RUN_STEP_S * (run.config.steps - run.steps_done),
        fraction=lambda: _fraction_in(run.path / "status.json"),
    )


def _command(store: RunStore, *flags: str) -> list[str]:
    return [sys.executable, "-m", "entropy_mech.train", "--store", str(store.root), *flags]


def _fraction_in(status: Path) -> float:
    said = read_json(status)
    return said["done"] / said["total"] if said else 0.0
