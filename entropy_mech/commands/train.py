"""``entropy-mech train CONFIG.toml``: one run, with progress."""

from __future__ import annotations

import argparse
import os
import sys

from entropy_mech.runs.jobs import ProgressLine
from entropy_mech.runs.store import default_store
from entropy_mech.train.config_io import load_config, run_id


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
        "--dry-run", action="store_true", help="print the resolved configuration and stop"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; print where the run lies."""
    config = load_config(arguments.config, arguments.overrides)
    if arguments.dry_run:
        print(config.model_dump_json(indent=2))
        print(f"run {run_id(config)}", file=sys.stderr)
        return 0
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from entropy_mech.train.loop import train

    line = ProgressLine(sys.stdout)
    line.note(f"run {run_id(config)}: {config.loss.method}, seed {config.seed}")

    def report(progress) -> None:
        m = progress.metrics
        line.show(
            progress.done / progress.total,
            f"step {progress.done}/{progress.total}, entropy {m['entropy_nats']:.3f} nats, "
            f"reward {m['reward_mean']:.3f}",
        )

    result = train(config, default_store(), report=report, say=line.note)
    line.close(f"done: {result.path}")
    return 0
