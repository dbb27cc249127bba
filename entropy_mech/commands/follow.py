"""``entropy-mech follow RUN``: watch a run that trains in another process."""

from __future__ import annotations

import argparse
import sys

from entropy_mech.commands.options import count


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "follow",
        help="watch a run until it ends",
        description="Watch a run that is trained anywhere, until it ends. Ctrl-C ends the "
        "watching, not the run.",
        epilog="example: entropy-mech follow fig11_7b_kl_cov --seed 2",
    )
    parser.add_argument(
        "what",
        nargs="?",
        metavar="RUN",
        help="its id or the start of it, its folder, or the name of its file in reproduce/runs/; "
        "the one in training if left out",
    )
    parser.add_argument("--seed", type=count(0), help="of a run named by its file (1)")
    parser.add_argument("--profile", default="toy", help="the same: toy or paper (toy)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Watch; return 1 where the run failed, 130 where the watching was interrupted."""
    from entropy_mech.runs.handle import follow_in_terminal, handle_on
    from entropy_mech.runs.status import newest_run
    from entropy_mech.runs.store import default_store

    store = default_store()
    handle = handle_on(
        arguments.what or newest_run(store),
        store=store,
        profile=arguments.profile,
        seed=arguments.seed,
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
