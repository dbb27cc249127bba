"""Claims that could fail, and what a measurement says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

REPRODUCED = "reproduced at this scale"
NOT_AT_THIS_SCALE = "not at this scale"
CONTRADICTED = "contradicted"
NO_VERDICT = "no verdict"
HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
# With fewer replicates the interval over seeds says too little to judge by.
MIN_REPLICATES = 3


@dataclass(frozen=True)
class Claim:
    """A statement, the paper's number for it, ours with an interval, and what would satisfy it.

    Attributes:
        statement: what is claimed, in a sentence, with the unit of the number.
        paper: the paper's number, in words.
        estimate: ours.
        low: lower end of its 95 % interval.
        high: upper end.
        replicates: how many independent values stand behind the interval.
        holds: (least, most): the claim is reproduced if the whole interval lies in this range.
        contradicted: (least, most) or None: contradicted if the whole interval lies in this one.
        of: what the replicates are.

    """

    statement: str
    paper: str
    estimate: float
    low: float
    high: float
    replicates: int
    holds: tuple[float, float]
    contradicted: tuple[float, float] | None = None
    of: str = "seeds"

    @property
    def verdict(self) -> str:
        """One of the four verdicts; none is given on fewer than ``MIN_REPLICATES`` values."""
        if self.replicates < MIN_REPLICATES or not math.isfinite(self.low + self.high):
            return NO_VERDICT
        if _inside(self.low, self.high, self.holds):
            return REPRODUCED
        if self.contradicted is not None and _inside(self.low, self.high, self.contradicted):
            return CONTRADICTED
        return NOT_AT_THIS_SCALE

    @property
    def ours(self) -> str:
        """Our number with its interval, in words."""
        number = f"{self.estimate:.3g}"
        if self.replicates < 2:
            return f"{number} (one of the {self.of}: no interval)"
        return f"{number} [{self.low:.3g}, {self.high:.3g}], 95 %, {self.replicates} {self.of}"

    def row(self) -> dict[str, Any]:
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

    def row(self) -> dict[str, Any]:
        """Return the fact as a table row."""
        return _row(self)


def _row(claim: Claim | Fact) -> dict[str, Any]:
    return {
        "claim": claim.statement,
        "paper": claim.paper,
        "ours": claim.ours,
        "verdict": claim.verdict,
    }


def over_replicates(
    statement: str,
    paper: str,
    values: Sequence[float],
    *,
    holds: tuple[float, float],
    contradicted: tuple[float, float] | None = None,
    of: str = "seeds",
) -> Claim:
    """Make a claim from one value a replicate: their mean and its 95 % t-interval.

    >>> over_replicates("x is 2", "2", [1.9, 2.0, 2.1], holds=(1.5, 2.5)).verdict
    'reproduced at this scale'
    """
    values = np.asarray(values, dtype=float)
    mean, n = float(values.mean()), len(values)
    half = math.nan
    if n > 1:
        half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
    return Claim(statement, paper, mean, mean - half, mean + half, n, holds, contradicted, of)


def over_ratios(
    statement: str,
    paper: str,
    ratios: Sequence[float],
    *,
    holds: tuple[float, float],
    contradicted: tuple[float, float] | None = None,
    of: str = "seeds",
) -> Claim:
    """Make a claim from positive ratios: geometric mean, and its interval taken on the logarithms.

    Twice as much and half as much are then equally far from 1, as they should be.

    >>> round(over_ratios("x", "", [0.5, 1.0, 2.0], holds=(0.1, 9.0)).estimate, 9)
    1.0
    """
    log = over_replicates(statement, paper, np.log(np.asarray(ratios, dtype=float)), holds=holds)
    ends = np.exp([log.estimate, log.low, log.high]).tolist()
    return Claim(statement, paper, *ends, log.replicates, holds, contradicted, of)


def over_correlations(
    statement: str,
    paper: str,
    correlations: Sequence[float],
    *,
    holds: tuple[float, float],
    contradicted: tuple[float, float] | None = None,
    of: str = "seeds",
) -> Claim:
    """Make a claim from correlations: the interval is taken on Fisher's z, so it stays within 1.

    A correlation of exactly 1 or -1 has no z; it counts as 1e-6 short of it.

    >>> over_correlations("r", "", [0.98, 0.99, 0.97], holds=(0.9, 1.0)).high < 1
    True
    """
    r = np.clip(np.asarray(correlations, dtype=float), -1 + 1e-6, 1 - 1e-6)
    z = over_replicates(statement, paper, np.arctanh(r), holds=holds)
    ends = np.tanh([z.estimate, z.low, z.high]).tolist()
    return Claim(statement, paper, *ends, z.replicates, holds, contradicted, of)


def _inside(low: float, high: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= low and high <= bounds[1]
