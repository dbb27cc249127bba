"""``entropy-mech reproduce [TARGET ...]``: figures and tables, with what they need."""

from __future__ import annotations

import argparse
from pathlib import Path

from entropy_mech.commands.options import count, size
from entropy_mech.errors import bad_value, folder_path, whole_number

_OURS = ("seed", "seeds", "profile")  # parameters of all notebooks that are options here too


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "reproduce",
        usage="entropy-mech reproduce [options] [TARGET ...]",
        help="train what is missing, run the notebooks, write the gallery",
        description="Reproduce figures and tables of the paper: all of them, or those named.",
        epilog="example: entropy-mech reproduce fig11 --seeds 3 -p steps 24",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names such as fig01, tab01")
    parser.add_argument(
        "--profile",
        default="toy",
        help="toy: tiny models on this CPU (default); published: the paper's numbers alone; "
        "paper: the paper's models, on GPUs",
    )
    parser.add_argument("--seed", type=int, default=1, help="first seed (1)")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds (1; verdicts need 3)")
    parser.add_argument("--workers", type=count(0), default=0, help="processes at once (all cores)")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a notebook parameter, as for papermill; may be repeated",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be trained, on what and how long, with the commands; then stop",
    )
    parser.add_argument(
        "--gpu-memory-gib", type=size, default=80.0, metavar="GIB", help="of a GPU (80)"
    )
    parser.add_argument(
        "--slurm", action="store_true", help="submit the missing runs to the Slurm cluster and stop"
    )
    parser.add_argument(
        "--slurm-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the cluster, for instance partition=gpu; may be repeated",
    )
    parser.add_argument(
        "--write-verdicts",
        metavar="FOLDER",
        help="then write verdicts.md and verdicts.json there, from the results that there are",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reproduce; print where the gallery lies."""
    from entropy_mech.reproduction import runner

    request, options = _request(arguments), _options(arguments)
    if arguments.write_verdicts is not None:
        folder_path("--write-verdicts", arguments.write_verdicts, "give another")
    if arguments.dry_run:
        print("\n".join(runner.dry_run(request, gpu_memory_gib=arguments.gpu_memory_gib)))
        return 0
    if arguments.slurm or arguments.slurm_set:
        print("\n".join(runner.submit(request, options, arguments.gpu_memory_gib)))
        return 0
    gallery = runner.reproduce(request, workers=arguments.workers or None)
    print(f"gallery: {gallery}")
    if arguments.write_verdicts:
        print(f"verdicts: {runner.verdicts(request, Path(arguments.write_verdicts))}")
    return 0


def _request(arguments: argparse.Namespace):
    from entropy_mech.commands.arguments import parse_assignments
    from entropy_mech.reproduction.runner import Request

    # As texts: what kind of value each is to be, its notebook says.
    parameters = dict(arguments.parameters)
    said = parse_assignments([(name, text) for name, text in parameters.items() if name in _OURS])
    seed = whole_number("seed", said.get("seed", arguments.seed))
    seeds = whole_number("seeds", said.get("seeds", arguments.seeds), least=1)
    profile = parameters.get("profile", arguments.profile)
    others = {name: text for name, text in parameters.items() if name not in _OURS}
    return Request(tuple(arguments.targets), profile, seed, seeds, others)


def _options(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the cluster's options, numbers as numbers."""
    from entropy_mech.commands.arguments import parse_assignments

    pairs = []
    for text in arguments.slurm_set:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise bad_value("--slurm-set", text, "write it as KEY=VALUE, such as partition=gpu")
        pairs.append((key, value))
    return parse_assignments(pairs)
