"""Figure 7: the law's coefficients against model size. Claims and drawing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from entropy_mech.law.fit import QUANTITIES, extrapolate_largest, fit_sizes
from entropy_mech.paper import published, style
from entropy_mech.paper.claims import Claim, Fact, Range, at_least, mean_interval
from entropy_mech.paper.fig02 import by_domain
from entropy_mech.paper.law_groups import by_model, law_fits
from entropy_mech.paper.published import published_fits

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
    largest size. Fewer than three sizes with a fit: no line, and NaN.
    """
    lines = [pd.DataFrame(columns=["domain", "seed", "quantity", "sizes", *_SHOWN])]
    for (domain, seed), part in table.groupby(["domain", "seed"], sort=False) if len(table) else ():
        part = part.dropna(subset=["a", "b", "parameters"])
        sizes, found = part["parameters"].nunique(), pd.DataFrame(index=QUANTITIES)
        if sizes >= _LEAST_SIZES:
            # The line's slope and misses do not depend on the unit of the parameters.
            billions = part["parameters"].astype(float) / 1e9
            found = extrapolate_largest(part.assign(parameters_billion=billions))
        found = found.reindex(columns=list(_SHOWN)).rename_axis("quantity").reset_index()
        lines.append(found.assign(domain=domain, seed=seed, sizes=sizes))
    return pd.concat(lines[1:] or lines, ignore_index=True)


def size_claims(table: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 7; on an empty table, the authors' own coefficients."""
    if table.empty:
        return _published_facts()
    paper, claims = extrapolate_largest(published.curve_coefficients()), []
    for domain, part in size_lines(table).groupby("domain", sort=False):
        by = dict(iter(part.groupby("quantity")))
        sizes, word = part["sizes"].min(), domain.capitalize()
        for name in ("a", "b"):
            claims += [
                Claim(
                    f"{word}: {name} is straight in ln(parameters) of {sizes} sizes: R^2 at least "
                    "0.8",
                    f"{paper.loc[name, 'r2']:.2f} (maths, digitised, our line)",
                    mean_interval(by[name]["r2"]),
                    at_least(0.8, contradicted_below=0.3),
                ),
                Claim(
                    f"{word}: {name} rises with size (slope per e-fold of parameters)",
                    f"{paper.loc[name, 'slope']:+.3f} (the same)",
                    mean_interval(by[name]["slope"]),
                    at_least(0.0, contradicted_below=0.0),
                ),
            ]
        claims.append(
            Claim(
                f"{word}: the smaller sizes predict the largest one's ceiling within 0.05 "
                "(predicted less observed)",
                f"{paper.loc['ceiling', 'miss']:+.3f} (the same)",
                mean_interval(by["ceiling"]["miss"]),
                Range(-0.05, 0.05, contradicted_below=-0.05, contradicted_above=0.05),
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
            worst <= 0.03,
        ),
        *(
            Fact(
                f"{name} is straight in ln(parameters): R^2 at least 0.8",
                "roughly straight (Fig. 7)",
                f"R^2 = {sizes.loc[name, 'r2']:.2f}, slope {sizes.loc[name, 'slope']:+.3f} per "
                "e-fold of parameters",
                sizes.loc[name, "r2"] >= 0.8,
            )
            for name in ("a", "b")
        ),
        Fact(
            "The four smaller sizes predict the ceiling of 32B within 0.05",
            "larger models can be extrapolated from smaller ones",
            f"{sizes.loc['ceiling', 'miss']:+.3f} (predicted less observed)",
            abs(sizes.loc["ceiling", "miss"]) <= 0.05,
        ),
    ]


# -- Drawing -------------------------------------------------------------------------------------


def sizes_figure(table: pd.DataFrame, quantities: tuple[str, ...] = ("a", "b")) -> Figure:
    """Draw coefficients against the parameters: a column a domain, then the paper's (maths).

    ``table`` is ``coefficients``'; where it is empty the paper's stand alone. A row a quantity.
    """
    paper = published.curve_coefficients()
    paper = paper.assign(parameters=paper["parameters_billion"] * 1e9, seed=0)
    columns = {"Paper: maths (Fig. 1 right, digitised)": paper}
    if len(table):
        domains = table.groupby("domain", sort=False)
        columns = {
            f"{style.ours(table)}: {d}, {style.seeds_of(part)}": part for d, part in domains
        } | columns
    rows = [
        [partial(size_panel, part, name, title=title) for title, part in columns.items()]
        for name in quantities
    ]
    rows = rows if len(table) else [[row[0] for row in rows]]
    return style.panels(rows, row_height_in=3.4)


def size_panel(table: pd.DataFrame, quantity: str, ax: Axes, *, title: str = "") -> Axes:
    """Draw a coefficient against parameters (log axis): means with intervals, and two lines.

    Solid: through all sizes. Dashed: through all but the largest, carried on to it.
    """
    part = table.dropna(subset=[quantity, "parameters"])
    means = part.groupby("parameters")[quantity].mean()
    sizes, many = means.index.to_numpy(dtype=float), part["seed"].nunique() > 1
    sns.lineplot(
        part, x="parameters", y=quantity, errorbar=style.over_seeds, err_style="bars", marker="o",
        linestyle="none", color=style.ACCURACY_COLOUR, ax=ax,
        label="mean over seeds, 95 % interval" if many else "one run each",
    )  # fmt: skip
    if len(sizes) >= _LEAST_SIZES:
        grid = np.geomspace(sizes[0], sizes[-1], 30)
        line, without = fit_sizes(sizes, means), fit_sizes(sizes[:-1], means.iloc[:-1])
        text = f"line: slope {line.slope:.3f}, $R^2$ = {line.r2:.2f}"
        sns.regplot(
            part, x="parameters", y=quantity, logx=True, ci=None, scatter=False, ax=ax,
            color=style.ACCURACY_COLOUR, line_kws={"lw": 1.2}, label=text,
        )  # fmt: skip
        ax.plot(grid, without.predict(grid), color="0.4", ls="--", label="without the largest")
    name = {"ceiling": "ceiling b - a"}.get(quantity, quantity)
    ax.set(xscale="log", xlabel="non-embedding parameters (log scale)", title=title)
    ax.set(ylabel=f"{name} (accuracy, fraction)")
    ax.set_xticks(sizes, labels=_tick_labels(sizes))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return ax


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
    return EngFormatter(sep="").format_eng(float(f"{count:.3g}")).replace("G", "B")
