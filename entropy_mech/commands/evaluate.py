"""``entropy-mech evaluate MODEL``: accuracy on benchmarks, with every sample kept."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropy_mech.commands import count
from entropy_mech.errors import bad_value, folder_path, unknown_name

_SAMPLERS = ("auto", "torch", "vllm")

if TYPE_CHECKING:
    from entropy_mech.evaluation.suite import Score


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
    batch_size: Annotated[int, count("sequences at once (0: 64, with vllm 1,024)")] = 0,
    tensor_parallel: Annotated[int, count("GPUs of a vllm engine", least=1)] = 1,
    seed: Annotated[int, count("names the random numbers")] = 1,
    profile: Annotated[str, typer.Option(metavar="P", help="of a run's name")] = "toy",
    sampler: Annotated[
        str, typer.Option(metavar="KIND", help="torch, vllm (on all GPUs), or auto")
    ] = "auto",
    before_training: Annotated[
        bool, typer.Option("--before-training", help="a run's base model")
    ] = False,
    out: Annotated[str, typer.Option(metavar="DIR", help="(runs/evaluations/<model>)")] = "",
) -> int:
    """Measure a model on benchmarks, or go on where it stopped; writes scores.json."""
    benchmarks = benchmarks or ["toy"]
    from entropy_mech.problems.benchmarks import benchmark_names, load_sets
    from entropy_mech.runs.find import run_or_model
    from entropy_mech.runs.store import default_store

    benchmark_names(benchmarks)
    if sampler not in _SAMPLERS:
        raise unknown_name("--sampler", sampler, _SAMPLERS)
    if out:
        folder_path("--out", out, "give another")
    if data_dir and not Path(data_dir).is_dir():
        raise bad_value("--data-dir", data_dir, "no such folder")
    store = default_store()
    run_or_model(model, store=store, profile=profile)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sets, missing = load_sets(
        benchmarks,
        data_dir=data_dir,
        limit=limit,
        samples=samples,
        max_new_tokens=max_new_tokens,
    )
    from entropy_mech.evaluation.load import find_model, open_sampler
    from entropy_mech.evaluation.suite import Evaluation
    from entropy_mech.grading import GradingPool
    from entropy_mech.runs.jobs import ProgressLine
    from entropy_mech.runs.store import environment, now, write_json

    found = find_model(
        model,
        store,
        before_training=before_training,
        profile=profile,
    )
    folder = Path(out) if out else store.root / "evaluations" / found.identity
    line = ProgressLine(sys.stdout)
    line.note(f"loading {model}")  # minutes, for a large one
    scores = []
    opening = open_sampler(found, sets, kind=sampler, tensor_parallel=tensor_parallel)
    with opening as opened, GradingPool() as pool:
        evaluation = Evaluation(
            folder,
            opened.sampler,
            opened.tokenizer,
            seed=seed,
            batch_size=batch_size or opened.batch_size,
            pool=pool,
            sampled_by=opened.kind,
        )
        for one in sets:
            name, protocol = one.name, one.protocol
            score = evaluation.run(
                name,
                one.problems,
                protocol,
                lambda done, total, name=name: line.show(done / total, f"{name} {done}/{total}"),
            )
            line.note(
                f"{name:<18} {score.accuracy:.3f} +- {score.standard_error:.3f}  "
                f"({score.problems} problems x {score.samples}, "
                f"temperature {protocol.temperature:g}; {_words(score)})"
            )
            scores.append(asdict(score))
    for reason in missing:
        line.note(f"left out: {reason}")
    result = {"model": model, "identity": found.identity, "sampled_by": opened.kind}
    write_json(folder / "scores.json", {**result, "scores": scores, "made": now(), **environment()})
    line.close(f"{len(scores)} benchmarks done: {folder / 'scores.json'}")
    return 0


def _words(score: Score) -> str:
    counts = [f"{count} {name}" for name, count in sorted(score.verdicts.items())]
    if tripped := score.answers_right_for_different_references:
        counts.append(f"{tripped} answers right for different references: see the warnings")
    return ", ".join(counts)
