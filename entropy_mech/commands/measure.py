"""``evaluate``, ``law`` and ``diagnose``: accuracy on benchmarks; your own log, and its faults."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entropy_mech.commands import Texts, count, number, switch, text
from entropy_mech.errors import bad_value, folder_path
from entropy_mech.runs.jobs import ProgressLine
from entropy_mech.runs.status import run_or_model
from entropy_mech.runs.store import atomic_write, default_store, environment, now, write_json

if TYPE_CHECKING:
    from entropy_mech.evaluation.suite import Score

# -- evaluate ------------------------------------------------------------------------------------


def evaluate(
    model: Annotated[str, typer.Argument(help="a run (as for follow), a folder, or a hub id")],
    benchmarks: Annotated[
        Texts, text("names, toy (the eight toy sets), paper (its nine)", "NAME...")
    ] = None,
    data_dir: Annotated[str, text("with NAME.jsonl or .parquet, in place of the hub", "DIR")] = "",
    limit: Annotated[int, count("first problems only (0: all)")] = 0,
    samples: Annotated[int, count("responses a problem (0: as set)")] = 0,
    max_new_tokens: Annotated[int, count("tokens a response (0: as set)")] = 0,
    batch_size: Annotated[int, count("sequences at once (0: 64, with vllm all)")] = 0,
    tensor_parallel: Annotated[int, count("GPUs of a vllm engine", least=1)] = 1,
    seed: Annotated[int, count("names the random numbers")] = 1,
    profile: Annotated[str, text("of a run's name", "P")] = "toy",
    sampler: Annotated[str, text("torch, vllm, or auto", "KIND")] = "auto",
    before_training: Annotated[bool, switch("a run's base model", "--before-training")] = False,
    out: Annotated[str, text("(runs/evaluations/<model>)", "DIR")] = "",
) -> int:
    """Measure a model on benchmarks, or go on where it stopped; writes scores.json."""
    from entropy_mech.evaluation.suite import (
        PATIENCE_S,
        check_kind,
        chosen_kind,
        evaluate_sets,
        find_model,
    )
    from entropy_mech.problems.benchmarks import benchmark_names, load_sets
    from entropy_mech.train.distributed import join_ranks, leave_ranks

    names = benchmarks or ["toy"]
    benchmark_names(names)
    check_kind(sampler)
    place = folder_path("--out", out, "give another") if out else None
    if data_dir and not Path(data_dir).is_dir():
        raise bad_value("--data-dir", data_dir, "no such folder")
    store = default_store()
    run_or_model(model, store=store, profile=profile)
    sets, missing = load_sets(
        names, data_dir=data_dir, limit=limit, samples=samples, max_new_tokens=max_new_tokens
    )
    ranks = join_ranks(timeout_s=PATIENCE_S)
    try:
        with ranks.naming_peers():
            found = find_model(model, store, before_training=before_training, profile=profile)
            kind = chosen_kind(sampler, found)
            folder = place or store.root / "evaluations" / found.identity
            line = ProgressLine(sys.stdout if ranks.first else io.StringIO())
            line.note(f"loading {model}")  # minutes, for a large one

            def progress(name: str, done: int, total: int) -> None:
                line.show(done / total, f"{name} {done}/{total}")

            scores = evaluate_sets(
                found, sets, folder, kind=kind, tensor_parallel=tensor_parallel, seed=seed,
                batch_size=batch_size, ranks=ranks, report=progress,
            )  # fmt: skip
            rows = list(_noted(scores, line))
    finally:
        leave_ranks(ranks)
    for reason in missing:
        line.note(f"left out: {reason}")
    if ranks.first:
        result = {"model": model, "identity": found.identity, "sampled_by": kind, "scores": rows}
        write_json(folder / "scores.json", {**result, "made": now(), **environment()})
    line.close(f"{len(rows)} benchmarks done: {folder / 'scores.json'}")
    return 0


def _noted(scores: Iterator[Score], line: ProgressLine) -> Iterator[dict[str, Any]]:
    """Print a line a benchmark; yield its score as a table."""
    for score in scores:
        words = [f"{count} {name}" for name, count in sorted(score.verdicts.items())]
        if tripped := score.answers_right_for_different_references:
            words.append(f"{tripped} answers right for different references: see the warnings")
        line.note(
            f"{score.benchmark:<18} {score.accuracy:.3f} +- {score.standard_error:.3f}  "
            f"({score.problems} problems x {score.samples}, "
            f"temperature {score.protocol['temperature']:g}; {', '.join(words)})"
        )
        yield score.table()


# -- law -----------------------------------------------------------------------------------------


def law(
    log: Annotated[str, typer.Argument(help="log file, or the folder of a run")],
    entropy: Annotated[str, text("column of the entropy, nats", "COL")] = "",
    performance: Annotated[str, text("column of the accuracy", "COL")] = "",
    step: Annotated[str, text("column of the training step", "COL")] = "",
    run: Annotated[str, text("one of several runs in LOG", "NAME")] = "",
    at: Annotated[list[float] | None, number("forecast at these entropies", "H...")] = None,
    figure: Annotated[str, text("where to draw it (LOG's name with .law.png)", "FILE")] = "",
) -> int:
    """Fit the law to the log of a run.

    Coefficients, ceiling and forecasts with intervals, warnings where the law does not hold, and a
    figure. Reads CSV, JSONL, JSON, Parquet, console text, TensorBoard events and wandb exports; the
    columns of most training frameworks are known by name.
    """
    from entropy_mech.law.report import analyse_log

    columns = {"entropy": entropy, "performance": performance, "step": step}
    report, _ = analyse_log(log, **columns, run=run, at_entropy_nats=at or None)
    print(report.text())
    path = Path(figure) if figure else Path(f"{Path(log).stem or 'run'}.law.png")
    _draw(report, path)
    print(f"figure: {path}")
    return 0


def _draw(report, path: Path) -> None:
    from matplotlib.figure import Figure

    from entropy_mech.paper.law_of_run import law_of_run

    drawing = Figure(figsize=(7.5, 4.8), layout="constrained")
    law_of_run(report, drawing.subplots())
    try:
        with atomic_write(path) as temporary:
            drawing.savefig(temporary, dpi=150, format=path.suffix[1:] or "png")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, FileNotFoundError):  # whose words name our temporary file
            reason = f"there is no folder {path.parent}"
        raise bad_value("--figure", str(path), f"cannot be written ({reason})") from None


# -- diagnose ------------------------------------------------------------------------------------


def diagnose(
    log: Annotated[str, typer.Argument(help="log file, or the folder of a run")],
    config: Annotated[
        str, text("its settings: TOML, YAML, JSON, overrides or a script", "FILE")
    ] = "",
    entropy: Annotated[str, text("column of the entropy, nats", "COL")] = "",
    performance: Annotated[str, text("column of the accuracy", "COL")] = "",
    step: Annotated[str, text("column of the training step", "COL")] = "",
    run: Annotated[str, text("one of several runs in LOG", "NAME")] = "",
) -> int:
    """Name what is wrong with a run's entropy or reward, from its log and settings.

    Each cause comes with what was seen, where it is described, and a fix; where nothing is seen,
    nothing is said. Reads the logs that `law` reads, and the settings of this package, verl, TRL,
    OpenRLHF and SkyRL (a run's folder has its own).
    """
    from entropy_mech.integrations.diagnose import diagnose as examine

    columns = {"entropy": entropy, "performance": performance, "step": step, "run": run}
    print(examine(log, config, **columns).text())
    return 0
