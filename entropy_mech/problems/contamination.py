"""Contamination: benchmark problems that occur in a training set, exactly or nearly."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

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
    return overlaps_of_all(training, [benchmark], least_similarity=least_similarity)[0]


def overlaps_of_all(
    training: LoadedSet, benchmarks: Sequence[LoadedSet], *, least_similarity: float = 0.7
) -> list[list[Overlap]]:
    """Return the ``overlaps`` of each benchmark, of one pass over the training set.

    The index is of the benchmarks, which are small; a training set may have 500,000 problems.
    """
    if not 0 < least_similarity <= 1:
        raise bad_value("least_similarity", least_similarity, "give a fraction above 0, at most 1")
    held_out = [problem for benchmark in benchmarks for problem in benchmark.problems]
    words = [_WORD.findall(problem.text.casefold()) for problem in held_out]
    runs = [_shingles(some) for some in words]
    postings: dict[int, list[int]] = defaultdict(list)
    for place, own in enumerate(runs):
        for run in own:
            postings[run].append(place)
    same_text: dict[str, list[int]] = defaultdict(list)
    for place, some in enumerate(words):
        same_text["".join(some)].append(place)
    exact: dict[int, str] = {}
    nearest: dict[int, tuple[float, str]] = {}
    for problem in training.problems:
        some = _WORD.findall(problem.text.casefold())
        for place in same_text.get("".join(some), ()):
            exact.setdefault(place, problem.id)
        own = _shingles(some)
        shared = Counter(place for run in own for place in postings.get(run, ()))
        for place, count in shared.items():
            similarity = count / min(len(own), len(runs[place]))
            if similarity > nearest.get(place, (0.0, ""))[0]:  # the first of equals
                nearest[place] = similarity, problem.id

    def copies(benchmark: LoadedSet, start: int) -> Iterator[Overlap]:
        for place, problem in enumerate(benchmark.problems, start):
            same = place in exact
            similarity, twin = (1.0, exact[place]) if same else nearest.get(place, (0.0, ""))
            if similarity >= least_similarity:
                yield Overlap(
                    benchmark.name, problem.id, training.name, twin, similarity, exact=same
                )

    starts = accumulate(map(len, benchmarks), initial=0)
    return [list(copies(*pair)) for pair in zip(benchmarks, starts, strict=False)]


def _shingles(words: Sequence[str]) -> set[int]:
    if len(words) < 8:
        return set()
    runs = zip(*(words[i:] for i in range(SHINGLE_WORDS)), strict=False)
    return {hash(run) for run in runs}


def contamination_report(
    training_sets: Iterable[LoadedSet], benchmarks: Iterable[LoadedSet]
) -> str:
    """A Markdown table: exact and near copies of each benchmark in each training set."""
    header = ["training set", "benchmark", "problems", "exact copies", "near copies"]
    rows = [header, ["---"] * len(header)]
    benchmarks = list(benchmarks)
    for training in training_sets:
        for benchmark, found in zip(benchmarks, overlaps_of_all(training, benchmarks), strict=True):
            exact = sum(o.exact for o in found)
            rows.append([training.name, benchmark.name, len(benchmark), exact, len(found) - exact])
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
