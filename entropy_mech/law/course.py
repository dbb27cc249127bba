"""The course of a run's entropy: the law is about entropy that is spent, and about no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

_SPENT = 0.7  # of the start: the end of a run that spent its entropy lies below
_EXPLODED = 3.0  # times the start, and at least
_EXPLODED_NATS = 2.0
_CONTROLS = r"entropy_(?:coef|coeff|coefficient|bonus)|ent_coef|target_entropy|entropy_target"
_CONTROLS += r"|(?:kl|clip)_?cov(?:$|_(?:frac|coef|ratio|loss|penalty|fraction))"


@dataclass(frozen=True)
class Course:
    """One of the classes of ``course_of`` and a sentence about this run; ``is_law`` for falls."""

    name: str
    sentence: str

    @property
    def is_law(self) -> bool:
        """Whether a fit to such a run may be called the law."""
        return self.name == "falls"


def course_of(
    entropy_nats: np.ndarray, performance: np.ndarray | None = None, *, controlled: str = ""
) -> Course:
    """Return what entropy does over training, all values in training order.

    By medians over a running twentieth of the points, start and end being those of the first and
    last few (a tenth at the end), the first that holds of:

        controlled   ``controlled`` is not empty: it says by what
        explodes     the highest value after the start is 3 times the start and 2 nats or more, or
                     10 times the start
        collapses    performance (never negative) ends below half of its best
        rises        the end lies 10 % above the start, or above it with rank correlation 0.3
        returns      the lowest is below 0.7 of the start, and the end 1.5 times the lowest and a
                     tenth of the way back; or entropy doubles on the way, by more than it falls
        flat         the end is above 0.7 of the start, unless the rank correlation is below -0.7
                     and the end 10 % lower
        held         above 0.3 of the start in the last quarter, with no downward trend in the
                     later half: rank correlation above -0.4, or within 5 %, and a tenth of
                     the fall, from the third quarter
        falls        none of these: entropy is spent, and the law may be asked of it

    >>> course_of(np.linspace(1.0, 0.1, 30)).name, course_of(np.linspace(0.2, 0.6, 30)).name
    ('falls', 'rises')
    """
    entropy = np.asarray(entropy_nats, dtype=np.float64)
    n = len(entropy)
    few = max(min(n // 12, 3), n // 50, 1)
    smooth = pd.Series(entropy).rolling(max(n // 20, min(3, few)), center=True, min_periods=1)
    smooth = smooth.median().to_numpy()
    start, end = np.median(entropy[:few]), np.median(entropy[-max(few, n // 10) :])
    low, peak = smooth.min(), smooth[few:].max(initial=0.0)
    later = entropy[n // 2 :]
    correlation, late = _trend(entropy), _trend(later)
    third, last = np.median(later[: (len(later) + 1) // 2]), np.median(later[len(later) // 2 :])
    way = f"{start:.3g} -> {end:.3g} nats"
    if controlled:
        return Course("controlled", f"entropy is controlled ({controlled}), not simply spent")
    if peak >= max(_EXPLODED * start, _EXPLODED_NATS) or peak >= 10.0 * start > 0.0:
        return Course("explodes", f"entropy explodes, to {peak:.3g} nats from {start:.3g}")
    if performance is not None and _collapses(np.asarray(performance, dtype=np.float64)):
        return Course("collapses", "performance collapses: it ends below half of its best")
    if end > 1.1 * start or (correlation > 0.3 and end > start):
        return Course("rises", f"entropy rises over training ({way})")
    lowest = np.minimum.accumulate(smooth)
    doubles = (smooth >= 2.0 * lowest) & (smooth - lowest > max(start - low, 0.05 * start))
    back = low < _SPENT * start and end > 1.5 * low and end - low > 0.1 * (start - low)
    if back or doubles.any():
        return Course("returns", f"entropy falls and rises again (lowest {low:.3g}; {way})")
    if end > _SPENT * start and not (correlation < -0.7 and end < 0.9 * start):
        return Course("flat", f"entropy is not spent ({way})")
    still = late > -0.4 or abs(third - last) < min(0.05 * third, 0.1 * (start - low))
    if n >= 8 and still and last > 0.3 * start:
        return Course("held", f"entropy seems to be held in the later half, at {last:.3g} nats")
    return Course("falls", f"entropy falls ({way})")


def _trend(values: np.ndarray) -> float:
    """Return the rank correlation with time; 0 where nothing moves."""
    ranks = pd.Series(values).rank().to_numpy()
    return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) if np.ptp(ranks) else 0.0


def control_in(columns: dict[str, np.ndarray], settings: Iterable[str] = ()) -> str:
    """Return what in a log says that entropy is controlled: a setting, or a column not all zero.

    >>> control_in({"actor/entropy_coeff": np.array([0.0, 0.01])}), control_in({"h": np.ones(2)})
    ("column 'actor/entropy_coeff'", '')
    """
    if said := next(iter(settings), ""):
        return said
    for name, column in columns.items():
        if (
            re.search(_CONTROLS, name, re.IGNORECASE)
            and (np.abs(column[column == column]) > 0).any()
        ):
            return f"column {name!r}"
    return ""


def _collapses(performance: np.ndarray) -> bool:
    if len(performance) < 8 or performance.min() < 0.0:
        return False
    means = [part.mean() for part in np.array_split(performance, min(10, len(performance) // 2))]
    return means[-1] < 0.5 * max(means)
