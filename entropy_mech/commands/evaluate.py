"""``entropy-mech evaluate MODEL``: accuracy on benchmarks, with every sample kept."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from entropy_mech.commands import count
from entropy_mech.errors import bad_value, folder_path, unknown_name

_SAMPLERS = ("auto", "torch", "vllm")

if TYPE_CHECKING:
    from entropy_mech.evaluation.suite import Score
    from entropy_mech.runs.store import RunStore
    from entropy_mech.train.distributed import Ranks


def evaluate(
    model: Annotated[str, typer.Argument(help="a run (as for follow), a folder, or a hub id")],
    benchmarks: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="names, toy (the eight toy sets), paper (its nine)"),
    ] = None,
    data_dir: Annotated[
        str, typer.Option(metavar="DIR", help="with NAME.jsonl or .parquet, in place of the hub")
    ] = "",
    limit: Annotated[int, count("first problems only (0: all)")] = 0,
    samples: Annotated[int, count("responses a problem (0: as set)")] = 0,
    max_new_tokens: Annotated[int, count("tokens a response (0: as set)")] = 0,
    batch_size: Annotated[int, count("sequences at once (0: 64, with vllm 4,096)")] = 0,
    tensor_parallel: Annotated[int, count("GPUs of a vllm engine", least=1)] = 1,
    seed: Annotated[int, count("names the random numbers")] = 1,
    profile: Annotated[str, typer.Option(metavar="P", help="of a run's name")] = "toy",
    sampler: Annotated[str, typer.Option(metavar="KIND", help="torch, vllm, or auto")] = "auto",
    before_training: Annotated[
        bool, typer.Option("--before-training", help="a run's base model")
    ] = False,
    out: Annotated[str, typer.Option(metavar="DIR", help="(runs/evaluations/<model>)")] = "",
) -> int:
    """Measure a model on benchmarks, or go on where it stopped; writes scores.json."""
    arguments = SimpleNamespace(**locals() | {"benchmarks": benchmarks or ["toy"]})
    from entropy_mech.problems.benchmarks import benchmark_names, load_sets
    from entropy_mech.runs.status import run_or_model
    from entropy_mech.runs.store import default_store

    benchmark_names(arguments.benchmarks)
    if arguments.sampler not in _SAMPLERS:
        raise unknown_name("--sampler", arguments.sampler, _SAMPLERS)
    if arguments.out:
        folder_path("--out", arguments.out, "give another")
    if arguments.data_dir and not Path(arguments.data_dir).is_dir():
        raise bad_value("--data-dir", arguments.data_dir, "no such folder")
    store = default_store()
    run_or_model(arguments.model, store=store, profile=arguments.profile)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sets, missing = load_sets(
        arguments.benchmarks,
        data_dir=arguments.data_dir,
        limit=arguments.limit,
        samples=arguments.samples,
        max_new_tokens=arguments.max_new_tokens,
    )
    from entropy_mech.evaluation.load import PATIENCE_S
    from entropy_mech.train.distributed import join_ranks, leave_ranks

    ranks = join_ranks(timeout_s=PATIENCE_S)
    try:
        with ranks.naming_peers():
            _evaluate(arguments, store, sets, missing, ranks)
    finally:
        leave_ranks(ranks)
    return 0


def _evaluate(
    arguments: SimpleNamespace, store: RunStore, sets, missing: list[str], ranks: Ranks
) -> None:
    """Measure, one line a benchmark; rank 0 prints and writes the scores."""
    import torch

    from entropy_mech.evaluation.load import chosen_kind, find_model
    from entropy_mech.evaluation.suite import evaluate_sets
    from entropy_mech.runs.jobs import ProgressLine
    from entropy_mech.runs.store import environment, now, write_json

    found = find_model(
        arguments.model,
        store,
        before_training=arguments.before_training,
        profile=arguments.profile,
    )
    kind = chosen_kind(arguments.sampler, found)
    folder = Path(arguments.out) if arguments.out else store.root / "evaluations" / found.identity
    line = ProgressLine(sys.stdout if ranks.first else io.StringIO())
    line.note(f"loading {arguments.model}")  # minutes, for a large one
    gpus = torch.cuda.device_count() if kind == "vllm" else 0
    if ranks.size == 1 and gpus > arguments.tensor_parallel:
        start = f"torchrun --standalone --nproc-per-node {gpus} -m entropy_mech evaluate"
        line.note(f"{arguments.tensor_parallel} of {gpus} GPUs; all of them: {start} ...")
    scores = []
    for score in evaluate_sets(
        found,
        sets,
        folder,
        kind=kind,
        tensor_parallel=arguments.tensor_parallel,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        ranks=ranks,
        report=lambda name, done, total: line.show(done / total, f"{name} {done}/{total}"),
    ):
        line.note(
            f"{score.benchmark:<18} {score.accuracy:.3f} +- {score.standard_error:.3f}  "
            f"({score.problems} problems x {score.samples}, "
            f"temperature {score.protocol['temperature']:g}; {_words(score)})"
        )
        scores.append(asdict(score))
    for reason in missing:
        line.note(f"left out: {reason}")
    result = {"model": arguments.model, "identity": found.identity, "sampled_by": kind}
    if ranks.first:
        made = {"made": now(), **environment()}
        write_json(folder / "scores.json", {**result, "scores": scores, **made})
    line.close(f"{len(scores)} benchmarks done: {folder / 'scores.json'}")


def _words(score: Score) -> str:
    counts = [f"{count} {name}" for name, count in sorted(score.verdicts.items())]
    if tripped := score.answers_right_for_different_references:
        counts.append(f"{tripped} answers right for different references: see the warnings")
    return ", ".join(counts)
