"""Eight toy benchmarks with the interface of the paper's: maths by level, and code; no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from entropy_mech.errors import unknown_name
from entropy_mech.problems.benchmarks import Protocol
from entropy_mech.problems.problem import Problem
from entropy_mech.problems.toy import ModularChains
from entropy_mech.problems.toy_code import toy_code_set

_NEW_TOKENS = 64
# As in section 4.3: the hardest sets are sampled at 0.6 and averaged, the others greedy.
_GREEDY = Protocol(max_new_tokens=_NEW_TOKENS)
_SAMPLED = Protocol(temperature=0.6, samples=4, max_new_tokens=_NEW_TOKENS)


def _sums(terms: int, count: int) -> Callable[[], Sequence[Problem]]:
    return lambda: ModularChains(10).validation_set(1, {terms: count})


def _code(family: str) -> Callable[[], Sequence[Problem]]:
    return lambda: toy_code_set(family, 50, held_out=True)


TOY_BENCHMARKS: dict[str, tuple[Callable[[], Sequence[Problem]], Protocol]] = {
    "toy_sums_2": (_sums(2, 27), _GREEDY),
    "toy_sums_3": (_sums(3, 100), _GREEDY),
    "toy_sums_4": (_sums(4, 100), _GREEDY),
    "toy_sums_5": (_sums(5, 100), _SAMPLED),
    "toy_sums_6": (_sums(6, 100), _SAMPLED),
    "toy_code_shift": (_code("shift"), _GREEDY),
    "toy_code_scale": (_code("scale"), _GREEDY),
    "toy_code_affine": (_code("affine"), _SAMPLED),
}


def load_toy_benchmark(name: str) -> tuple[list[Problem], Protocol]:
    """Return a toy benchmark's held-out problems and how it is measured.

    >>> problems, protocol = load_toy_benchmark("toy_sums_4")
    >>> len(problems), protocol.temperature
    (100, 0.0)
    """
    if name not in TOY_BENCHMARKS:
        raise unknown_name("toy benchmark", name, TOY_BENCHMARKS)
    make, protocol = TOY_BENCHMARKS[name]
    return list(make()), protocol
