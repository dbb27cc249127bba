"""Figure 8 and Table 1: covariance against the fall of entropy, by difficulty, and its tail."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech import published
from entropy_mech.figures.style import (
    ACCURACY_COLOUR,
    ENTROPY_COLOUR,
    ORDINAL_COLOURS,
    band_over_seeds,
    ours,
    panels,
)
from entropy_mech.figures.tables import Table
from entropy_mech.findings.covariance import (
    SHOWN_ACCURACIES,
    covariance_and_change,
    covariance_by_accuracy,
)


def covariance_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 8: covariance and entropy's fall, and by difficulty; the paper's row below ours.

    ``frame`` is ``Report.metrics()``; where it is empty the paper's row stands alone.
    """
    rows = [[published_covariance_and_fall, published_by_difficulty]]
    if len(frame):
        rows.insert(0, [partial(covariance_and_fall, frame), partial(by_difficulty, frame)])
    return panels(rows, width_in=12, row_height_in=4.2)


def covariance_and_fall(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw Theorem 1's covariance (left) and the entropy's fall a rollout (right axis)."""
    table = covariance_and_change(frame)
    right = ax.twinx()
    band_over_seeds(
        table, "covariance", ax, colour=ACCURACY_COLOUR, label=r"Cov($\log\pi$, $\pi A$)"
    )
    band_over_seeds(
        table, "entropy_fall_nats", right, colour=ENTROPY_COLOUR, label=r"$-\Delta H$ a rollout"
    )
    _paired(ax, right, "rollout step")
    ax.set_title(f"{ours(frame)}: on-policy GRPO, means of 5 rollouts")
    return ax


def published_covariance_and_fall(ax: Axes) -> Axes:
    """Draw the paper's Fig. 8 left, digitised."""
    series = dict(iter(published.load("fig08_left").groupby("series")))
    right = ax.twinx()
    covariance, fall = series["covariance"], series["neg_grad_entropy"]
    ax.plot(
        covariance["step"], covariance["value"], color=ACCURACY_COLOUR, lw=1,
        label=r"Cov($\log\pi$, $\pi A$)",
    )  # fmt: skip
    right.plot(fall["step"], fall["value"], color=ENTROPY_COLOUR, lw=1, label=r"$-\Delta H$")
    _paired(ax, right, "gradient step")
    ax.set_title("Paper: Qwen2.5-7B (Fig. 8 left, digitised)")
    return ax


def by_difficulty(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the covariance of groups by the share of right responses, means of five rollouts."""
    groups = covariance_by_accuracy(frame)
    for colour, accuracy in zip(ORDINAL_COLOURS, SHOWN_ACCURACIES, strict=False):
        part = groups[groups["accuracy"] == accuracy]
        band_over_seeds(part, "covariance", ax, colour=colour, label=f"accuracy {accuracy:g}")
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="rollout step (means of 5)", ylabel=r"Cov($\log\pi$, $\pi A$) (nats)")
    ax.set_title(f"{ours(frame)}: by group accuracy")
    ax.legend(frameon=False, loc="upper right")
    return ax


def published_by_difficulty(ax: Axes) -> Axes:
    """Draw the paper's Fig. 8 right, digitised."""
    series = dict(iter(published.load("fig08_right").groupby("series")))
    for colour, accuracy in zip(ORDINAL_COLOURS, SHOWN_ACCURACIES, strict=False):
        part = series[f"acc_{accuracy:g}"]
        ax.plot(part["step"], part["value"], color=colour, lw=1, label=f"accuracy {accuracy:g}")
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="gradient step", ylabel=r"Cov($\log\pi$, $\pi A$) (nats)")
    ax.set_title("Paper: Qwen2.5-7B (Fig. 8 right, digitised)")
    ax.legend(frameon=False)
    return ax


def tail(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw Table 1: mean covariance of the top tokens, ours beside the paper's; log-log.

    ``table`` is ``findings.covariance.tail_beside_paper``'s; without ours the paper's alone.
    """
    if "ours" in table:
        low, high = table["ours, lowest seed"], table["ours, highest seed"]
        ax.fill_between(table.index, low, high, color=ACCURACY_COLOUR, alpha=0.18, lw=0)
        ax.plot(
            table.index, table["ours"], marker="o", color=ACCURACY_COLOUR,
            label="ours: rollout 0 (band: seeds)",
        )  # fmt: skip
    ax.plot(
        table.index, table["paper"], marker="s", color="#000000", ls="--",
        label="paper: Qwen2.5-7B, step 1 (Table 1)",
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="top fraction of tokens, by covariance")
    ax.set_ylabel("mean token covariance, Eq. 10 (nats)")
    ax.set_title("Few tokens carry most covariance")
    ax.legend(frameon=False)
    return ax


def tail_table(table: pd.DataFrame) -> Table:
    """Return ``findings.covariance_tail.tail_beside_paper``'s frame as a table for readers."""
    cells = pd.DataFrame({"Qwen2.5-7B (Table 1)": table["paper"].map("{:.3f}".format)})
    if "ours" in table:
        low, high = table["ours, lowest seed"], table["ours, highest seed"]
        cells["ours"] = table["ours"].map("{:.3f}".format)
        cells["ours, range over seeds"] = [
            f"{a:.3f} to {b:.3f}" for a, b in zip(low, high, strict=True)
        ]
        cells["our tokens a seed"] = table["tokens a seed"].map("{:.0f}".format)
    cells.index = [f"top {100 * fraction:g} %" for fraction in table.index]
    bold = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    return Table(
        cells.rename_axis("tokens"), bold, "Mean token covariance (Eq. 10, nats) of the top tokens"
    )


def _paired(left: Axes, right: Axes, step: str) -> None:
    left.set_xlabel(step)
    left.set_ylabel("covariance (nats)", color=ACCURACY_COLOUR)
    right.set_ylabel("fall of entropy a step (nats)", color=ENTROPY_COLOUR)
    _share_zero(left, right)
    left.axhline(0, color="0.4", lw=0.8)
    lines = [line for axis in (left, right) for line in axis.get_lines()]
    lines = [line for line in lines if not line.get_label().startswith("_")]
    left.legend(lines, [line.get_label() for line in lines], frameon=False, loc="upper right")


def _share_zero(left: Axes, right: Axes) -> None:
    """Put both zeros at one height, so that signs can be compared."""
    below = max(-axis.get_ylim()[0] / (axis.get_ylim()[1] or 1.0) for axis in (left, right))
    below = min(max(below, 0.05), 1.0)
    for axis in (left, right):
        top = axis.get_ylim()[1]
        axis.set_ylim(-below * top, top)
