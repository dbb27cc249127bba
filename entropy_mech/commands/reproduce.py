"""``entropy-mech reproduce [TARGET ...]``: figures and tables, with what they need."""

from __future__ import annotations

from typing import Annotated

import typer

from entropy_mech.commands import Texts, count, number, switch, text
from entropy_mech.errors import bad_value, folder_path, of_text


def reproduce(
    targets: Annotated[
        Texts, typer.Argument(metavar="TARGET", help="names such as fig01, tab01")
    ] = None,
    profile: Annotated[
        str,
        text(
            "kept, kept_smollm: our evidence; toy, smollm: trained here; published: the paper's "
            "own numbers; one_gpu, paper: trained on GPUs",
            "P",
        ),
    ] = "kept",
    seed: Annotated[int, count("first seed")] = 1,
    seeds: Annotated[int, count("how many; 0: all that are kept, else 3")] = 0,
    check: Annotated[
        int, count("rollouts of each run to train here and compare with the kept ones")
    ] = 0,
    workers: Annotated[int, count("processes at once (0: all cores)")] = 0,
    parameters: Annotated[
        Texts, text("a notebook parameter; may be repeated", "NAME VALUE", "-p")
    ] = None,
    dry_run: Annotated[
        bool, switch("say what would be trained and how, and stop", "--dry-run")
    ] = False,
    gpu_memory_gib: Annotated[float, number("of a GPU", "GIB", above=0)] = 80.0,
    slurm: Annotated[bool, switch("submit the missing runs to Slurm and stop", "--slurm")] = False,
    slurm_set: Annotated[
        Texts, text("its options, as partition=gpu; may be repeated", "KEY=VALUE")
    ] = None,
    keep: Annotated[
        str | None, text("keep what the runs measured there; of kept ones what is new", "FOLDER")
    ] = None,
    write_verdicts: Annotated[
        str | None, text("write verdicts.md and .json there", "FOLDER")
    ] = None,
) -> int:
    """Train what is missing, run the notebooks, write the gallery: all figures, or those named."""
    from entropy_mech.reproduction import runner
    from entropy_mech.runs.kept import KEPT

    # A parameter that is also an option overrides the option. The others stay text: the notebook
    # knows the kind of each.
    given = _pairs("-p", "NAME VALUE, such as steps 24", parameters)
    request = runner.Request(
        tuple(targets or ()),
        given.pop("profile", profile),
        of_text(given.pop("seed", seed)),
        of_text(given.pop("seeds", seeds)),
        check,
        given,
    )
    cluster = _pairs("--slurm-set", "KEY=VALUE, such as partition=gpu", slurm_set)
    options = {key: of_text(value) for key, value in cluster.items()}
    keep_in, write_in = (
        folder if folder is None else folder_path(option, folder, "give another")
        for option, folder in (("--keep", keep), ("--write-verdicts", write_verdicts))
    )  # fmt: skip
    if dry_run:
        print("\n".join(runner.dry_run(request, gpu_memory_gib=gpu_memory_gib)))
        return 0
    if slurm or slurm_set:
        print("\n".join(runner.submit(request, options, gpu_memory_gib)))
        return 0

    def keep_them() -> None:
        count = runner.keep_runs(request, keep_in, workers=workers or None)
        print(f"kept: {count} runs in {keep_in}")

    if keep_in and profile in KEPT:  # first what was trained meanwhile
        keep_them()
    gallery = runner.reproduce(request, workers=workers or None)
    print(f"gallery: {gallery}")
    if keep_in and profile not in KEPT:
        keep_them()
    if write_in:
        print(f"verdicts: {runner.verdicts(request, write_in)}")
    return 0


def _pairs(option: str, form: str, texts: list[str] | None) -> dict[str, str]:
    """Return KEY=VALUE texts as a table; of a repeated key the last counts."""
    pairs = {}
    for pair in texts or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise bad_value(option, pair, f"write it as {form}")
        pairs[key] = value
    return pairs
