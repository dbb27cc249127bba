"""``entropy-mech train CONFIG.toml``: one run, with progress."""

from __future__ import annotations

import argparse
import io
import os
import sys

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import load_config, run_id
from entropy_mech.config.memory import check_memory, report
from entropy_mech.runs.jobs import ProgressLine
from entropy_mech.runs.store import default_store


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train one policy",
        description="Train one policy, or go on with it where it stopped.",
        epilog="example: entropy-mech train reproduce/runs/kl_cov.toml --set seed=4",
    )
    parser.add_argument("config", help="TOML file, such as one of reproduce/runs/")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, for instance update.learning_rate=1e-3; may be repeated",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved configuration (JSON), say whether it fits, and stop",
    )
    sizes = parser.add_argument_group("for --dry-run")
    sizes.add_argument("--gpus", type=int, default=8, metavar="N", help="that train (8)")
    sizes.add_argument(
        "--gpu-memory-gib", type=float, default=80.0, metavar="GIB", help="of each (80)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; print where the run lies."""
    from entropy_mech.runs.status import existing_file

    config = load_config(existing_file(arguments.config), arguments.overrides)
    if arguments.dry_run:
        memory = _memory(config, arguments)
        print(config.model_dump_json(indent=2), flush=True)
        print("\n".join([f"run {run_id(config)}", *memory]), file=sys.stderr)
        return 0
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from entropy_mech.train.loop import train

    # Under a launcher the first process speaks for all.
    line = ProgressLine(sys.stdout if os.environ.get("RANK", "0") == "0" else io.StringIO())
    line.note(f"run {run_id(config)}: {config.loss.method}, seed {config.seed}")

    def show(progress) -> None:
        m = progress.metrics
        line.show(
            progress.done / progress.total,
            f"step {progress.done}/{progress.total}, entropy {m['entropy_nats']:.3f} nats, "
            f"reward {m['reward_mean']:.3f}",
        )

    result = train(config, default_store(), report=show, say=line.note)
    line.close(f"done: {result.path}")
    return 0


def _memory(config: TrainConfig, arguments: argparse.Namespace) -> list[str]:
    found = check_memory(config, gpus=arguments.gpus, gpu_memory_gib=arguments.gpu_memory_gib)
    if found is None:
        return [f"no check: the shape of {config.model.path} is not known; give a local folder"]
    return report(found)
