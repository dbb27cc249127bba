"""``entropy-mech reproduce [TARGET ...]``: figures and tables, with what they need."""

from __future__ import annotations

import argparse


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "reproduce",
        help="train what is missing, run the notebooks, write the gallery",
        description="Reproduce figures and tables of the paper: all of them, or those named.",
        epilog="example: entropy-mech reproduce fig11 --seeds 3 -p steps 60",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names such as fig01, tab01")
    parser.add_argument("--profile", default="toy", help="where the runs come from (toy)")
    parser.add_argument("--seed", type=int, default=1, help="first seed (1)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (3)")
    parser.add_argument("--workers", type=int, default=0, help="processes at once (all cores)")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a notebook parameter, as for papermill; may be repeated",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reproduce; print where the gallery lies."""
    from entropy_mech.cli import parse_assignments, positive
    from entropy_mech.reproduction.runner import reproduce

    parameters = parse_assignments(arguments.parameters)
    seed = parameters.pop("seed", arguments.seed)
    seeds = positive("seeds", parameters.pop("seeds", arguments.seeds))
    profile = parameters.pop("profile", arguments.profile)
    gallery = reproduce(
        arguments.targets,
        profile=profile,
        seed=seed,
        seeds=seeds,
        parameters=parameters,
        workers=arguments.workers or None,
    )
    print(f"gallery: {gallery}")
    return 0
