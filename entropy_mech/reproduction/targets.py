"""``reproduce/targets.toml``: one entry a figure or table, and the runs behind it."""

from __future__ import annotations

import ast
import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entropy_mech.config import TrainConfig
from entropy_mech.config.files import load_config
from entropy_mech.errors import (
    UserError,
    bad_value,
    name_list,
    of_text,
    unknown_name,
    whole_number,
)
from entropy_mech.paper.claims import MIN_REPLICATES
from entropy_mech.runs.kept import KEPT, kept_store
from entropy_mech.runs.store import project_root, run_path

# -- The paper's order ---------------------------------------------------------------------------

_KINDS = ("Start here", "A real model", "Figure", "Table", "Listing")


def in_paper_order(targets: Sequence[Target]) -> list[Target]:
    """Return targets as the paper has them; others keep their order and come last.

    The runner's order differs: it takes first what is soon done.
    """
    return sorted(targets, key=_place)  # stable, so that equals keep their order


def _place(target: Target) -> tuple[int, int]:
    for place, kind in enumerate(_KINDS):
        if target.item.startswith(kind):
            number = target.item.removeprefix(kind).strip()
            return place, int(number) if number.isdigit() else 0
    return len(_KINDS), 0


# -- Targets -------------------------------------------------------------------------------------

# toy: tiny transformers on this CPU. smollm: a small language model on this CPU. one_gpu: small
# models on one GPU for a night. paper: the paper's models on GPUs. published: the paper's own
# numbers, digitised or printed, without any run of ours. kept, kept_smollm: what finished runs of
# toy and of smollm measured, kept in the tree.
PROFILES = ("toy", "kept", "published", "smollm", "kept_smollm", "one_gpu", "paper")
# A real model that stands for several of the paper's: not every run of theirs has a file here, and
# of those that have, kept_smollm holds the ones that are trained already, some over more seeds.
_PARTIAL = ("smollm", "kept_smollm", "one_gpu")


@dataclass(frozen=True)
class Target:
    """A figure, table or check: what the paper says, which notebook shows it, from which runs."""

    name: str
    item: str
    title: str
    claim: str
    notebook: str
    runs: tuple[str, ...] = ()
    toy_runs: tuple[str, ...] = ()  # more of them, that only toys and a small model have
    one_gpu_runs: tuple[str, ...] = ()  # more of them, of small models on one GPU
    not_in: tuple[str, ...] = ()  # profiles whose runs do not measure what this one looks at
    taken_from: dict[str, str] = field(default_factory=dict)  # profile: whose runs it has there
    tokens: bool = False  # whether it looks at single tokens of its runs' first step
    evaluate: str = ""  # benchmarks that the trained policies are measured on: toy or paper's
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def notebook_path(self) -> Path:
        """The source notebook."""
        return project_root() / "notebooks" / f"{self.notebook}.ipynb"

    def benchmarks(self, profile: str) -> str:
        """Return the group of benchmarks that a profile's policies are measured on, or ""."""
        profile = self.trained_in(profile)
        groups = {"toy": self.evaluate, "published": ""}
        return groups.get(profile, profile) if self.evaluate else ""

    def configs(
        self, *, profile: str, seed: int, seeds: int, steps: int = 0
    ) -> dict[tuple[str, int], TrainConfig]:
        """Return the configurations of its runs by (run, seed), ``seeds`` from ``seed`` on.

        ``seeds`` 0 takes as many as are kept of all its runs, in other profiles as many as a
        verdict needs. The published profile has no runs, and kept_smollm what is kept: of its runs,
        and of the tenfold doses beside them, as many seeds as all of either have.
        """
        profile = self.in_place_of(profile)
        names, found = self.run_names(profile), {}
        parts = [names]
        if profile == "kept_smollm":
            parts = [[n for n in names if (n in self.toy_runs) == more] for more in (False, True)]
        for part in parts:
            count = seeds or MIN_REPLICATES
            if profile in KEPT and part:
                kept = min(kept_seeds(profile, name, seed, steps) for name in part)
                count = min(seeds or kept, kept) if profile in _PARTIAL else seeds or max(1, kept)
            for name in part:
                first = run_config(name, profile=profile, seed=seed, steps=steps)
                for one in range(seed, seed + count):
                    found[name, one] = first.model_copy(update={"seed": one})
        return found

    def in_place_of(self, profile: str) -> str:
        """Return the profile whose runs this target has in a profile: most often that one."""
        return self.taken_from.get(profile, profile)

    def trained_in(self, profile: str) -> str:
        """Return the same, and of kept runs the profile that trained them."""
        return KEPT.get(self.in_place_of(profile), self.in_place_of(profile))

    def run_names(self, profile: str) -> tuple[str, ...]:
        """Return the files of its runs in a profile; the published one has none."""
        profile, every = self.in_place_of(profile), (*self.runs, *self.toy_runs)
        if profile in _PARTIAL:
            more = self.one_gpu_runs if profile == "one_gpu" else ()
            files = self.trained_in(profile)
            found = [name for name in (*every, *more) if run_path(name, files).is_file()]
            return tuple(n for n in found if files == profile or kept_seeds(profile, n, 1))
        return {"published": (), "paper": self.runs}.get(profile, every)

    def own_run_names(self, profile: str) -> tuple[str, ...]:
        """Return the same, and none where its runs are another profile's."""
        return () if profile in self.taken_from else self.run_names(profile)

    def there_in(self, profile: str) -> bool:
        """Whether a profile has what this target is drawn from; some are checks of toys."""
        if profile in self.not_in:
            return False
        if profile == "paper":
            return all(run_path(name, profile).is_file() for name in self.runs)
        if profile == "kept_smollm":
            return bool(self.run_names(profile))
        return profile not in _PARTIAL or not self.runs or bool(self.run_names(profile))


def check_profile(profile: str) -> None:
    """Refuse a profile that there is not."""
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)


def load_targets() -> dict[str, Target]:
    """Return every target, in the order of the file, which is that of the gallery."""
    table = tomllib.loads((project_root() / "reproduce" / "targets.toml").read_text())
    return {
        name: Target(
            name=name, **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
        )
        for name, entry in table.items()
    }


def find_target(name: str) -> Target:
    """Return one target; an unknown name is an error that says the nearest."""
    targets, wanted = load_targets(), str(name)  # a list has no hash
    if wanted not in targets:
        raise unknown_name("target", name, targets)
    return targets[wanted]


def run_config(name: str, *, profile: str = "toy", seed: int, steps: int = 0) -> TrainConfig:
    """Return the configuration ``reproduce/runs/<profile>/<name>.toml`` for one seed.

    ``steps`` 0 keeps the file's own.
    """
    seed, steps = whole_number("seed", seed), whole_number("steps", steps)
    path = run_path(name, KEPT.get(profile, profile))
    return load_config(path, [f"seed={seed}", *([f"steps={steps}"] if steps else [])])


def kept_seeds(profile: str, name: str, first: int, steps: int = 0) -> int:
    """Return over how many seeds, counting up from ``first``, a run is kept."""
    store, config = kept_store(profile), run_config(name, profile=profile, seed=first, steps=steps)
    seeds = itertools.count(first)
    kept = itertools.takewhile(
        lambda seed: store.run(config.model_copy(update={"seed": seed})).complete, seeds
    )
    return len(list(kept))


def notebook_parameters(path: Path) -> dict[str, str]:
    """Return the names that a notebook's parameters cell assigns, with the values' source text."""
    try:  # as JSON, which it is: every kernel passes here, and nbformat takes seconds to import
        cells = json.loads(path.read_text())["cells"]
    except FileNotFoundError:
        raise UserError(f"notebook = {path}: no such file") from None
    for cell in cells:
        if "parameters" in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines()
            pairs = (line.partition("=") for line in lines if "=" in line)
            return {name.strip(): value.strip() for name, _, value in pairs}
    raise UserError(f"notebook = {path}: no cell is tagged 'parameters'")


def checked_parameters(target: Target, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters for the target's notebook, each of the kind that its own value is of.

    A text, as ``-p NAME VALUE`` gives it, is read as that kind.

    Raises:
        UserError: the notebook has no such parameter, where papermill would only warn, or the
            value is of another kind or below its least.

    """
    known = notebook_parameters(target.notebook_path)
    checked = {}
    for name, value in given.items():
        if name not in known:
            raise unknown_name(f"parameter of {target.notebook}.ipynb", name, known)
        checked[name] = _of_the_kind(name, value, ast.literal_eval(known[name]))
    return checked


def _of_the_kind(name: str, value: Any, default: Any) -> Any:
    """Return the value of a parameter, or raise the error that says what its notebook takes."""
    value = value if isinstance(default, str) else of_text(value)
    if isinstance(default, int) and not isinstance(default, bool):
        return whole_number(
            name, value, least=1 if default and name not in ("seed", "seeds") else 0
        )
    if isinstance(default, float):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
        raise bad_value(name, value, f"give a number, such as {default}")
    if default == []:
        return list(name_list(name, value))
    if isinstance(default, list):
        if not isinstance(value, list | tuple) or not value:
            raise bad_value(name, value, f"give a list, such as {json.dumps(default)}")
        return [_of_the_kind(name, one, default[0]) for one in value]
    if type(value) is not type(default):
        kind = "true or false" if isinstance(default, bool) else "text"
        raise bad_value(name, value, f"give {kind}, such as {json.dumps(default)}")
    return value
