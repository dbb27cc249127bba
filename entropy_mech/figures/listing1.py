"""Listing 1: what the scope of the covariance changes in the choice of tokens."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from entropy_mech.figures.style import METHOD_COLOURS
from entropy_mech.findings.control import METHODS

_DRAWN = ("clip_cov", "kl_cov")


def overlaps(scopes: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of the rollout's choice that each scope chooses too, a bar a method.

    ``scopes`` is ``findings.listing1_check.scopes``'.
    """
    _bars(scopes, "overlap", ax)
    ax.set(ylim=(0, 1.05), ylabel="share of the rollout's choice")
    ax.set_title("Which tokens: agreement with the scope of the text")
    return ax


def counts(scopes: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how many tokens each scope touches, a bar a method; a logarithmic axis."""
    _bars(scopes, "touched", ax)
    ax.set_yscale("symlog", linthresh=1)
    ax.set(ylim=(0, 3 * scopes["touched"].max()), ylabel="tokens touched (0, then log scale)")
    ax.get_legend().set_loc("upper right")
    ax.set_title("How many: the paper's fractions, at least one a batch as released")
    return ax


def _bars(scopes: pd.DataFrame, column: str, ax: Axes) -> None:
    wide = scopes.pivot(index="scope", columns="method", values=column)
    wide = wide.reindex(index=scopes["scope"].unique())
    for i, method in enumerate(_DRAWN):
        places = [place + 0.4 * (i - 0.5) for place in range(len(wide))]
        label = METHODS[method]
        bars = ax.bar(places, wide[label], width=0.38, color=METHOD_COLOURS[method], label=label)
        spec = "{:.0%}" if column == "overlap" else "{:.0f}"
        ax.bar_label(bars, [spec.format(v) for v in wide[label]], fontsize="x-small")
    names = [name.replace("micro_batch of ", "").replace("_", "\n") for name in wide.index]
    ax.set_xticks(range(len(wide)), names)
    ax.set_xlabel("scope: sequences in a micro-batch, mini-batch, rollout batch")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
