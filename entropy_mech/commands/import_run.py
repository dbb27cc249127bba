"""``entropy-mech import-run NAME PATH``: what was trained elsewhere, in place of a run."""

from __future__ import annotations

import argparse
from pathlib import Path


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "import-run",
        help="take up a run or a log from elsewhere",
        description=(
            "Store a run's folder that was copied here, or the log of another framework (all that "
            "`entropy-mech law` reads), as a run."
        ),
        epilog="example: entropy-mech import-run fig11_7b_kl_cov copied/3f2a --profile paper",
    )
    parser.add_argument("name", help="the run's file in reproduce/runs/, such as fig11_7b_kl_cov")
    parser.add_argument(
        "path", type=Path, help="a run's folder, or a log of any form that `law` reads"
    )
    parser.add_argument("--profile", default="paper", help="toy or paper (paper)")
    parser.add_argument("--seed", type=int, default=1, help="the seed that it stands for (1)")
    parser.add_argument("--entropy", default="", metavar="COL", help="a log's entropy column")
    parser.add_argument(
        "--performance", default="", metavar="COL", help="a log's column of the accuracy"
    )
    parser.add_argument("--step", default="", metavar="COL", help="a log's column of the step")
    parser.add_argument(
        "--run", dest="one_run", default="", metavar="NAME", help="one of several runs in a log"
    )
    parser.add_argument("--replace", action="store_true", help="though the run is there already")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import; print what was taken and where it lies."""
    from entropy_mech.errors import unknown_name
    from entropy_mech.reproduction.targets import check_profile, load_targets, run_config
    from entropy_mech.runs.importing import import_run
    from entropy_mech.runs.store import default_store

    check_profile(arguments.profile)
    if arguments.profile == "published":
        raise unknown_name("profile with runs", "published", ["toy", "paper"])
    known = dict.fromkeys(run for target in load_targets().values() for run in target.runs)
    if arguments.name not in known:
        raise unknown_name("run", arguments.name, known)
    config = run_config(arguments.name, profile=arguments.profile, seed=arguments.seed)
    target = default_store().run(config)
    lines = import_run(
        target,
        arguments.path,
        entropy=arguments.entropy,
        performance=arguments.performance,
        step=arguments.step,
        one_run=arguments.one_run,
        replace=arguments.replace,
    )
    print("\n".join([f"{arguments.name} seed {arguments.seed}: {target.path}", *lines]))
    return 0
