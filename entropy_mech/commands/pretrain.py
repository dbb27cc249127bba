"""``entropy-mech pretrain NAME``: make a toy base model anew, into the tree."""

from __future__ import annotations

import argparse


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "pretrain",
        help="make a toy's base model",
        description="Train the base model of a toy run and put it into reproduce/base_models/ with "
        "a manifest; the same command goes on where it was stopped.",
        epilog="example: entropy-mech pretrain fig03_qwen2.5_0.5b",
    )
    parser.add_argument("name", help="a run's file in reproduce/runs/toy/, without .toml")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; print where the model lies."""
    from entropy_mech.errors import bad_value
    from entropy_mech.runs.find import find_config
    from entropy_mech.runs.store import default_store
    from entropy_mech.train.pretrain import keep_base_model

    config = find_config(arguments.name)
    if not config.toy:
        raise bad_value("name", arguments.name, "starts from a model that exists; name a toy run")
    print(keep_base_model(arguments.name, config, default_store().root))
    return 0
