"""Measure a run's final policy on a group of benchmarks, once; killed, it goes on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from entropy_mech.errors import bad_value
from entropy_mech.evaluation.models import newest_policy
from entropy_mech.evaluation.samplers import open_sampler
from entropy_mech.evaluation.suite import Evaluation
from entropy_mech.grading import GradingPool
from entropy_mech.problems.benchmark_sets import load_sets
from entropy_mech.runs.evaluations import evaluation_folder, scored
from entropy_mech.runs.locks import folder_lock
from entropy_mech.runs.manifest import environment, now, write_json
from entropy_mech.runs.store import Run

_LEAST_BATCH = 256  # a toy's sequences are short


def evaluate_run(run: Run, group: str) -> Path:
    """Measure a run's newest policy and return its ``scores.json``; what is there is kept.

    Raises:
        UserError: the run has no policy yet, or a benchmark cannot be loaded.

    """
    folder = evaluation_folder(run, group)
    if folder is None:
        raise bad_value("run", run.path.name, "has no policy yet: train it first")
    result = folder / "scores.json"
    with folder_lock(folder.with_suffix(".lock")):
        if not scored(folder):
            scores = _measure(run, folder, group)
            step = int(run.newest_model().name.removeprefix("step_"))
            written = {"group": group, "step": step, "scores": scores, "made": now()}
            write_json(result, {**written, **environment()})
    return result


def _measure(run: Run, folder: Path, group: str) -> list[dict]:
    sets, _ = load_sets([group])
    total = sum(len(one.problems) * one.protocol.samples for one in sets)
    scores, behind = [], 0
    with open_sampler(newest_policy(run), sets) as opened, GradingPool(workers=1) as pool:
        evaluation = Evaluation(
            folder,
            opened.sampler,
            opened.tokenizer,
            batch_size=max(opened.batch_size, _LEAST_BATCH),
            pool=pool,
            sampled_by=opened.kind,
        )
        for one in sets:
            score = evaluation.run(one.name, one.problems, one.protocol)
            scores.append(asdict(score))
            behind += len(one.problems) * one.protocol.samples
            write_json(folder / "status.json", {"done": behind, "total": total})
    return scores
