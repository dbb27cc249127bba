"""Colours, bands and axes that all figures share."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

# Okabe and Ito's palette, which people with the common colour-blindnesses can tell apart.
METHOD_COLOURS = {
    "grpo": "#000000",
    "clip_higher": "#E69F00",
    "clip_cov": "#0072B2",
    "kl_cov": "#009E73",
}
ENTROPY_COLOUR, ACCURACY_COLOUR = "#D55E00", "#0072B2"
ORDINAL_COLOURS = ("#CC79A7", "#56B4E9", "#009E73", "#E69F00", "#0072B2")
SEED_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def band_over_seeds(frame: pd.DataFrame, column: str, ax: Axes, *, colour: str, label: str) -> None:
    """Draw the mean over seeds against step, and a band from the lowest to the highest seed."""
    by_step = frame.dropna(subset=column).groupby("step")[column]
    mean, low, high = by_step.mean(), by_step.min(), by_step.max()
    ax.fill_between(mean.index, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(mean.index, mean, color=colour, lw=1.6, label=label)


def smoothed(frame: pd.DataFrame, column: str, window: int) -> pd.DataFrame:
    """Return the frame with a centred running mean of ``column`` over steps, run by run."""
    keys = [key for key in ("run", "seed") if key in frame]
    ordered = frame.sort_values("step")
    mean = ordered.groupby(keys)[column].transform(
        lambda values: values.rolling(window, center=True, min_periods=1).mean()
    )
    return ordered.assign(**{column: mean})


def log_entropy_axis(ax: Axes) -> None:
    """Set the paper's entropy axis: logarithmic, decreasing to the right."""
    ax.set_xscale("log")
    if not ax.xaxis_inverted():
        ax.invert_xaxis()
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("policy entropy H (nats, log scale)")
