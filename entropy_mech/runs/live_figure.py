"""Entropy and accuracy of runs that are still training."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from entropy_mech.paper.style import ACCURACY_COLOUR, ENTROPY_COLOUR, ORDINAL_COLOURS

_COLUMNS = {
    "entropy_nats": ("policy entropy H (nats)", ENTROPY_COLOUR),
    "validation_accuracy": ("validation accuracy (fraction)", ACCURACY_COLOUR),
}


def live_figure(frames: Mapping[str, pd.DataFrame], *, total: int) -> Figure:
    """Draw entropy and accuracy against rollouts, on axes as long as the runs will be.

    The figure belongs to no pyplot window, so that it can be drawn again and again while others
    are open.

    Args:
        frames: by the run's name its metrics so far; may be empty.
        total: rollouts of the longest run.

    """
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, column in zip(figure.subplots(1, 2), _COLUMNS, strict=True):
        progress(frames, column, ax, total=total)
    return figure


def progress(frames: Mapping[str, pd.DataFrame], column: str, ax: Axes, *, total: int) -> Axes:
    """Draw one column of each frame against its step; a single run in the column's own colour."""
    label, colour = _COLUMNS[column]
    for i, (name, frame) in enumerate(frames.items()):
        points = frame.dropna(subset=column) if column in frame else pd.DataFrame(columns=["step"])
        chosen = colour if len(frames) == 1 else ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)]
        marker = "o" if column == "validation_accuracy" else ""
        ax.plot(
            points["step"], points.get(column, []), color=chosen, lw=1.6, marker=marker, ms=3.5,
            label=name,
        )  # fmt: skip
    ax.set(xlabel="rollout step", ylabel=label, xlim=(0, max(total, 1)))
    if column == "validation_accuracy":
        ax.set_ylim(0, 1)
    else:
        ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    if len(frames) > 1:
        ax.legend(frameon=False, fontsize="small")
    return ax
