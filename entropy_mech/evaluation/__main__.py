"""The child process that measures a run's final policy: ``python -m entropy_mech.evaluation``.

A JSON configuration on stdin names the run. Samples that are there are not drawn again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from entropy_mech.hub import prepare_libraries


def main() -> int:
    """Measure one run on a group of benchmarks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m entropy_mech.evaluation")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--group", required=True)
    arguments = parser.parse_args()
    prepare_libraries()  # before they are imported
    from entropy_mech.config.files import make_config
    from entropy_mech.errors import UserError, naming_disk_faults
    from entropy_mech.evaluation.suite import evaluate_run
    from entropy_mech.runs.store import RunStore

    try:
        with naming_disk_faults():
            config = make_config(json.load(sys.stdin))
            evaluate_run(RunStore(arguments.store).run(config), arguments.group)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
