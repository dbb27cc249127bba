"""``entropy-mech follow RUN``: watch a run that trains in another process."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from entropy_mech.commands import count


def follow(
    run: Annotated[
        str | None,
        typer.Argument(
            help="its id or the start of it, its folder, or the name of its file in "
            "reproduce/runs/; the one in training if left out"
        ),
    ] = None,
    seed: Annotated[int | None, count("of a run named by its file (1)")] = None,
    profile: Annotated[str, typer.Option(metavar="P", help="the same: toy or paper")] = "toy",
) -> int:
    """Watch a run that is trained anywhere until it ends. Ctrl-C ends the watching, not the run."""
    from entropy_mech.runs.handle import follow_in_terminal, handle_on
    from entropy_mech.runs.status import newest_run
    from entropy_mech.runs.store import default_store

    store = default_store()
    handle = handle_on(
        run or newest_run(store),
        store=store,
        profile=profile,
        seed=seed,
    )
    try:
        status = follow_in_terminal(handle)
    except KeyboardInterrupt:
        print(f"\nwatching ended; {handle.name} goes on", file=sys.stderr)
        return 130
    if status.state == "failed":
        print(status.error, file=sys.stderr)
        return 1
    return 0
