"""``entropy-mech import-run NAME PATH``: what was trained elsewhere, in place of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entropy_mech.commands import count


def import_run(
    name: Annotated[
        str, typer.Argument(help="the run's file in reproduce/runs/, such as fig11_7b_kl_cov")
    ],
    path: Annotated[Path, typer.Argument(help="a run's folder, or any log that `law` reads")],
    profile: Annotated[str, typer.Option(metavar="P", help="toy or paper")] = "paper",
    seed: Annotated[int, count("the seed that it stands for")] = 1,
    entropy: Annotated[str, typer.Option(metavar="COL", help="a log's entropy column")] = "",
    performance: Annotated[str, typer.Option(metavar="COL", help="its accuracy column")] = "",
    step: Annotated[str, typer.Option(metavar="COL", help="its step column")] = "",
    run: Annotated[str, typer.Option(metavar="NAME", help="one of several runs in a log")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="though the run is there")] = False,
) -> int:
    """Take up a run or a log from elsewhere.

    Stores a run's folder that was copied here, or the log of another framework, as a run.
    """
    from entropy_mech.errors import unknown_name
    from entropy_mech.reproduction.targets import check_profile, load_targets, run_config
    from entropy_mech.runs.importing import import_run as import_into
    from entropy_mech.runs.store import default_store

    check_profile(profile)
    if profile == "published":
        raise unknown_name("profile with runs", "published", ["toy", "paper"])
    known = dict.fromkeys(
        run for target in load_targets().values() for run in target.run_names(profile)
    )
    if name not in known:
        raise unknown_name("run", name, known)
    config = run_config(name, profile=profile, seed=seed)
    target = default_store().run(config)
    lines = import_into(
        target,
        path,
        entropy=entropy,
        performance=performance,
        step=step,
        one_run=run,
        replace=replace,
    )
    print("\n".join([f"{name} seed {seed}: {target.path}", *lines]))
    return 0
