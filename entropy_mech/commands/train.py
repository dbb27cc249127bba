"""``entropy-mech train CONFIG.toml``: one run, with progress."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from entropy_mech.commands import count, number
from entropy_mech.config import TrainConfig
from entropy_mech.config.files import load_config, run_id
from entropy_mech.config.memory import check_memory, report
from entropy_mech.runs.jobs import ProgressLine
from entropy_mech.runs.store import default_store


def train(
    config: Annotated[str, typer.Argument(help="TOML file, such as one of reproduce/runs/")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="override a key, such as seed=4; may be repeated"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the configuration (JSON), say whether it fits")
    ] = False,
    gpus: Annotated[int, count("with --dry-run: that train", least=1)] = 8,
    gpu_memory_gib: Annotated[float, number("with --dry-run: of each", "GIB", above=0)] = 80.0,
) -> int:
    """Train one policy, or go on with it where it stopped."""
    from entropy_mech.runs.status import existing_file

    chosen = load_config(existing_file(config), overrides or ())
    if dry_run:
        memory = _memory(chosen, gpus, gpu_memory_gib)
        print(chosen.model_dump_json(indent=2), flush=True)
        print("\n".join([f"run {run_id(chosen)}", *memory]), file=sys.stderr)
        return 0
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from entropy_mech.train.loop import train as train_run

    # Under a launcher rank 0 alone prints.
    line = ProgressLine(sys.stdout if os.environ.get("RANK", "0") == "0" else io.StringIO())
    line.note(f"run {run_id(chosen)}: {chosen.loss.method}, seed {chosen.seed}")

    def show(progress) -> None:
        m = progress.metrics
        line.show(
            progress.done / progress.total,
            f"step {progress.done}/{progress.total}, entropy {m['entropy_nats']:.3f} nats, "
            f"reward {m['reward_mean']:.3f}",
        )

    result = train_run(chosen, default_store(), report=show, say=line.note)
    line.close(f"done: {result.path}")
    return 0


def _memory(config: TrainConfig, gpus: int, gpu_memory_gib: float) -> list[str]:
    found = check_memory(config, gpus=gpus, gpu_memory_gib=gpu_memory_gib)
    if found is None:
        return [f"no check: the shape of {config.model.path} is not known; give a local folder"]
    return report(found)
