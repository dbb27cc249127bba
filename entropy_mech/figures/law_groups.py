"""The law by group of runs: base models, algorithms, training sets (Figs. 3, 4, 6, 13, 14)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.figures.style import (
    LOWEST_NATS,
    ORDINAL_COLOURS,
    SEED_MARKERS,
    log_entropy_axis,
    note,
    panels,
    seeds_of,
)
from entropy_mech.findings.law_groups import law_estimates, law_fits, validated

NOT_DIGITISED = (
    "The paper's curves of this figure were not digitised,\nand it prints no numbers for it."
)


def law_panel(frame: pd.DataFrame, ax: Axes, *, title: str = "") -> Axes:
    """Draw accuracy against entropy and the fitted law, one colour a group.

    ``frame``: group, seed, step, entropy_nats, validation_accuracy. Dots: every validation, one
    marker a seed. Line: the mean of the seeds' fitted curves, which is the curve of their mean a
    and b; band: from the lowest to the highest of them.
    """
    ax.set_title(title)
    points = validated(frame)
    fits = law_fits(frame).groupby("group", sort=False)
    for colour, (group, part) in zip(_colours(points), points.groupby("group", sort=False)):  # noqa: B905
        _dots(part, ax, colour)
        _curves(part, fits.get_group(group).dropna(subset="a"), ax, colour, str(group))
    log_entropy_axis(ax)
    ax.set_ylabel("validation accuracy (fraction)")
    ax.legend(fontsize="small", framealpha=0.8, edgecolor="none")
    return ax


def families_figure(frame: pd.DataFrame, *, paper: Callable[[Axes], Axes] | None = None) -> Figure:
    """Draw ``law_panel`` of each family of base models, as in Figs. 3 and 4.

    ``frame`` is ``by_model``'s. ``paper`` draws the paper's panel beside ours, with the same axes;
    it stands alone where the frame is empty.
    """
    if frame.empty:
        return panels([[paper or partial(note, text=NOT_DIGITISED)]], width_in=7.5, row_height_in=4)
    draws = [
        partial(law_panel, part, title=f"Ours: {family}, {seeds_of(part)}")
        for family, part in frame.groupby("family", sort=False)
    ]
    draws += [paper] if paper else []
    columns = 3 if len(draws) == 3 else 2
    rows = [draws[i : i + columns] for i in range(0, len(draws), columns)]
    return panels(rows, row_height_in=4.2)


def groups_figure(frame: pd.DataFrame, *, title: str) -> Figure:
    """Draw the law by group with a and b of each: Figs. 6, 13, 14. A note on an empty frame."""
    if frame.empty:
        return panels([[partial(note, text=NOT_DIGITISED)]], width_in=7.5, row_height_in=2)
    draws = [
        partial(law_panel, frame, title=f"{title}, {seeds_of(frame)}"),
        partial(coefficient_panel, frame, "a"),
        partial(coefficient_panel, frame, "b"),
    ]
    figure = panels([draws], row_height_in=4.2)
    figure.axes[2].set_yticklabels([])  # the same groups, in the same order
    # Curves of several groups leave no corner free.
    figure.axes[0].legend(
        fontsize="small", frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16)
    )
    return figure


def coefficient_panel(frame: pd.DataFrame, quantity: str, ax: Axes) -> Axes:
    """Draw one coefficient of each group: its mean with 95 % interval, and each seed's own.

    ``quantity``: a, b or ceiling. Groups from top to bottom in the order of the frame.
    """
    estimates = law_estimates(frame, quantities=(quantity,))
    fits = law_fits(frame)
    for i, (colour, row) in enumerate(zip(_colours(estimates), estimates.itertuples())):  # noqa: B905
        each = fits.loc[fits["group"] == row.group, quantity]
        ax.plot(each, np.full(len(each), i + 0.18), "|", color=colour, ms=8)
        ax.plot([row.low, row.high], [i, i], color=colour, lw=1.6)
        ax.plot(row.estimate, i, "o", color=colour, ms=5)
    ax.set_yticks(range(len(estimates)), labels=estimates["group"])
    ax.set_ylim(len(estimates) - 0.5, -0.5)
    ax.margins(x=0.1)
    over = "seeds" if estimates["seeds"].max() > 1 else "the points of one run"
    name = {"ceiling": "ceiling b - a"}.get(quantity, quantity)
    ax.set_xlabel(f"{name} (accuracy, fraction); 95 % interval\nover {over}, ticks: each seed")
    return ax


def _dots(part: pd.DataFrame, ax: Axes, colour: str) -> None:
    for i, (_, run) in enumerate(part.groupby("seed")):
        ax.scatter(
            run["entropy_nats"].clip(lower=LOWEST_NATS), run["validation_accuracy"], s=12,
            color=colour, alpha=0.5, lw=0, marker=SEED_MARKERS[i % len(SEED_MARKERS)],
        )  # fmt: skip


def _curves(part: pd.DataFrame, fits: pd.DataFrame, ax: Axes, colour: str, label: str) -> None:
    if fits.empty:
        ax.plot([], [], color=colour, lw=1.5, label=f"{label}: no fit")
        return
    entropy = part["entropy_nats"].clip(lower=LOWEST_NATS)
    grid = np.geomspace(entropy.min(), entropy.max(), 100)
    curves = -np.outer(fits["a"], np.exp(grid)) + fits["b"].to_numpy()[:, None]
    ax.fill_between(grid, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.18, lw=0)
    text = f"{label}: $R^2$ = {fits['r2'].mean():.2f}"
    ax.plot(grid, curves.mean(axis=0), color=colour, lw=1.5, label=text)


def _colours(frame: pd.DataFrame) -> list[str]:
    groups = frame["group"].nunique()
    return [ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)] for i in range(groups)]
