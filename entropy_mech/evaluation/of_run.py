"""Measure a run's final policy on a group of benchmarks, once; killed, it goes on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from entropy_mech.errors import bad_value
from entropy_mech.evaluation.suite import Evaluation
from entropy_mech.grading import GradingPool
from entropy_mech.problems.benchmark_sets import load_sets
from entropy_mech.rollout.torch_sampler import TorchSampler
from entropy_mech.runs.evaluations import evaluation_folder
from entropy_mech.runs.locks import folder_lock
from entropy_mech.runs.manifest import environment, now, write_json
from entropy_mech.runs.store import Run
from entropy_mech.train.models import load_pretrained

_BATCH_SIZE = 256


def evaluate_run(run: Run, group: str) -> Path:
    """Measure a run's newest policy and return its ``scores.json``; what is there is kept.

    Raises:
        UserError: the run has no policy yet, or a benchmark cannot be loaded.

    """
    torch.set_num_threads(run.config.threads)
    folder = evaluation_folder(run, group)
    if folder is None:
        raise bad_value("run", run.path.name, "has no policy yet: train it first")
    result = folder / "scores.json"
    with folder_lock(folder.with_suffix(".lock")):
        if not result.exists():
            scores = _measure(run, folder, group)
            step = int(run.newest_model().name.removeprefix("step_"))
            written = {"group": group, "step": step, "scores": scores, "made": now()}
            write_json(result, {**written, **environment()})
    return result


def _measure(run: Run, folder: Path, group: str) -> list[dict]:
    sets, _ = load_sets([group])
    model, tokenizer = load_pretrained(str(run.newest_model()))
    if not run.config.toy and torch.cuda.is_available():
        model = model.to("cuda")
    sampler = TorchSampler(
        model, pad_token=tokenizer.pad_token_id, eos_token=tokenizer.eos_token_id
    )
    total = sum(len(one.problems) * one.protocol.samples for one in sets)
    scores, behind = [], 0
    with GradingPool(workers=1) as pool:
        evaluation = Evaluation(folder, sampler, tokenizer, batch_size=_BATCH_SIZE, pool=pool)
        for one in sets:
            score = evaluation.run(one.name, one.problems, one.protocol)
            scores.append(asdict(score))
            behind += len(one.problems) * one.protocol.samples
            write_json(folder / "status.json", {"done": behind, "total": total})
    return scores
