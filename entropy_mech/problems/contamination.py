"""Contamination: benchmark problems that occur in a training set, exactly or nearly."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from entropy_mech.errors import bad_value
from entropy_mech.problems.sources import LoadedSet

SHINGLE_WORDS = 5
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Overlap:
    """A benchmark problem with its nearest training problem.

    ``similarity`` is the share of the shorter text's runs of five words that the other text has
    too; 1 for texts that are equal in their letters and digits (``exact``).
    """

    benchmark: str
    problem_id: str
    training_set: str
    training_id: str
    similarity: float
    exact: bool


def overlaps(
    training: LoadedSet, benchmark: LoadedSet, *, least_similarity: float = 0.7
) -> list[Overlap]:
    """Find the benchmark problems that a training set holds, the most similar copy of each.

    Exact copies are found whatever their length; near copies need at least eight words. Paraphrases
    and translations are not found: counts are lower bounds.
    """
    if not 0 < least_similarity <= 1:
        raise bad_value("least_similarity", least_similarity, "give a fraction above 0, at most 1")
    by_key: dict[str, str] = {}
    postings: dict[int, list[int]] = defaultdict(list)
    sizes = []
    for position, problem in enumerate(training.problems):
        words = _WORD.findall(problem.text.casefold())
        by_key.setdefault("".join(words), problem.id)
        runs = _shingles(words)
        sizes.append(len(runs))
        for run in runs:
            postings[run].append(position)
    found = []
    for problem in benchmark.problems:
        words = _WORD.findall(problem.text.casefold())
        key = "".join(words)
        exact = key in by_key
        near, similarity = (0, 1.0) if exact else _nearest(_shingles(words), postings, sizes)
        if similarity >= least_similarity:
            twin = by_key[key] if exact else training.problems[near].id
            copy = training.name, twin, similarity, exact
            found.append(Overlap(benchmark.name, problem.id, *copy))
    return found


def _shingles(words: Sequence[str]) -> set[int]:
    if len(words) < 8:
        return set()
    runs = zip(*(words[i:] for i in range(SHINGLE_WORDS)), strict=False)
    return {hash(run) for run in runs}


def _nearest(runs: set[int], postings, sizes) -> tuple[int, float]:
    """Return the position and the similarity of the training text that shares most runs."""
    shared = Counter(position for run in runs for position in postings.get(run, ()))
    if not shared:
        return 0, 0.0
    share = {p: count / min(len(runs), sizes[p]) for p, count in shared.items()}
    best = max(share, key=lambda p: (share[p], -p))
    return best, share[best]


def contamination_report(
    training_sets: Iterable[LoadedSet], benchmarks: Iterable[LoadedSet]
) -> str:
    """A Markdown table: exact and near copies of each benchmark in each training set."""
    header = ["training set", "benchmark", "problems", "exact copies", "near copies"]
    rows = [header, ["---"] * len(header)]
    for training, benchmark in product(training_sets, list(benchmarks)):
        found = overlaps(training, benchmark)
        exact = sum(o.exact for o in found)
        rows.append([training.name, benchmark.name, len(benchmark), exact, len(found) - exact])
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
