"""Rows of the real data sets, which lie beside the repository and are never part of it."""

import json
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"


def rows(name):
    """Rows of a real data set, or skip where the data are not at hand."""
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"the real rows are not here: {path.name}")
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
