"""Runs of another trainer's, by their log: entropy and reward against optimizer steps."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from entropy_mech.paper.style import METHOD_COLOURS

_COLOURS = {**METHOD_COLOURS, "dapo": METHOD_COLOURS["grpo"]}
_LABELS = {"kl_cov": "KL-Cov", "clip_cov": "Clip-Cov", "dapo": "TRL's default loss (dapo)"}
_OTHER = "#999999"


def against_steps(
    frame: pd.DataFrame, column: str, ax: Axes, *, ylabel: str, window: int = 1
) -> Axes:
    """Draw a column against optimizer steps, a line for each ``loss_type``.

    ``window`` averages over so many steps, centred. An empty frame says so in the axes.
    """
    for name, run in frame.groupby("loss_type", sort=False):
        values = run[column].rolling(window, center=True, min_periods=1).mean()
        colour = _COLOURS.get(name, _OTHER)
        ax.plot(run["step"], values, color=colour, lw=1.6, label=_LABELS.get(name, name))
    ax.set_xlabel("optimizer step")
    ax.set_ylabel(ylabel)
    if len(frame):
        ax.legend(frameon=False)
    else:
        ax.text(0.5, 0.5, "no run", transform=ax.transAxes, ha="center", va="center")
    return ax
