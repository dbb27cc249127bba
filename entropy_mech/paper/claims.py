"""Claims that could fail, what a measurement says of them, and its 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.special import stdtrit

# -- Estimates with intervals: the one vocabulary of all claims, tables and figures --------------

_RESAMPLES, _LEAST_POINTS = 1000, 6


@dataclass(frozen=True)
class Interval:
    """An estimate, its 95 % interval, and how many independent values stand behind it.

    >>> str(mean_interval([1.0, 2.0, 3.0])), str(mean_interval([2.0])), str(mean_interval([]))
    ('2 [-0.484, 4.48]', '2', '-')
    """

    estimate: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.estimate):
            return "-"
        bounds = "" if math.isnan(self.low) else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.estimate:.3g}{bounds}"


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values and Student's interval; NaN ends for a single one.

    >>> mean_interval([1.9, 2.0, 2.1]).estimate
    2.0
    """
    values = np.asarray(values, dtype=float)
    mean, n, half = float(values.mean()) if len(values) else math.nan, len(values), math.nan
    if n > 1:
        half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """Return the geometric mean of positive ratios, and its interval taken on the logarithms.

    Twice as much and half as much are then equally far from 1, as they should be.

    >>> round(ratio_interval([0.5, 1.0, 2.0]).estimate, 9)
    1.0
    """
    log = mean_interval(np.log(np.asarray(ratios, dtype=float)))
    return Interval(*np.exp([log.estimate, log.low, log.high]).tolist(), log.n)


def correlation_interval(correlations: Sequence[float]) -> Interval:
    """Return the mean correlation; the interval is taken on Fisher's z, so it stays within 1.

    A correlation of exactly 1 or -1 has no z; it counts as 1e-6 short of it.

    >>> correlation_interval([0.98, 0.99, 0.97]).high < 1
    True
    """
    r = np.clip(np.asarray(correlations, dtype=float), -1 + 1e-6, 1 - 1e-6)
    z = mean_interval(np.arctanh(r))
    return Interval(*np.tanh([z.estimate, z.low, z.high]).tolist(), z.n)


def correlation(
    x: Sequence[float], y: Sequence[float], weights: Sequence[float] | None = None
) -> float:
    """Return Pearson's correlation, weighted if asked; NaN where one of the two never moves.

    >>> round(correlation([1, 2, 3], [2, 4, 6]), 9)
    1.0
    """
    if len(x) < 2:
        return math.nan
    (xx, xy), (_, yy) = np.cov(x, y, aweights=weights, ddof=0)
    return float(xy / math.sqrt(xx * yy)) if xx * yy > 0 else math.nan


def series_correlation(x: Sequence[float], y: Sequence[float]) -> Interval:
    """Return the correlation of two series along one run, by a moving-block bootstrap.

    Neighbouring steps go together, so blocks of n^(1/3) steps are drawn, not single ones. No
    interval for fewer than six points; ``n`` counts points, which are not independent.
    """
    x, y, n = np.asarray(x, dtype=float), np.asarray(y, dtype=float), len(x)
    if n < _LEAST_POINTS:
        return Interval(correlation(x, y), math.nan, math.nan, n)
    length = round(n ** (1 / 3))
    starts = np.random.default_rng(0).integers(
        0, n - length + 1, size=(_RESAMPLES, -(-n // length))
    )
    places = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, :n]
    drawn = [correlation(x[row], y[row]) for row in places]
    return Interval(correlation(x, y), *np.nanquantile(drawn, [0.025, 0.975]).tolist(), n)


# -- Claims --------------------------------------------------------------------------------------

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


class _Stated:
    def row(self) -> dict[str, str]:
        """Return the claim as a table row."""
        names = {"claim": "statement", "ours": "ours", "paper": "paper", "verdict": "verdict"}
        return {column: getattr(self, name) for column, name in names.items()}


@dataclass(frozen=True)
class Claim(_Stated):
    """A statement, the paper's number for it, ours with an interval, and what would satisfy it.

    Attributes:
        statement: what is claimed, in a sentence, with the unit of the number.
        paper: the paper's number, in words.
        interval: our number over independent replicates.
        judged_by: where the whole interval has to lie.
        of: what the replicates are.

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


@dataclass(frozen=True)
class Fact(_Stated):
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
