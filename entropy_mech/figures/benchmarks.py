"""Table 2 as tables for readers, and as points gained over GRPO."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech import published
from entropy_mech.figures.style import METHOD_COLOURS, ours_of, panels
from entropy_mech.figures.tables import Table
from entropy_mech.findings.benchmarks import (
    AVERAGE,
    accuracies,
    gains,
    published_accuracies,
    summary,
)
from entropy_mech.findings.control import METHODS, SIZES

_MARKERS = {"clip_higher": "s", "clip_cov": "^", "kl_cov": "o"}
_RECOMPUTED = "Avg. recomputed"


def our_table(evaluations: pd.DataFrame) -> Table:
    """Return our Table 2: percent, mean over seeds and half the 95 % interval; best in bold.

    ``evaluations`` is ``Report.evaluations()``'s; where it is empty, so is the table.
    """
    rows = summary(accuracies(evaluations))
    texts = [
        f"{mean:.1f}" + (f" ± {half:.1f}" if np.isfinite(half) else "")
        for mean, half in zip(rows["mean"], rows["half"], strict=True)
    ]
    rows = rows.assign(
        text=texts,
        row=[f"{SIZES[s]} {METHODS[m]}" for s, m in zip(rows["size"], rows["method"], strict=True)],
        column=[_short(name) for name in rows["benchmark"]],
    )
    # Compared as they are shown: equal to the reader's eye is equally good, and where all are
    # equal none is best.
    shown = rows["mean"].round(1)
    groups = shown.groupby([rows["size"], rows["benchmark"]])
    rows["best"] = (shown == groups.transform("max")) & (groups.transform("nunique") > 1)
    columns = list(dict.fromkeys(rows["column"]))
    wide = rows.pivot(index="row", columns="column", values=["text", "best"])
    order = list(dict.fromkeys(rows["row"]))
    seeds = int(rows["seeds"].max()) if len(rows) else 0
    mean = f"mean over {seeds} seeds ± half the 95 % interval" if seeds > 1 else "one seed"
    caption = f"{_ours(evaluations)}: accuracy in percent, {mean}; best of each size in bold"
    return Table(
        _part(wide, "text", order, columns).fillna(""),
        _part(wide, "best", order, columns).fillna(False).astype(bool),
        caption if seeds else "Ours: no runs in this profile",
    )


def published_table() -> Table:
    """Return the paper's Table 2 with the means of its rows recomputed; best in bold."""
    frame = published.table2().rename(
        columns={"printed_average": "Avg. printed", "recomputed_average": _RECOMPUTED}
    )
    best = frame.round(1).eq(frame.round(1).groupby(level="model").transform("max"))
    cells = frame.map("{:.1f}".format)
    cells.index = [f"{SIZES[m.lower()]} {name.replace('_', '-')}" for m, name in frame.index]
    best.index = cells.index
    return Table(
        cells.rename_axis("method"),
        best,
        "The paper's Table 2: accuracy in percent; the printed averages are not the means of "
        "their rows, which stand beside them",
    )


def gains_figure(evaluations: pd.DataFrame) -> Figure:
    """Draw the points gained over GRPO by benchmark: a row a size, the paper's rows below ours."""
    ours, paper = gains(accuracies(evaluations)), gains(published_accuracies())
    rows = [
        [partial(gain_panel, part[part["size"] == size], f"{name} {label}")]
        for name, part in ((f"{_ours(evaluations)}:", ours), ("Paper (Table 2):", paper))
        for size, label in SIZES.items()
        if (part["size"] == size).any()
    ]
    figure = panels(rows, width_in=10, row_height_in=2.9)
    figure.axes[0].legend(frameon=False, fontsize="small", ncols=3)
    return figure


def gain_panel(table: pd.DataFrame, title: str, ax: Axes) -> Axes:
    """Draw gains over GRPO in points, with the 95 % interval over seeds where there is one.

    ``table``: ``findings.benchmarks.gains``' rows of one size.
    """
    rows = summary(table)
    names = list(dict.fromkeys(rows["benchmark"]))
    shown = [method for method in METHODS if (rows["method"] == method).any()]
    for i, method in enumerate(shown):
        part = rows[rows["method"] == method]
        place = part["benchmark"].map(names.index) + 0.18 * (i - (len(shown) - 1) / 2)
        half = part["half"] if part["half"].notna().any() else None
        ax.errorbar(
            place, part["mean"], yerr=half, color=METHOD_COLOURS[method], fmt=_MARKERS[method],
            ms=5, lw=1.2, capsize=2, label=METHODS[method],
        )  # fmt: skip
    ax.axhline(0, color="0.4", lw=0.8)
    if AVERAGE in names:
        ax.axvline(names.index(AVERAGE) - 0.5, color="0.8", lw=0.8)
    ax.set_xticks(range(len(names)), [_short(name) for name in names], fontsize="small")
    ax.set_ylabel("points over GRPO")
    ax.set_title(title)
    return ax


def _part(wide: pd.DataFrame, what: str, order: list[str], columns: list[str]) -> pd.DataFrame:
    if wide.empty:
        return pd.DataFrame().rename_axis("method")
    return wide[what].reindex(index=order, columns=columns).rename_axis("method")


def _ours(evaluations: pd.DataFrame) -> str:
    return ours_of(len(evaluations) and evaluations["benchmark"].str.startswith("toy_").all())


def _short(name: str) -> str:
    return name.removeprefix("toy_").replace("_", " ")
