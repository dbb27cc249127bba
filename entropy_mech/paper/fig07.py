"""Figure 7: the law's coefficients against model size. Claims and drawing."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from entropy_mech.law.fit import QUANTITIES, extrapolate_largest, fit_sizes
from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_replicates
from entropy_mech.paper.fig02 import by_domain
from entropy_mech.paper.law_groups import by_model, interval_text, law_fits
from entropy_mech.paper.published import published_fits
from entropy_mech.paper.style import ACCURACY_COLOUR, panels, seeds_of

# -- Claims --------------------------------------------------------------------------------------

_LEAST_SIZES = 3  # to leave the largest out and still have a line
_SHOWN = ("slope", "r2", "observed", "predicted", "miss")


def coefficients(frame: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Return a, b and the ceiling of every run with its model's size.

    ``models`` is a report's: model, parameters (without embeddings). Columns: domain, group,
    model, seed, parameters, a, b, ceiling, r2, note.
    """
    if frame.empty:
        return pd.DataFrame()
    fits = law_fits(by_domain(by_model(frame)), ("domain", "group", "model"))
    sizes = models.set_index("model")["parameters"]
    return fits.assign(parameters=fits["model"].map(sizes))[
        ["domain", "group", "model", "seed", "parameters", "a", "b", "ceiling", "r2", "note"]
    ]


def size_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Fit each coefficient against ln(parameters), seed by seed, with the largest left out too.

    ``table`` is ``coefficients``'. Columns: domain, seed, quantity, sizes, slope (per e-fold of
    parameters), r2 (all sizes), observed, predicted and miss (predicted less observed) at the
    largest size, note. Fewer than three sizes with a fit: no line, and the note says so.
    """
    rows = []
    for (domain, seed), part in table.groupby(["domain", "seed"], sort=False):
        fitted = part.dropna(subset=["a", "b", "parameters"])
        sizes = fitted["parameters"].nunique()
        lines = None
        if sizes >= _LEAST_SIZES:
            # The line's slope and misses do not depend on the unit of the parameters.
            lines = extrapolate_largest(
                fitted.assign(parameters_billion=fitted["parameters"].astype(float) / 1e9)
            )
        for quantity in QUANTITIES:
            numbers = {} if lines is None else lines.loc[quantity, list(_SHOWN)].to_dict()
            note = "" if lines is not None else f"{sizes} sizes with a fit: no line"
            rows.append(
                {"domain": domain, "seed": seed, "quantity": quantity, "sizes": sizes}
                | dict.fromkeys(_SHOWN, float("nan"))
                | numbers
                | {"note": note}
            )
    return pd.DataFrame(rows)


def size_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``size_lines`` for the reader, means over seeds with intervals, the paper's below."""
    rows = []
    lines = size_lines(table) if len(table) else pd.DataFrame(columns=["domain", "quantity"])
    for (domain, quantity), part in lines.groupby(["domain", "quantity"], sort=False):
        row = {"whose": "ours", "domain": domain, "quantity": quantity}
        for name in _SHOWN:
            row[name] = interval_text(over_replicates("", "", part[name], holds=(0, 0)))
        rows.append(row | {"sizes": part["sizes"].min(), "seeds": len(part),
                           "note": "; ".join(sorted(set(part["note"]) - {""}))})  # fmt: skip
    paper = extrapolate_largest(published.curve_coefficients())
    for quantity, line in paper.iterrows():
        rows.append({"whose": "paper, digitised", "domain": "maths", "quantity": quantity,
                     **{name: f"{line[name]:.3g}" for name in _SHOWN}, "sizes": 5, "seeds": 1,
                     "note": "Fig. 1 right"})  # fmt: skip
    return pd.DataFrame(rows)


def size_claims(table: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 7; on an empty table, the authors' own coefficients."""
    if table.empty:
        return _published_facts()
    paper, lines, claims = (
        extrapolate_largest(published.curve_coefficients()),
        size_lines(table),
        [],
    )
    for domain, part in lines.groupby("domain", sort=False):
        by = dict(iter(part.groupby("quantity")))
        sizes, word = part["sizes"].min(), domain.capitalize()
        for name in ("a", "b"):
            claims.append(
                over_replicates(
                    f"{word}: {name} is straight in ln(parameters) of {sizes} sizes: R^2 at least "
                    "0.8",
                    f"{paper.loc[name, 'r2']:.2f} (maths, digitised, our line)",
                    by[name]["r2"],
                    holds=(0.8, inf),
                    contradicted=(-inf, 0.3),
                )
            )
            claims.append(
                over_replicates(
                    f"{word}: {name} rises with size (slope per e-fold of parameters)",
                    f"{paper.loc[name, 'slope']:+.3f} (the same)",
                    by[name]["slope"],
                    holds=(0.0, inf),
                    contradicted=(-inf, 0.0),
                )
            )
        claims.append(
            over_replicates(
                f"{word}: the smaller sizes predict the largest one's ceiling within 0.05 "
                "(predicted less observed)",
                f"{paper.loc['ceiling', 'miss']:+.3f} (the same)",
                by["ceiling"]["miss"],
                holds=(-0.05, 0.05),
                contradicted=(0.05, inf) if by["ceiling"]["miss"].mean() > 0 else (-inf, -0.05),
            )
        )
    return claims


def _published_facts() -> list[Fact]:
    """What the authors' coefficients say of straight lines, and whether our fit gives them back."""
    sizes, fits = extrapolate_largest(published.curve_coefficients()), published_fits()
    worst = fits[["a_error", "b_error"]].abs().max().max()
    return [
        Fact(
            "Least squares on the digitised points gives back a and b as drawn, within 3 %",
            "curves of Fig. 1 right",
            f"{100 * worst:.1f} % at most, five sizes",
            bool(worst <= 0.03),
        ),
        *(
            Fact(
                f"{name} is straight in ln(parameters): R^2 at least 0.8",
                "roughly straight (Fig. 7)",
                f"R^2 = {sizes.loc[name, 'r2']:.2f}, slope {sizes.loc[name, 'slope']:+.3f} per "
                "e-fold of parameters",
                bool(sizes.loc[name, "r2"] >= 0.8),
            )
            for name in ("a", "b")
        ),
        Fact(
            "The four smaller sizes predict the ceiling of 32B within 0.05",
            "larger models can be extrapolated from smaller ones",
            f"{sizes.loc['ceiling', 'miss']:+.3f} (predicted less observed)",
            bool(abs(sizes.loc["ceiling", "miss"]) <= 0.05),
        ),
    ]


# -- Drawing -------------------------------------------------------------------------------------

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
