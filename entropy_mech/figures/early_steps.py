"""Figure 2: the shares of entropy and gain that parts of training take."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.figures.style import (
    ACCURACY_COLOUR,
    ENTROPY_COLOUR,
    panels,
    seeds_of,
)
from entropy_mech.findings.early_steps import (
    EARLY,
    MEASURES,
    by_domain,
    courses,
    paper_shares,
    published_shares,
    shares,
)

_COLOURS = {"entropy": ENTROPY_COLOUR, "gain": ACCURACY_COLOUR}
_PARTS = ("first 1/12", "1/12 to 1/3", "last 2/3")
_WIDTH = 0.2


def early_figure(frame: pd.DataFrame) -> Figure:
    """Draw the shares of three parts of training and the whole course, a row a domain.

    Ours beside the paper's printed shares; on an empty frame the paper's stand beside those of the
    one run that could be digitised.
    """
    if frame.empty:
        return panels([[partial(_bars, None, "Paper: Fig. 2, mean of 11 runs")]], width_in=7.5)
    frame = by_domain(frame)
    rows = []
    for domain, part in frame.groupby("domain", sort=False):
        title = f"{domain.capitalize()}: {part['model'].nunique()} models, {seeds_of(part)}"
        rows.append([partial(_bars, part, title), partial(_courses, part, title)])
    return panels(rows, row_height_in=3.9)


def _bars(frame: pd.DataFrame | None, title: str, ax: Axes) -> Axes:
    """Draw bars of each part's share: ours filled, the paper's hatched, side by side."""
    x, paper = np.arange(len(_PARTS)), _parts(paper_shares())
    for i, (name, label) in enumerate(MEASURES.items()):
        colour, left = _COLOURS[name], x + (2 * i - 1.5) * _WIDTH
        theirs = {"fill": False, "edgecolor": colour, "hatch": "///", "label": f"{label}, paper"}
        if frame is None:
            run = {"color": colour, "alpha": 0.75, "label": f"{label}, Qwen2.5-7B of Fig. 1"}
            ax.bar(left, _parts(published_shares())[name], _WIDTH, **run)
        else:
            seeds = [_parts(part)[name] for _, part in shares(frame).groupby("seed")]
            mean, low, high = (f(seeds, axis=0) for f in (np.mean, np.min, np.max))
            ax.bar(left, mean, _WIDTH, color=colour, label=f"{label}, ours")
            ax.vlines(left, low, high, color="k", lw=1)
        bars = ax.bar(left + _WIDTH, paper[name], _WIDTH, **theirs)
        ax.bar_label(bars, [f"{v:.2f}" for v in paper[name]], fontsize="x-small", padding=1)
    ax.axhline(0.0, color="0.5", lw=0.8)
    ax.margins(y=0.12)
    ax.set_xticks(x, labels=_PARTS)
    ax.set(xlabel="part of training", ylabel="share of the whole move", title=title)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _courses(frame: pd.DataFrame, title: str, ax: Axes) -> Axes:
    """Draw both shares against the share of training done; the paper's shares as stars."""
    table, paper = courses(frame), paper_shares()
    for name, label in MEASURES.items():
        by_share = table.groupby("at")[name]
        mean, colour = by_share.mean(), _COLOURS[name]
        ax.fill_between(mean.index, by_share.min(), by_share.max(), color=colour, alpha=0.18, lw=0)
        ax.plot(mean.index, mean, color=colour, lw=1.6, label=f"{label}, ours")
        ax.plot(paper["at"], paper[name], "*", ms=11, mfc="none", mec=colour,
                label=f"{label}, paper")  # fmt: skip
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":", label="evenly")
    ax.set_xticks([0, *EARLY, 1], labels=["0", "1/12", "1/3", "1"])
    ax.set(xlabel="share of training done", ylabel="share of the whole move", title=title)
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def _parts(table: pd.DataFrame) -> pd.DataFrame:
    """Turn shares up to 1/12 and 1/3 into those of the three parts, in order."""
    table = table.sort_values("at")[list(MEASURES)].reset_index(drop=True)
    table.loc[len(table)] = 1.0
    return table.diff().fillna(table.iloc[[0]])
