"""Where a run's final policy is measured on benchmarks: folders of the run, found by content.

``evaluation/<group>/<step>-<digest>/`` holds a file of samples a benchmark and, when all are done,
``scores.json``. The digest is of the group's problems and protocols: scores of problems that have
changed since are not taken for new ones. Needs no torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_mech.errors import unknown_name
from entropy_mech.problems.benchmarks import GROUPS, load_toy_benchmark, protocol
from entropy_mech.runs.store import Run, read_json, read_json_if_whole

COLUMNS = ("step", "benchmark", "accuracy", "standard_error", "problems", "samples")


def group_of(name: str) -> tuple[str, ...]:
    """Return the benchmarks of a group; an unknown one is an error that says the nearest."""
    if name not in GROUPS:
        raise unknown_name("group of benchmarks", name, GROUPS)
    return GROUPS[name]


def evaluation_folder(run: Run, group: str) -> Path | None:
    """Return where the run's newest policy is measured; None where the run has no policy."""
    policy = run.newest_model()
    if policy is None:
        return None
    return run.path / "evaluation" / group / f"{policy.name}-{group_digest(group)}"


def evaluated(run: Run, group: str) -> bool:
    """Whether the run's newest policy has been measured on all benchmarks of a group."""
    folder = evaluation_folder(run, group)
    return folder is not None and scored(folder)


def scored(folder: Path) -> bool:
    """Whether all of a folder's benchmarks have been measured; a damaged file says no."""
    return "scores" in read_json_if_whole(folder / "scores.json")


def scores(run: Run, group: str) -> pd.DataFrame:
    """Return what was measured, a row a benchmark, in the group's order; empty before that.

    ``step`` is the number of rollouts behind the policy: all that the run has done, which is more
    than its configuration asks for where a longer run was made of it.
    """
    folder = evaluation_folder(run, group)
    found: dict[str, Any] = read_json(folder / "scores.json") if folder else {}
    rows = [{"step": found["step"], **score} for score in found.get("scores", [])]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@functools.cache
def group_digest(group: str) -> str:
    """Return 8 hex digits that name a group's problems (a toy's: the others lie elsewhere)."""
    parts: list[Any] = []
    for name in group_of(group):
        if group == "toy":
            problems, way = load_toy_benchmark(name)
            parts += [name, asdict(way), [[p.prompt, str(p.reference)] for p in problems]]
        else:
            parts += [name, asdict(protocol(name))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
