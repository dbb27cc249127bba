"""The paper's training sets: Eurus-2-RL, GSM8K, DAPO-Math, AceCode and KodCode."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from entropy_mech.errors import unknown_name
from entropy_mech.problems.loading import LoadedSet, load, union
from entropy_mech.problems.sources import SOURCES

TRAINING_SETS = (
    "eurus_math",
    "eurus_math_difficult",
    "gsm8k",
    "dapo_math",
    "acecode",
    "eurus_code",
    "kodcode",
)


def load_training_set(name: str, data_dir: str | Path | None = None) -> LoadedSet:
    """Load a training set by name, from the hub or from ``data_dir/NAME.jsonl`` (or .parquet).

    Repeated texts are kept once, texts with contradicting answers not at all; the counts are in
    the result. Raises UserError as :func:`entropy_mech.problems.benchmarks.load_benchmark` does.
    """
    if name not in TRAINING_SETS:
        raise unknown_name("training set", name, TRAINING_SETS)
    return load(SOURCES[name], data_dir)


def load_training_sets(names: Iterable[str], data_dir: str | Path | None = None) -> LoadedSet:
    """Load the union of training sets: a text that several hold is kept once.

    Texts to which they give contradicting answers are dropped, as within one set.
    """
    return union([load_training_set(name, data_dir) for name in names])
