"""``entropy-mech pretrain NAME``: make a toy base model anew, into the tree."""

from __future__ import annotations

from typing import Annotated

import typer


def pretrain(
    name: Annotated[
        str, typer.Argument(help="a run's file in reproduce/runs/toy/, such as fig03_qwen2.5_7b")
    ],
) -> int:
    """Train a toy's base model into reproduce/base_models/; stopped, the same command goes on."""
    from entropy_mech.errors import bad_value
    from entropy_mech.runs.status import find_config
    from entropy_mech.runs.store import default_store
    from entropy_mech.train.pretrain import keep_base_model

    config = find_config(name)
    if not config.toy:
        raise bad_value("name", name, "starts from a model that exists; name a toy run")
    print(keep_base_model(name, config, default_store().root))
    return 0
