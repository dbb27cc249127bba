"""The child process that trains: ``python -m entropy_mech.train``, a JSON configuration on stdin.

Under a launcher, whose processes share one stdin, ``--config`` names a file in its place; with
``--gpus`` N this process becomes a launcher of N processes.

Notebooks and the runner start training this way: it never runs inside a kernel, and a crash or an
interrupt of one does not end the other. ``--base-model`` stops before the
reinforcement learning.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from entropy_mech.hub import prepare_libraries


def main() -> int:
    """Train one run, or only its base model; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m entropy_mech.train")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--base-model", action="store_true")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--gpus", type=int, default=0)
    arguments = parser.parse_args()
    prepare_libraries()  # before they are imported
    from entropy_mech.config.files import make_config
    from entropy_mech.errors import UserError, naming_disk_faults
    from entropy_mech.runs.store import RunStore

    try:
        with naming_disk_faults():
            store = RunStore(arguments.store)
            given = arguments.config.read_text() if arguments.config else sys.stdin.read()
            config = make_config(json.loads(given))
            if arguments.gpus:
                _become_launcher(config, arguments)
            if arguments.base_model:
                from entropy_mech.train.pretrain import prepare_base_model

                prepare_base_model(store.root, config)
            else:
                from entropy_mech.train.loop import train

                train(config, store)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _become_launcher(config, arguments) -> NoReturn:
    """Replace this process by torchrun's, which starts one of this module on each GPU."""
    from entropy_mech.runs.cluster import Training
    from entropy_mech.runs.store import RunStore

    place = RunStore(arguments.store).run(config).path / "launched.json"
    place.write_text(config.model_dump_json())
    training = Training(arguments.store, place, nodes=1, gpus_a_node=arguments.gpus)
    os.execv(sys.executable, training.command("localhost"))


if __name__ == "__main__":
    sys.exit(main())
