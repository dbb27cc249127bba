"""Figure 5: accuracy forecast from the first part of training."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.figures.law import forecast
from entropy_mech.figures.style import (
    LOWEST_NATS,
    ORDINAL_COLOURS,
    log_entropy_axis,
    panels,
    seeds_of,
)
from entropy_mech.findings.early_forecast import early_fit, early_points
from entropy_mech.findings.law_groups import validated
from entropy_mech.theory.law_forecast import forecast_law
from entropy_mech.theory.law_published import published_run

_FRACTION = 0.15


def forecast_figure(frame: pd.DataFrame) -> Figure:
    """Draw a panel a domain: early points, the law through them, and what came after.

    ``frame`` is ``forecast_runs``'. On an empty frame, the run of Fig. 1 left stands alone.
    """
    if frame.empty:
        return panels([[published_forecast]], width_in=7.5, row_height_in=4.2)
    draws = [
        partial(forecast_panel, part, title=f"Ours: {domain}, {seeds_of(part)}")
        for domain, part in frame.groupby("domain", sort=False)
    ]
    return panels([draws], row_height_in=4.6)


def forecast_panel(frame: pd.DataFrame, ax: Axes, *, title: str = "") -> Axes:
    """Draw the forecast of each model from the first 15 % of training, all seeds' points together.

    Filled dots: fitted. Hollow: forecast. Line: the law, solid where it was fitted.
    """
    points = validated(frame)
    for i, (group, part) in enumerate(points.groupby("group", sort=False)):
        colour = ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)]
        early = early_points(part, _FRACTION)
        fitted, later = part[early], part[~early]
        ax.plot(fitted["entropy_nats"], fitted["validation_accuracy"], "o", ms=5, color=colour)
        ax.plot(later["entropy_nats"], later["validation_accuracy"], "o", ms=4, mfc="none",
                mec=colour, mew=0.8, alpha=0.7)  # fmt: skip
        fit = early_fit(fitted)
        if fit is None:
            ax.plot([], [], color=colour, label=f"{group}: no fit")
            continue
        for chosen, style in ((fitted, "-"), (part, "--")):
            entropy = chosen["entropy_nats"].clip(lower=LOWEST_NATS)
            grid = np.geomspace(entropy.min(), entropy.max(), 80)
            ax.plot(grid, fit.predict(grid), style, color=colour, lw=1.5,
                    label=str(group) if style == "-" else None)  # fmt: skip
    ax.plot([], [], "o", color="0.3", ms=5, label=f"first {100 * _FRACTION:.0f} %: fitted")
    ax.plot([], [], "o--", color="0.3", mfc="none", ms=4, label="the rest: forecast")
    log_entropy_axis(ax)
    ax.set(ylabel="validation accuracy (fraction)", title=title)
    ax.legend(frameon=False, fontsize="small")
    return ax


def published_forecast(ax: Axes) -> Axes:
    """Draw the forecast of the run of Fig. 1 left, the one digitised curve that has steps."""
    run = published_run()
    result = forecast_law(run["entropy_nats"], run["performance"], fraction=_FRACTION)
    forecast(result, ax, unit="percent")
    log_entropy_axis(ax)
    ax.set_title("Paper: Qwen2.5-7B (Fig. 1 left, digitised)")
    return ax
