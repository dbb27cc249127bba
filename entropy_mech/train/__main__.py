"""The child process that trains: ``python -m entropy_mech.train``, a JSON configuration on stdin.

Notebooks and the runner start training this way, so that it never runs inside a kernel and a
crash or an interrupt of either leaves the other alone. ``--base-model`` stops before the
reinforcement learning.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Train one run, or only its base model; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m entropy_mech.train")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--base-model", action="store_true")
    arguments = parser.parse_args()
    # Before transformers is imported: its bars and notices say nothing about this run.
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from entropy_mech.errors import UserError
    from entropy_mech.runs.store import RunStore
    from entropy_mech.train.config_io import make_config

    try:
        config = make_config(json.load(sys.stdin))
        if arguments.base_model:
            from entropy_mech.train.pretrain import prepare_base_model

            prepare_base_model(arguments.store, config)
        else:
            from entropy_mech.train.loop import train

            train(config, RunStore(arguments.store))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
