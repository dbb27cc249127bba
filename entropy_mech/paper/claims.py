"""Claims that could fail, and what a measurement says of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import inf

from entropy_mech.paper.statistics import Interval

REPRODUCED = "reproduced"
CONTRADICTED = "contradicted"  # the opposite holds
FALLS_SHORT = "falls short"  # the whole interval lies on the wrong side of the threshold
UNDECIDED = "undecided"  # the interval straddles it
NO_VERDICT = "no verdict"
HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
# With fewer replicates the interval over seeds says too little to judge by.
MIN_REPLICATES = 3


@dataclass(frozen=True)
class Range:
    """Where the whole interval must lie for a claim to be reproduced, or to be contradicted.

    Reproduced from ``least`` to ``most``; contradicted at or below ``contradicted_below``, or at
    or above ``contradicted_above``; between them it falls short.
    """

    least: float = -inf
    most: float = inf
    contradicted_below: float = -inf
    contradicted_above: float = inf


def at_least(least: float, *, contradicted_below: float = -inf) -> Range:
    """Return the range of a claim that something is large."""
    return Range(least, contradicted_below=contradicted_below)


def at_most(most: float, *, contradicted_above: float = inf) -> Range:
    """Return the range of a claim that something is small."""
    return Range(most=most, contradicted_above=contradicted_above)


def half_of_difference(papers: float) -> Range:
    """Return the range of a claim of more: at least half the paper's own difference.

    At a threshold of zero any gain however small would reproduce the paper's, and no gain,
    however precisely measured, would ever speak against it. Half of what the paper has is
    the middle between its effect and none.

    >>> half_of_difference(0.048)
    Range(least=0.024, most=inf, contradicted_below=0.0, contradicted_above=inf)
    """
    return at_least(papers / 2, contradicted_below=0.0)


def half_of_ratio(papers: float) -> Range:
    """Return the same for a ratio, half on the logarithm's scale: its square root.

    >>> half_of_ratio(2.25).least
    1.5
    """
    return at_least(math.sqrt(papers), contradicted_below=1.0)


@dataclass(frozen=True)
class Claim:
    """A statement, the paper's number for it, ours with an interval, and what would satisfy it.

    Attributes:
        statement: what is claimed, in a sentence, with the unit of the number.
        paper: the paper's number, in words.
        interval: our number over independent replicates.
        judged_by: where the whole interval has to lie.
        of: what the replicates are.

    >>> from entropy_mech.paper.statistics import mean_interval
    >>> Claim("x is 2", "2", mean_interval([1.9, 2.0, 2.1]), Range(1.5, 2.5)).verdict
    'reproduced'

    """

    statement: str
    paper: str
    interval: Interval
    judged_by: Range
    of: str = "seeds"

    @property
    def verdict(self) -> str:
        """One of the four verdicts; none is given on fewer than ``MIN_REPLICATES`` values."""
        low, high, bounds = self.interval.low, self.interval.high, self.judged_by
        if self.interval.n < MIN_REPLICATES or not math.isfinite(low + high):
            return NO_VERDICT
        if bounds.least <= low and high <= bounds.most:
            return REPRODUCED
        if high <= bounds.contradicted_below or low >= bounds.contradicted_above:
            return CONTRADICTED
        if high < bounds.least or low > bounds.most:
            return FALLS_SHORT
        return UNDECIDED

    @property
    def ours(self) -> str:
        """Our number with its interval, in words."""
        found = self.interval
        if found.n < 2:
            return f"{found.estimate:.3g} (one of the {self.of}: no interval)"
        bounds = f"[{found.low:.3g}, {found.high:.3g}]"
        return f"{found.estimate:.3g} {bounds}, 95 %, {found.n} {self.of}"

    def row(self) -> dict[str, str]:
        """Return the claim as a table row."""
        return _row(self)


@dataclass(frozen=True)
class Fact:
    """A statement that needs no replicates: about given data, or true or false by computation.

    ``holds`` is None where it could not be tested.
    """

    statement: str
    paper: str
    ours: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold`` or ``no verdict``."""
        if self.holds is None:
            return NO_VERDICT
        return HOLDS if self.holds else DOES_NOT_HOLD

    def row(self) -> dict[str, str]:
        """Return the fact as a table row."""
        return _row(self)


def _row(claim: Claim | Fact) -> dict[str, str]:
    names = {"claim": "statement", "ours": "ours", "paper": "paper", "verdict": "verdict"}
    return {column: getattr(claim, name) for column, name in names.items()}
