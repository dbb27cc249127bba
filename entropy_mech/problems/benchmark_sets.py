"""Benchmarks by name or group: their problems and protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.problems.benchmarks import BENCHMARKS, Protocol, load_benchmark, protocol
from entropy_mech.problems.problem import Problem
from entropy_mech.problems.toy_benchmarks import TOY_BENCHMARKS, load_toy_benchmark

GROUPS = {"toy": tuple(TOY_BENCHMARKS), "paper": tuple(BENCHMARKS)}


@dataclass(frozen=True)
class BenchmarkSet:
    """A benchmark ready to be asked."""

    name: str
    problems: Sequence[Problem]
    protocol: Protocol


def benchmark_names(given: Sequence[str]) -> list[str]:
    """Return names with groups (toy, paper) spelled out, each once."""
    known = [*GROUPS, *TOY_BENCHMARKS, *BENCHMARKS]
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
    """Return the benchmarks of these names and groups, and why others were left out.

    A benchmark asked for by its own name must be there; of a group, what ``data_dir`` lacks is
    said. ``limit``, ``samples`` and ``max_new_tokens`` 0 keep what is set.

    Raises:
        UserError: an unknown name, or nothing that could be loaded.

    """
    sets, missing = [], []
    for name in benchmark_names(given):
        try:
            if name in TOY_BENCHMARKS:
                problems, way = load_toy_benchmark(name)
            else:
                problems = list(load_benchmark(name, data_dir or None).problems)
                way = protocol(name)
        except UserError as error:
            if name in given or not data_dir:
                raise
            missing.append(str(error))
            continue
        way = replace(
            way,
            samples=samples or way.samples,
            max_new_tokens=max_new_tokens or way.max_new_tokens,
        )
        sets.append(BenchmarkSet(name, problems[: limit or None], way))
    if not sets:
        raise UserError(f"--data-dir = {data_dir}: no benchmark there; {missing[0]}")
    return sets, missing
