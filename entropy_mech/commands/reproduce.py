"""``entropy-mech reproduce [TARGET ...]``: figures and tables, with what they need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from entropy_mech.commands import count, number
from entropy_mech.errors import bad_value, folder_path, whole_number


def reproduce(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="TARGET", help="names such as fig01, tab01")
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            metavar="P",
            help="kept evidence; toy: trained here; published: the paper's numbers; paper",
        ),
    ] = "toy",
    seed: Annotated[int, count("first seed")] = 1,
    seeds: Annotated[int, count("how many; 0: all that are kept, else 3")] = 0,
    check: Annotated[
        int, count("rollouts of each run to train here and compare with the kept ones")
    ] = 0,
    workers: Annotated[int, count("processes at once (0: all cores)")] = 0,
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="a notebook parameter; may be repeated"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be trained and how, and stop")
    ] = False,
    gpu_memory_gib: Annotated[float, number("of a GPU", "GIB", above=0)] = 80.0,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="submit the missing runs to Slurm and stop")
    ] = False,
    slurm_set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="its options, as partition=gpu; may be repeated"),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="keep what the runs measured there")
    ] = None,
    write_verdicts: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="write verdicts.md and .json there")
    ] = None,
) -> int:
    """Train what is missing, run the notebooks, write the gallery: all figures, or those named."""
    from entropy_mech.reproduction import runner

    ours = {"seed": seed, "seeds": seeds, "profile": profile}
    given = _pairs("-p", "NAME VALUE, such as steps 24", parameters)
    request = replace(_request(targets or [], given, ours), check=check)
    cluster = _pairs("--slurm-set", "KEY=VALUE, such as partition=gpu", slurm_set)
    options = {key: _literal(value) for key, value in cluster.items()}
    if keep is not None:
        folder_path("--keep", keep, "give another")
    if write_verdicts is not None:
        folder_path("--write-verdicts", write_verdicts, "give another")
    if dry_run:
        print("\n".join(runner.dry_run(request, gpu_memory_gib=gpu_memory_gib)))
        return 0
    if slurm or slurm_set:
        print("\n".join(runner.submit(request, options, gpu_memory_gib)))
        return 0
    gallery = runner.reproduce(request, workers=workers or None)
    print(f"gallery: {gallery}")
    if keep:
        print(f"kept: {runner.keep_runs(request, Path(keep))} runs in {keep}")
    if write_verdicts:
        print(f"verdicts: {runner.verdicts(request, Path(write_verdicts))}")
    return 0


def _pairs(option: str, form: str, texts: list[str] | None) -> dict[str, str]:
    """Return what KEY=VALUE words say; of a key said twice, the last."""
    pairs = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise bad_value(option, text, f"write it as {form}")
        pairs[key] = value
    return pairs


def _request(targets: list[str], parameters: dict[str, str], ours: dict[str, Any]):
    """Return the request; notebook parameters that are options here too win over the options.

    The others stay texts: what kind of value each is to be, its notebook says.
    """
    from entropy_mech.reproduction.runner import Request

    said = ours | {name: _literal(parameters[name]) for name in ours if name in parameters}
    seed = whole_number("seed", said["seed"])
    seeds = whole_number("seeds", said["seeds"])
    profile = parameters.get("profile", ours["profile"])
    others = {name: text for name, text in parameters.items() if name not in ours}
    return Request(tuple(targets), profile, seed, seeds, parameters=others)


def _literal(text: str) -> Any:
    """Return a number or true/false as such."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue  # not of this kind: try the next, else it is text
    return text
