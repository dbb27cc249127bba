"""The law fitted to a window of a run's points, and what it then says of all the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from entropy_mech.errors import bad_value
from entropy_mech.figures.style import ACCURACY_COLOUR, ENTROPY_COLOUR
from entropy_mech.theory.law import LawFit, checked_points, fit_law

_FEWEST = 4


@dataclass(frozen=True)
class WindowFit:
    """The law of the points first ... last - 1, and its error on the points after them.

    ``forecast_rmse`` has the unit of the performance; NaN where no point comes after the window.
    """

    fit: LawFit
    first: int
    last: int
    forecast_rmse: float


def fit_window(
    entropy_nats: np.ndarray, performance: np.ndarray, window_percent: tuple[float, float]
) -> WindowFit:
    """Fit the law to the part of the points from ``window_percent[0]`` to ``window_percent[1]``.

    Points ``(n,)`` in training order. A window of fewer than four points grows, to its right if
    there is room. Raises ``UserError`` for fewer than four points in all, percents out of order, or
    points that ``theory.fit_law`` refuses.

    >>> entropy = np.linspace(1.0, 0.1, 20)
    >>> found = fit_window(entropy, 0.9 - 0.2 * np.exp(entropy), (0, 50))
    >>> found.first, found.last, round(found.fit.ceiling, 9), bool(found.forecast_rmse < 1e-12)
    (0, 10, 0.7, True)
    """
    entropy, scores = checked_points(entropy_nats, performance)
    low, high = window_percent
    if not 0 <= low <= high <= 100:
        raise bad_value("window_percent", window_percent, "give two percents, the lower first")
    n = len(entropy)
    if n < _FEWEST:
        raise bad_value("points", n, f"give at least {_FEWEST}: a window is fitted to so many")
    first = min(round(n * low / 100), n - _FEWEST)
    last = max(round(n * high / 100), first + _FEWEST)
    fit = fit_law(entropy[first:last], scores[first:last])
    error = scores[last:] - fit.predict(entropy[last:])
    rmse = float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")
    return WindowFit(fit, first, last, rmse)


def law_window_figure(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    window_percent: tuple[float, float],
    *,
    name: str = "",
) -> Figure:
    """Draw ``law_window`` in a figure of its own, which belongs to no pyplot window."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    law_window(entropy_nats, performance, window_percent, ax)
    ax.set_title(name)
    return figure


def law_window(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    window_percent: tuple[float, float],
    ax: Axes,
) -> Axes:
    """Draw the points (filled: in the window), the law of the window down to H = 0, the ceiling.

    Entropy falls to the right, as training goes; performance in fractions.
    """
    entropy, scores = checked_points(entropy_nats, performance)
    found = fit_window(entropy, scores, window_percent)
    fit, inside = found.fit, np.zeros(len(entropy), dtype=bool)
    inside[found.first : found.last] = True
    ax.plot(entropy[inside], scores[inside], "o", color=ACCURACY_COLOUR, ms=5, zorder=3,
            label=f"fitted ({inside.sum()})")  # fmt: skip
    ax.plot(entropy[~inside], scores[~inside], "o", mfc="none", color="0.45", ms=5,
            label=f"not fitted ({(~inside).sum()})")  # fmt: skip
    grid = np.linspace(0.0, entropy.max(), 120)
    ax.plot(grid, fit.predict(grid), color=ACCURACY_COLOUR, lw=1.4,
            label=rf"law: a = {fit.a:.3g}, b = {fit.b:.3g}")  # fmt: skip
    ax.plot([0.0], [fit.ceiling], marker="_", ms=22, mew=2.5, ls="", color=ENTROPY_COLOUR,
            clip_on=False, zorder=4, label=f"ceiling b - a = {fit.ceiling:.3f}")  # fmt: skip
    if np.isfinite(found.forecast_rmse):
        ax.plot([], [], ls="", label=f"error on later points: {found.forecast_rmse:.3f} (RMSE)")
    _limits(ax, entropy, scores, fit.ceiling)
    ax.set(xlabel="policy entropy H (nats)", ylabel="performance (fraction)")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return ax


def _limits(ax: Axes, entropy: np.ndarray, scores: np.ndarray, ceiling: float) -> None:
    """Keep the axes still while the window moves, unless the ceiling leaves them."""
    ax.set_xlim(1.03 * entropy.max(), -0.02 * entropy.max())
    reach = np.ptp(scores) or 0.1
    low, high = scores.min() - 0.3 * reach, scores.max() + 0.6 * reach
    ax.set_ylim(min(low, ceiling - 0.1 * reach), max(high, ceiling + 0.1 * reach))
