"""Runs on demand, and measurements of their policies: what exists is reused, the rest is made."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import base_model_id, run_id
from entropy_mech.errors import UserError, unknown_name
from entropy_mech.problems.benchmarks import (
    GROUPS,
    SEEDED_BENCHMARKS,
    load_toy_benchmark,
    protocol,
)
from entropy_mech.runs.jobs import STARTUP_S, Job, base_model_s, rollout_s, run_jobs
from entropy_mech.runs.store import (
    MetricsFile,
    Run,
    RunStore,
    base_model_folder,
    read_json,
    read_json_if_whole,
)

# -- GPUs of this computer -----------------------------------------------------------------------

_H100_GIB = 80.0


def gpus_here() -> int:
    """Return the NVIDIA GPUs of this computer; 0 without a driver."""
    return len(_memories_mib())


def gpu_memory_here_gib() -> float:
    """Return the memory of the smallest GPU here, an H100's where there is none."""
    return min(_memories_mib(), default=_H100_GIB * 1024) / 1024


def refuse_without_gpus(missing: int, needed: int, profile: str = "paper") -> None:
    """Refuse to train large models without enough GPUs, and say what to do instead.

    Args:
        missing: runs that would have to be trained.
        needed: GPUs that the largest of them takes.
        profile: whose runs they are.

    Raises:
        UserError: there are fewer GPUs here.

    """
    there = gpus_here()
    if there < needed:
        seen = f"{there or 'none'} can be seen here"
        runs = "1 run is" if missing == 1 else f"{missing} runs are"
        raise UserError(
            f"profile = {profile}: {runs} missing, the largest needs {needed} "
            f"GPU{'s' if needed > 1 else ''} and {seen}; entropy-mech reproduce "
            f"--profile {profile} lists them all with --dry-run and submits them "
            "with --slurm; entropy-mech import-run takes up what was trained elsewhere"
        )


def _memories_mib() -> list[int]:
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    return [int(line) for line in done.stdout.split() if line.isdigit()]


# -- Where a run's final policy is measured ------------------------------------------------------
# ``evaluation/<group>/<step>-<digest>/`` of a run holds a file of samples a benchmark and, when all
# are done, ``scores.json``. The digest is of the group's problems and protocols: scores of problems
# that have changed since are not taken for new ones.

COLUMNS = ("step", "benchmark", "accuracy", "standard_error", "problems", "samples")


def evaluation_folder(run: Run, group: str) -> Path | None:
    """Return where the run's newest policy is measured; None where the run has no policy."""
    policy = run.newest_model()
    if policy is None:
        return None
    return run.path / "evaluation" / group / f"{policy.name}-{group_digest(group)}"


def evaluation_before(run: Run, group: str) -> Path | None:
    """Return where what a language model's run starts from is measured, once for all its runs.

    None for toys, whose figures do not ask, and for a model that is not made here.
    """
    config = run.config
    if config.toy or not config.makes_base_model:
        return None
    name = f"base-{base_model_id(config)}-{group_digest(group)}"
    return run.path.parent / "evaluations" / name


def evaluated(run: Run, group: str) -> bool:
    """Whether the run's newest policy, and its start, have been measured on all of a group."""
    folder, before = evaluation_folder(run, group), evaluation_before(run, group)
    return folder is not None and scored(folder) and (before is None or scored(before))


def scored(folder: Path) -> bool:
    """Whether all of a folder's benchmarks have been measured; a damaged file says no."""
    return "scores" in read_json_if_whole(folder / "scores.json")


def scores(run: Run, group: str, *, before: bool = False) -> pd.DataFrame:
    """Return what was measured, a row a benchmark, in the group's order; empty before that.

    ``before``: of what the run starts from; empty where ``evaluation_before`` is None.
    Of problems that ask for a form there are more columns: strict and lenient accuracy, the share
    in the form, and pass_at_1, pass_at_2, ...
    ``step`` is the number of rollouts behind the policy: all that the run has done, which is more
    than its configuration asks for where a longer run was made of it.
    """
    folder = (evaluation_before if before else evaluation_folder)(run, group)
    found: dict[str, Any] = read_json(folder / "scores.json") if folder else {}
    rows, more = [], {}
    for score in found.get("scores", []):
        read = dict(score.get("readings", {}))
        read |= {f"pass_at_{k}": value for k, value in read.pop("pass_at", {}).items()}
        rows.append({"step": found["step"], **score, **read})
        more |= read
    return pd.DataFrame(rows, columns=[*COLUMNS, *more])


# Of each benchmark, for a reader: the first problems, and the first samples of each.
_PROBLEMS_SHOWN, _SAMPLES_SHOWN = 4, 4
# Of an answer; ``when`` is before or after.
ANSWERED = (
    "when", "benchmark", "problem", "sample", "asked", "reference", "response", "verdict",
)  # fmt: skip


def answers(run: Run, group: str) -> pd.DataFrame:
    """Return what a language model answered before and after training, a row a sample.

    The first samples of the first problems of each benchmark of the group, with the same random
    numbers before and after: columns ``ANSWERED``. Empty where the benchmarks were not measured.
    """
    places = {"before": evaluation_before(run, group), "after": evaluation_folder(run, group)}
    rows, measured = [], all(place is not None and scored(place) for place in places.values())
    for when, name in itertools.product(places, GROUPS[group] if measured else ()):
        if name not in SEEDED_BENCHMARKS:
            continue
        problems, _ = load_toy_benchmark(name)
        for row in MetricsFile(places[when] / f"{name}.jsonl").rows():
            if row["problem"] < _PROBLEMS_SHOWN and row["sample"] < _SAMPLES_SHOWN:
                problem = problems[row["problem"]]
                asked = {"asked": problem.prompt, "reference": problem.reference}
                rows.append({"when": when, "benchmark": name, **asked, **row})
    return pd.DataFrame(rows, columns=list(ANSWERED))


@functools.cache
def group_digest(group: str) -> str:
    """Return 8 hex digits that name a group's protocols and, of the toys, its problems.

    Raises:
        UserError: no such group (names the nearest).

    """
    if group not in GROUPS:
        raise unknown_name("group of benchmarks", group, GROUPS)
    parts: list[Any] = []
    for name in GROUPS[group]:
        if name in SEEDED_BENCHMARKS:
            problems, way = load_toy_benchmark(name)
            parts += [name, asdict(way), [[p.prompt, str(p.reference)] for p in problems]]
        else:
            parts += [name, asdict(protocol(name))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


# -- Runs on demand ------------------------------------------------------------------------------


def ensure_runs(
    configs: Sequence[TrainConfig],
    store: RunStore,
    *,
    names: Sequence[str] = (),
    evaluate: str = "",
    workers: int | None = None,
) -> list[Run]:
    """Return the runs of these configurations, training those that are missing or too short.

    Args:
        configs: what is to be there; a configuration may come twice.
        store: where it lies.
        names: what the configurations are called, one each, for the progress line.
        evaluate: a group of benchmarks that the final policies are measured on; empty for none.
        workers: processes at once; all cores if None.

    Raises:
        JobsFailed: a child failed.
        UserError: a model of the paper's size is to be trained where there is no GPU.

    """
    jobs = training_jobs(configs, store, names=names)
    if evaluate:
        jobs += evaluation_jobs(configs, store, evaluate, names=names)
    if jobs:
        run_jobs(jobs, workers=workers or usable_cores())
    return [store.run(config) for config in configs]


_EVALUATION_S, _LANGUAGE_MODEL_EVALUATION_S = 6.0, 300.0  # guesses, for a group of benchmarks


def training_jobs(
    configs: Sequence[TrainConfig], store: RunStore, *, names: Sequence[str] = ()
) -> list[Job]:
    """Return the jobs that train these runs: first what they start from, none twice."""
    jobs: dict[str, Job] = {}
    for config, name in _each_at_its_longest(configs, names):
        run = store.run(config)
        if run.complete:
            continue
        bases = _base_jobs(config, store)
        for job in (*bases, run_job(run, store, name, needs=bases[-1:])):
            jobs.setdefault(job.name, job)
    return list(jobs.values())


def _each_at_its_longest(
    configs: Sequence[TrainConfig], names: Sequence[str]
) -> list[tuple[TrainConfig, str]]:
    """Return every run once, after the one that it starts from."""
    found: dict[str, tuple[TrainConfig, str]] = {}
    for config, name in _named(configs, names):
        chain = [(config, name)]
        while (earlier := chain[0][0].earlier) is not None:
            chain.insert(0, (earlier, ""))
        for one, called in chain:
            key = run_id(one)
            other, its_name = found.get(key, (one, ""))
            found[key] = (max(one, other, key=lambda c: c.steps), its_name or called)
    return list(found.values())


def evaluation_jobs(
    configs: Sequence[TrainConfig], store: RunStore, group: str, *, names: Sequence[str] = ()
) -> list[Job]:
    """Return the jobs that measure the runs' final policies, where that has not been done."""
    jobs: dict[str, Job] = {}
    for config, name in _named(configs, names):
        run = store.run(config)
        # A run that will go on has a policy yet to come; an imported log never has one.
        if run.complete and (run.newest_model() is None or evaluated(run, group)):
            continue
        job = Job(
            name=f"evaluation {group} {run.path.name}",
            label=f"{group} benchmarks, {name or run.config.loss.method} seed {config.seed}",
            log=run.path / f"evaluation-{group}.txt",
            needs=frozenset([_run_job_name(run)]),
            kind="evaluation",
            cost_s=_EVALUATION_S if config.toy else _LANGUAGE_MODEL_EVALUATION_S,
            fraction=lambda run=run: _fraction_in(evaluation_folder(run, group) or run.path),
            **_child("entropy_mech.evaluation", config, store, "--group", group),
        )
        jobs.setdefault(job.name, job)
    return list(jobs.values())


def run_job(run: Run, store: RunStore, name: str, needs: Sequence[Job] = ()) -> Job:
    """Return the job that trains a run, resuming it where it has begun.

    A run whose engine and sampler are torch's is one process, on whatever this computer has.

    Raises:
        UserError: a model of the paper's size, and there is no GPU here.

    """
    config, flags = run.config, ()
    if not config.toy and (config.engine.kind, config.sampler.kind) != ("torch", "torch"):
        refuse_without_gpus(1, needed=1)
        if config.engine.kind == "deepspeed":  # torch's engine is one process
            flags = ("--gpus", str(gpus_here()))
    left = max(config.steps - run.steps_done, 0)
    return Job(
        name=_run_job_name(run),
        label=f"{name or config.loss.method} seed {config.seed}",
        log=run.path / "log.txt",
        needs=frozenset(job.name for job in needs),
        kind="run",
        cost_s=STARTUP_S + left * rollout_s(config),
        fraction=lambda: _fraction_in(run.path),
        **_child("entropy_mech.train", config, store, *flags),
    )


def usable_cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _base_jobs(config: TrainConfig, store: RunStore) -> list[Job]:
    """Return the jobs for a run's base model and, before it, for the one that it is made of."""
    folder = base_model_folder(store, config)
    if not config.makes_base_model or folder.exists():
        return []
    before: list[Job] = []
    if config.start is None and getattr(config.base, "instruct", None) is not None:
        plain = config.base.model_copy(update={"instruct": None})
        before = _base_jobs(config.model_copy(update={"base": plain}), store)
    needs = [job.name for job in before[-1:]]
    if config.start is not None:
        needs = [_run_job_name(store.run(config.earlier))]
    job = Job(
        name=f"base model {folder.name}",
        label=f"base model {folder.name[:6]}",
        log=folder.with_suffix(".log"),
        needs=frozenset(needs),
        kind="base model",
        cost_s=STARTUP_S if config.start else base_model_s(config),
        fraction=lambda: _fraction_in(folder.parent, f"{folder.name}.status.json"),
        **_child("entropy_mech.train", config, store, "--base-model"),
    )
    return [*before, job]


def _run_job_name(run: Run) -> str:
    return f"run {run.path.name}"


def _named(configs: Sequence[TrainConfig], names: Sequence[str]) -> list[tuple[TrainConfig, str]]:
    return list(zip(configs, names or [""] * len(configs), strict=True))


def _child(module: str, config: TrainConfig, store: RunStore, *flags: str) -> dict[str, Any]:
    """Return the part of a job that says what its process executes and reads."""
    command = [sys.executable, "-m", module, "--store", str(store.root), *flags]
    return {"command": command, "stdin": config.model_dump_json(), "warm": config.toy}


def _fraction_in(folder: Path, name: str = "status.json") -> float:
    status = read_json_if_whole(folder / name)
    return status["done"] / status["total"] if status.get("total") else 0.0
