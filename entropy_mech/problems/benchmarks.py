"""The paper's benchmarks and how each is measured.

Section 4.3: AIME and AMC are sampled at temperature 0.6 and averaged over 32 responses a
problem, all others are answered greedily, with at most 8,192 new tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from entropy_mech.errors import unknown_name
from entropy_mech.problems.loading import LoadedSet, load
from entropy_mech.problems.sources import SOURCES


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is measured; every field is part of a score's record."""

    temperature: float = 0.0
    samples: int = 1
    max_new_tokens: int = 8192
    tolerances: dict[str, float] = field(default_factory=dict)


_SAMPLED = Protocol(temperature=0.6, samples=32)
_GREEDY = Protocol()
# Minerva's references are rounded numbers; Qwen's evaluation allows the same 1e-4.
_ROUNDED = Protocol(tolerances={"relative_tolerance": 1e-4})
BENCHMARKS: dict[str, tuple[str, Protocol]] = {
    "math500": ("math500", _GREEDY),
    "aime24": ("aime24", _SAMPLED),
    "aime25": ("aime25", _SAMPLED),
    "amc": ("amc", _SAMPLED),
    "olympiadbench": ("olympiadbench", _GREEDY),
    "omni_math": ("omni_math", _GREEDY),
    "minerva_math": ("minerva_math", _ROUNDED),
    "eurus_code": ("eurus_code_test", _GREEDY),
    "kodcode": ("kodcode_test", _GREEDY),
}


def protocol(name: str) -> Protocol:
    """The paper's way of measuring a benchmark.

    >>> protocol("aime24").samples, protocol("math500").temperature
    (32, 0.0)
    """
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name][1]


def load_benchmark(name: str, data_dir: str | Path | None = None) -> LoadedSet:
    """Load a benchmark by name, from the hub or from ``data_dir/NAME.jsonl`` (or .parquet).

    Rows of one text are kept once. Raises UserError for an unknown name, an unreachable hub, a
    missing file or a changed column.
    """
    way = protocol(name)
    source, _ = BENCHMARKS[name]
    return load(SOURCES[source], data_dir, tolerances=way.tolerances)
