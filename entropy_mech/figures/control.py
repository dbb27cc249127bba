"""Figure 11: entropy, response length and accuracy under the four methods, at two sizes."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech import published
from entropy_mech.figures.style import (
    METHOD_COLOURS,
    band_over_seeds,
    log_entropy_scale,
    ours,
    panels,
    seeds_of,
    smoothed,
)
from entropy_mech.findings.control import METHODS, SIZES, with_method

_COLUMNS = {
    "entropy_nats": ("policy entropy H (nats, log scale)", "entropy", 1.0),
    "response_length_mean": ("response length (tokens)", "response_length", 1.0),
    "validation_accuracy": ("accuracy (fraction)", "test_acc_pct", 0.01),
}
_WINDOW = 5


def control_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 11: a row a size, entropy, length and accuracy; the paper's rows below ours.

    ``frame`` is ``Report.metrics()``; where it is empty the paper's rows stand alone.
    """
    there = set(with_method(frame)["size"])
    sizes = [size for size in SIZES if size in there]
    rows = [[partial(curves, frame, column, size=size) for column in _COLUMNS] for size in sizes]
    rows += [
        [partial(published_curves, column, size=size) for column in _COLUMNS]
        for size in sizes or SIZES
    ]
    figure = panels(rows)
    for ax in figure.axes[:: len(_COLUMNS)]:
        ax.legend(frameon=False, fontsize="small")
    return figure


def entropy_figure(frame: pd.DataFrame, *, size: str = "7b") -> Figure:
    """Draw the entropy of the methods there are beside the paper's; the paper's alone if none."""
    draws = [partial(published_curves, "entropy_nats", size=size)]
    if len(frame):
        draws.insert(0, partial(curves, frame, "entropy_nats", size=size))
    figure = panels([draws], width_in=6.0 * len(draws), row_height_in=4.2)
    for ax in figure.axes:
        ax.legend(frameon=False, fontsize="small")
    return figure


def curves(frame: pd.DataFrame, column: str, ax: Axes, *, size: str = "7b") -> Axes:
    """Draw one metric of all methods against rollout steps: mean and range over seeds.

    Entropy and length are running means of five rollouts; accuracy is as measured.
    """
    frame = with_method(frame)
    frame = frame[frame["size"] == size]
    for method, label in METHODS.items():
        part = frame[frame["method"] == method]
        if column != "validation_accuracy":
            part = smoothed(part, column, _WINDOW)
        if len(part):
            band_over_seeds(part, column, ax, colour=METHOD_COLOURS[method], label=label)
    _dress(ax, column, "rollout step")
    ax.set_title(f"{ours(frame)}: {SIZES[size]}, {seeds_of(frame)}")
    return ax


def published_curves(column: str, ax: Axes, *, size: str = "7b") -> Axes:
    """Draw the paper's Fig. 11 for one size, digitised: a point a reading."""
    _, metric, scale = _COLUMNS[column]
    frame = published.load("fig11")
    frame = frame[(frame["model"] == size.upper()) & (frame["metric"] == metric)]
    for method, label in METHODS.items():
        part = frame[frame["method"] == label.replace("-", "_")]
        ax.plot(
            part["step"], part["value"] * scale, color=METHOD_COLOURS[method], lw=1.2, ls="--",
            marker="o", ms=2.5, label=label,
        )  # fmt: skip
    _dress(ax, column, "gradient step")
    ax.set_title(f"Paper: {SIZES[size]} (Fig. 11, digitised)")
    return ax


def _dress(ax: Axes, column: str, step: str) -> None:
    ax.set(xlabel=step, ylabel=_COLUMNS[column][0])
    if column == "entropy_nats":
        log_entropy_scale(ax)
