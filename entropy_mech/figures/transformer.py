"""Lemma 1 on a transformer: what was predicted for a prefix, and what happened."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from entropy_mech.figures.covariance import published_covariance_and_fall
from entropy_mech.figures.style import panels
from entropy_mech.findings.transformer import (
    MAIN_RUN,
    PREDICTIONS,
    RUNS,
    agreement,
    by_token_entropy,
)

COLOURS = dict(zip(PREDICTIONS, ("#0072B2", "#56B4E9", "#D55E00", "#CC79A7"), strict=True))
_STYLES = dict(zip(RUNS, ("-", "--", ":"), strict=True))


def one_step_figure(frame: pd.DataFrame) -> Figure:
    """Draw the first checked step of the first seed: Lemma 1, and Theorems 1 and 2 as tables.

    ``frame`` is ``Report.lemma1()``'s. Where it is empty: the paper's Fig. 8 left, which has no
    prefixes and is the nearest that it shows.
    """
    if frame.empty:
        return panels([[published_covariance_and_fall]], width_in=7.0, row_height_in=4.2)
    part = frame[frame["run"] == MAIN_RUN]
    part = part[part["seed"] == part["seed"].min()]
    part = part[part["step"] == part["step"].min()]
    names = ("first_order", "theorem1", "theorem2")
    return panels([[partial(predicted_and_exact, part, name) for name in names]], row_height_in=4.4)


def training_figure(frame: pd.DataFrame) -> Figure:
    """Draw correlations over training by run, and the gap by the prefix's entropy."""
    if frame.empty:
        return panels([[_nothing_published]], width_in=7.0, row_height_in=1.0)
    draws = [partial(correlation_over_training, frame), partial(gap_by_entropy, frame)]
    return panels([draws], row_height_in=4.8)


def predicted_and_exact(frame: pd.DataFrame, prediction: str, ax: Axes) -> Axes:
    """Scatter the exact dH of each prefix against a prediction; the area is its visits.

    Tabular predictions are per unit of step size and are drawn with the best single scale.
    """
    exact, predicted = frame["exact"].to_numpy(), frame[prediction].to_numpy()
    weight = frame["visits"].to_numpy()
    tabular = prediction.startswith("theorem")
    scale = (weight * predicted * exact).sum() / (weight * predicted**2).sum() if tabular else 1.0
    ax.scatter(
        scale * predicted, exact, s=2 + 3 * weight**0.5, color=COLOURS[prediction], alpha=0.35, lw=0
    )
    limit = 1.05 * np.abs(exact).max()
    ax.plot([-limit, limit], [-limit, limit], color="0.4", lw=0.8)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    unit = f"$\\eta$ = {scale:.2g}, fitted" if tabular else "no fitted number"
    ax.set_xlabel(f"predicted $\\Delta H$ (nats); {unit}")
    ax.set_ylabel(r"exact $\Delta H$ (nats)")
    ax.set_title(PREDICTIONS[prediction])
    return ax


def correlation_over_training(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each prediction's correlation with the exact change against steps, a style a run."""
    table = agreement(frame, ["run", "seed", "step"])
    means = table.groupby(["run", "prediction", "step"])["correlation"].mean()
    for run, style in _STYLES.items():
        for name in ("first_order", "theorem1", "theorem2"):
            if (run, name) in means.index.droplevel("step"):
                line = means.loc[run, name]
                ax.plot(line.index, line, color=COLOURS[name], ls=style, lw=1.4)
    for name in ("first_order", "theorem1", "theorem2"):
        ax.plot([], [], color=COLOURS[name], label=PREDICTIONS[name])
    for run, style in _STYLES.items():
        ax.plot([], [], color="0.2", ls=style, label=RUNS[run])
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="rollout step", ylabel=r"correlation with exact $\Delta H$", ylim=(-1, 1.05))
    ax.set_title("Over training, mean over seeds")
    ax.legend(frameon=False, fontsize="small", loc="lower left", ncols=2)
    return ax


def gap_by_entropy(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the relative gap of each prediction by the prefix's entropy, under AdamW."""
    table = by_token_entropy(frame[frame["run"] == MAIN_RUN])
    wide = table.pivot(index="entropy_bin", columns="prediction", values="gap")
    wide = wide.loc[sorted(wide.index, key=lambda text: float(text.split()[0]))]
    wide = wide[list(PREDICTIONS)].rename(columns=PREDICTIONS)
    wide.plot.bar(ax=ax, color=list(COLOURS.values()), width=0.8, rot=0)
    ax.axhline(1, color="0.4", lw=0.8)
    ax.set(xlabel="entropy of the prefix before the step (nats)")
    ax.set_ylabel(r"$\sum|\Delta H - \mathrm{predicted}|\ /\ \sum|\Delta H|$")
    ax.set_title("The gap by token entropy (1: no better than predicting 0)")
    ax.tick_params(axis="x", labelsize="small")
    ax.set_ylim(0, 1.4)  # room for the legend above the bars
    ax.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)
    return ax


def _nothing_published(ax: Axes) -> None:
    text = "The paper measured no transformer prefix by prefix: there is nothing of its own to show"
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
