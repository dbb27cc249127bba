"""Benchmarks by name or group, the paper's and the toys', each with its sampling protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.problems import Problem
from entropy_mech.problems.sources import SOURCES, LoadedSet, load
from entropy_mech.problems.toy import TOYS, ArithmeticProblem

# -- The paper's benchmarks ----------------------------------------------------------------------
# Section 4.3: AIME and AMC are sampled at temperature 0.6 and averaged over 32 responses a
# problem, all others are answered greedily, with at most 8,192 new tokens.


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is sampled; all fields are recorded with its score."""

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
    "gsm8k": ("gsm8k_test", _GREEDY),  # not one of the paper's; small models are measured on it
}


def protocol(name: str) -> Protocol:
    """Return the paper's protocol for a benchmark.

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


# -- Benchmarks made from a seed -----------------------------------------------------------------
# Toys as in section 4.3: the hardest sets are sampled at 0.6 and averaged, the others greedy.
# Arithmetic, of profile smollm, is sampled so often that pass@32 can be told.

_TOY_GREEDY = Protocol(max_new_tokens=96)
_TOY_SAMPLED = Protocol(temperature=0.6, samples=4, max_new_tokens=96)
_ARITHMETIC = Protocol(temperature=1.0, samples=32, max_new_tokens=64)
TOY_BENCHMARKS: dict[str, tuple[Callable[[], Sequence[Problem]], Protocol]] = {
    f"toy_{domain}_{steps}": (partial(TOYS[domain].validation_set, 1, {steps: 100}), protocol)
    for domain, levels, protocol in (
        ("maths", (2, 4, 5), _TOY_GREEDY),
        ("maths", (8, 12), _TOY_SAMPLED),
        ("code", (2, 4), _TOY_GREEDY),
        ("code", (8,), _TOY_SAMPLED),
    )
    for steps in levels
}
ARITHMETIC_BENCHMARKS: dict[str, tuple[Callable[[], Sequence[Problem]], Protocol]] = {
    f"arithmetic_{steps}": (partial(ArithmeticProblem.validation_set, 1, {steps: 24}), _ARITHMETIC)
    for steps in (1, 2, 3, 4)
}
SEEDED_BENCHMARKS = {**TOY_BENCHMARKS, **ARITHMETIC_BENCHMARKS}


def load_toy_benchmark(name: str) -> tuple[list[Problem], Protocol]:
    """Return the held-out problems of a benchmark made from a seed and how it is measured.

    >>> problems, protocol = load_toy_benchmark("toy_maths_4")
    >>> len(problems), protocol.temperature
    (100, 0.0)
    """
    make, protocol = SEEDED_BENCHMARKS[name]
    return list(make()), protocol


# -- By name or group ----------------------------------------------------------------------------

GROUPS = {
    "toy": tuple(TOY_BENCHMARKS),
    "smollm": tuple(ARITHMETIC_BENCHMARKS),
    "paper": tuple(name for name in BENCHMARKS if name != "gsm8k"),
    "one_gpu": ("gsm8k", "math500", "amc", "minerva_math"),
}


@dataclass(frozen=True)
class BenchmarkSet:
    """A benchmark's problems, loaded, and its protocol."""

    name: str
    problems: Sequence[Problem]
    protocol: Protocol


def benchmark_names(given: Sequence[str]) -> list[str]:
    """Return the names, with groups (``GROUPS``) replaced by their members, each once."""
    known = [*GROUPS, *SEEDED_BENCHMARKS, *BENCHMARKS]
    for name in given:
        if name not in known:
            raise unknown_name("benchmark", name, known)
    return list(dict.fromkeys(n for name in given for n in GROUPS.get(name, (name,))))


def load_sets(
    given: Sequence[str],
    *,
    data_dir: str = "",
    limit: int = 0,
    samples: int = 0,
    max_new_tokens: int = 0,
) -> tuple[list[BenchmarkSet], list[str]]:
    """Return the benchmarks of these names and groups, and an error message for each left out.

    A benchmark given by its own name must be in ``data_dir``; members of a group may be missing.
    0 for ``limit``, ``samples`` or ``max_new_tokens`` keeps the protocol's.

    Raises:
        UserError: an unknown name, or nothing that could be loaded.

    """
    sizes = {"samples": samples, "max_new_tokens": max_new_tokens}
    sizes = {name: size for name, size in sizes.items() if size}
    sets, missing = [], []
    for name in benchmark_names(given):
        try:
            if name in SEEDED_BENCHMARKS:
                problems, way = load_toy_benchmark(name)
            else:
                problems, way = load_benchmark(name, data_dir or None).problems, protocol(name)
        except UserError as error:
            if name in given or not data_dir:
                raise
            missing.append(str(error))
            continue
        sets.append(BenchmarkSet(name, problems[: limit or None], replace(way, **sizes)))
    if not sets:
        raise UserError(f"--data-dir = {data_dir}: no benchmark there; {missing[0]}")
    return sets, missing
