"""``entropy-mech evaluate MODEL``: accuracy on benchmarks, with every sample kept."""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from entropy_mech.errors import bad_value, folder_path, unknown_name, whole_number

_SAMPLERS = ("auto", "torch", "vllm")

if TYPE_CHECKING:
    from entropy_mech.evaluation.suite import Score
    from entropy_mech.runs.store import RunStore
    from entropy_mech.train.distributed import Ranks


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on benchmarks",
        description="Measure a model on the toy benchmarks or the paper's, or go on where stopped.",
        epilog="example: entropy-mech evaluate reproduce/runs/grpo.toml --benchmarks toy",
    )
    parser.add_argument("model", help="a run (as for follow), a model's folder, or a hub id")
    parser.add_argument(
        "--benchmarks",
        nargs="+",
        default=["toy"],
        metavar="NAME",
        help="names, or toy (the eight toy sets, default), or paper (the paper's nine)",
    )
    parser.add_argument(
        "--data-dir",
        default="",
        metavar="DIR",
        help="folder with NAME.jsonl or .parquet, in place of the hub",
    )
    for flag, default, words in (
        ("--limit", 0, "first problems only (0: all)"),
        ("--samples", 0, "responses a problem (0: as set)"),
        ("--max-new-tokens", 0, "tokens a response (0: as set)"),
        ("--batch-size", 0, "sequences at once (0: 64, with vllm 4,096)"),
        ("--tensor-parallel", 1, "GPUs of a vllm engine (1)"),
        ("--seed", 1, "names the random numbers (1)"),
    ):
        parser.add_argument(flag, type=int, default=default, metavar="N", help=words)
    parser.add_argument("--profile", default="toy", metavar="P", help="of a run's name (toy)")
    parser.add_argument(
        "--sampler",
        default="auto",
        metavar="KIND",
        help="torch, vllm, or auto (default)",
    )
    parser.add_argument("--before-training", action="store_true", help="a run's base model")
    parser.add_argument(
        "--out", default="", metavar="DIR", help="folder (runs/evaluations/<model>)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; print a line a benchmark and write ``scores.json``."""
    from entropy_mech.problems.benchmarks import benchmark_names, load_sets
    from entropy_mech.runs.status import run_or_model
    from entropy_mech.runs.store import default_store

    benchmark_names(arguments.benchmarks)
    for field in ("limit", "samples", "max_new_tokens", "batch_size", "seed"):
        if getattr(arguments, field) < 0:
            raise bad_value(f"--{field.replace('_', '-')}", getattr(arguments, field), "give >= 0")
    whole_number("--tensor-parallel", arguments.tensor_parallel, least=1)
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


def _evaluate(arguments, store: RunStore, sets, missing: list[str], ranks: Ranks) -> None:
    """Measure, one line a benchmark; of several ranks the first writes the scores and speaks."""
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
