"""Figure 7: the law's coefficients against model size."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from entropy_mech import published
from entropy_mech.figures.style import ACCURACY_COLOUR, panels, seeds_of
from entropy_mech.theory.law_sizes import fit_sizes

_QUANTITIES = ("a", "b")
_PAPER_SEED = 0


def sizes_figure(table: pd.DataFrame) -> Figure:
    """Draw a and b against the parameters: a column a domain, then the paper's (maths).

    ``table`` is ``findings.law_sizes.coefficients``'; where it is empty the paper's stand alone.
    """
    columns = [
        (f"Ours: {domain}, {seeds_of(part)}", part)
        for domain, part in (table.groupby("domain", sort=False) if len(table) else ())
    ]
    columns.append(("Paper: maths (Fig. 1 right, digitised)", _paper()))
    rows = [
        [partial(size_panel, part, name, title=title) for title, part in columns]
        for name in _QUANTITIES
    ]
    width = 13.5 if len(columns) > 1 else 6.5
    return panels(rows, width_in=width, row_height_in=3.4)


def size_panel(table: pd.DataFrame, quantity: str, ax: Axes, *, title: str = "") -> Axes:
    """Draw a coefficient against parameters (log axis): each seed's, their mean, and two lines.

    Solid: through all sizes. Dashed: through all but the largest, carried on to it.
    """
    part = table.dropna(subset=[quantity, "parameters"])
    means = part.groupby("parameters")[quantity].mean()
    colour, sizes = ACCURACY_COLOUR, means.index.to_numpy(dtype=float)
    if part["seed"].nunique() > 1:
        ax.plot(part["parameters"], part[quantity], "o", color=colour, ms=3, alpha=0.4, lw=0)
    ax.plot(sizes, means, "o", color=colour, ms=6, label="mean over seeds"
            if part["seed"].nunique() > 1 else "one run each")  # fmt: skip
    if len(sizes) >= 3:
        grid = np.geomspace(sizes[0], sizes[-1], 30)
        line, without = fit_sizes(sizes, means), fit_sizes(sizes[:-1], means.iloc[:-1])
        ax.plot(grid, line.predict(grid), color=colour, lw=1.2,
                label=f"line: slope {line.slope:.3f}, $R^2$ = {line.r2:.2f}")  # fmt: skip
        ax.plot(grid, without.predict(grid), color="0.4", lw=1.2, ls="--",
                label="without the largest")  # fmt: skip
    ax.set(xscale="log", xlabel="non-embedding parameters (log scale)", title=title)
    ax.set_xticks(sizes, labels=_tick_labels(sizes))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel(f"{quantity} (accuracy, fraction)")
    ax.legend(frameon=False, fontsize="small")
    return ax


def _paper() -> pd.DataFrame:
    frame = published.curve_coefficients().reset_index()
    return frame.assign(parameters=frame["parameters_billion"] * 1e9, seed=_PAPER_SEED)


def _tick_labels(sizes: np.ndarray) -> list[str]:
    """Return a label for each size, empty where the one before it would be written over."""
    least = 0.12 * np.log(sizes.max() / sizes.min()) if len(sizes) else 0.0
    labels, last = [], -np.inf
    for size in sizes:
        shown = np.log(size) - last >= least
        labels.append(_short(size) if shown else "")
        last = np.log(size) if shown else last
    return labels


def _short(count: float) -> str:
    """Return a count with its unit: 17600 as 17.6k."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.3g}"
