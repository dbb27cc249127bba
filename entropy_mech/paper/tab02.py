"""Table 2: four methods at two sizes on the benchmarks. Claims, tables and drawing."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_replicates
from entropy_mech.paper.fig11 import METHODS, SIZES
from entropy_mech.paper.style import METHOD_COLOURS, Table, ours_of, panels

# -- Claims --------------------------------------------------------------------------------------

AVERAGE = "Avg."
_RUN = r"^fig11_(7b|32b)_(\w+)$"
_COLUMNS = ["size", "method", "seed", "benchmark", "percent"]


def accuracies(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return a row a size, method, seed and benchmark: percent; the mean as benchmark ``Avg.``.

    ``evaluations`` is ``Report.evaluations()``'s: run, seed, benchmark, accuracy (a fraction).
    The mean weighs each benchmark alike, however many problems it has, as the paper's does.
    """
    if evaluations.empty:
        return pd.DataFrame(columns=_COLUMNS)
    parts = evaluations["run"].str.extract(_RUN)
    long = evaluations.assign(
        size=parts[0], method=parts[1], percent=100 * evaluations["accuracy"]
    ).dropna(subset="method")[_COLUMNS]
    means = long.groupby(["size", "method", "seed"], sort=False)["percent"].mean().reset_index()
    return pd.concat([long, means.assign(benchmark=AVERAGE)], ignore_index=True)


def published_accuracies() -> pd.DataFrame:
    """Return Table 2 in the form of ``accuracies``; ``Avg.`` is the mean, not the printed one."""
    table = published.table2().drop(columns="printed_average")
    table = table.rename(columns={"recomputed_average": AVERAGE})
    long = table.melt(ignore_index=False, var_name="benchmark", value_name="percent").reset_index()
    names = {label.replace("-", "_"): method for method, label in METHODS.items()}
    long = long.assign(size=long["model"].str.lower(), method=long["method"].map(names), seed=0)
    return long[_COLUMNS]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and half the 95 % interval over seeds of ``accuracies``' rows.

    Columns: size, method, benchmark, mean, half (NaN with one seed), seeds; in the paper's order.
    """
    groups = table.groupby(["size", "method", "benchmark"], sort=False)["percent"]
    found = groups.agg(["mean", "std", "count"]).reset_index()
    quantile = stdtrit((found["count"] - 1).clip(lower=1), 0.975)
    half = quantile * found["std"] / np.sqrt(found["count"])
    found = found.assign(half=half, seeds=found["count"])
    ranks = {name: i for i, name in enumerate([*SIZES, *METHODS])}
    order = found["size"].map(ranks) * len(ranks) + found["method"].map(ranks)
    found = found.iloc[order.argsort(kind="stable")]
    return found[["size", "method", "benchmark", "mean", "half", "seeds"]].reset_index(drop=True)


def gains(table: pd.DataFrame, over: str = "grpo") -> pd.DataFrame:
    """Return points over another method of the same size, seed and benchmark.

    Columns as ``accuracies``, with ``percent`` the difference in percentage points. Empty where
    the other method was not run.
    """
    keys = ["size", "seed", "benchmark"]
    base = table.loc[table["method"] == over].set_index(keys)["percent"]
    rest = table[table["method"] != over]
    if base.empty or rest.empty:
        return pd.DataFrame(columns=_COLUMNS)
    other = base.reindex(pd.MultiIndex.from_frame(rest[keys])).to_numpy()
    return rest.assign(percent=rest["percent"] - other).dropna(subset="percent")


def benchmark_claims(evaluations: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Table 2: mean gains of the two methods; then what the paper's own table says."""
    ours, paper = accuracies(evaluations), published_accuracies()
    claims: list[Claim | Fact] = []
    for size, label in SIZES.items():
        for over in ("grpo", "clip_higher"):
            for method in ("kl_cov", "clip_cov"):
                values = _mean_gain(ours, size, method, over)
                if values.empty:
                    continue
                (theirs,) = _mean_gain(paper, size, method, over)
                claims.append(
                    over_replicates(
                        f"{label}: {METHODS[method]} beats {METHODS[over]} on the mean of the "
                        "benchmarks (percentage points)",
                        f"{theirs:+.1f} (Table 2, means recomputed)",
                        values,
                        holds=(0.0, inf),
                        contradicted=(-inf, 0.0),
                    )
                )
    return claims + published_facts()


def published_facts() -> list[Fact]:
    """Return what the numbers of Table 2 themselves say of its averages and of the headline."""
    table, paper = published.table2(), published_accuracies()
    printed, mean = table["printed_average"], table["recomputed_average"]
    headline = published.printed()
    headline = headline[headline["place"] == "abstract"]["value"].tolist()
    kl = {size: float(_mean_gain(paper, size, "kl_cov", "grpo").iloc[0]) for size in SIZES}
    facts = [
        Fact(
            "The printed Avg. is the mean of its row's seven columns",
            ", ".join(f"{value:.1f}" for value in printed),
            ", ".join(f"{value:.1f}" for value in mean)
            + f" (recomputed; off by {(printed - mean).abs().min():.1f} to "
            f"{(printed - mean).abs().max():.1f} points, in no row the same)",
            bool(((printed - mean).abs() < 0.05).all()),
        ),
        Fact(
            "KL-Cov's gains over GRPO in the abstract hold on the recomputed means",
            " and ".join(f"{value:+.1f}" for value in headline) + " points at 7B and 32B",
            " and ".join(f"{value:+.1f}" for value in kl.values()),
            all(abs(a - b) < 0.05 for a, b in zip(kl.values(), headline, strict=True)),
        ),
    ]
    for size, label in SIZES.items():
        rows = table.loc[size.upper()]
        as_printed, recomputed = rows["printed_average"].idxmax(), mean[size.upper()].idxmax()
        facts.append(
            Fact(
                f"{label}: the method of the highest printed Avg. has the highest mean too",
                f"{_label(as_printed)}, {rows['printed_average'].max():.1f}",
                f"{_label(recomputed)}, {mean[size.upper()].max():.1f} (recomputed)",
                as_printed == recomputed,
            )
        )
    return facts


def _mean_gain(table: pd.DataFrame, size: str, method: str, over: str) -> pd.Series:
    """The gain on the mean of the benchmarks, a value a seed."""
    found = gains(table[table["benchmark"] == AVERAGE], over)
    chosen = (found["size"] == size) & (found["method"] == method)
    return found.loc[chosen].set_index("seed")["percent"].astype(float)


def _label(name: str) -> str:
    return name.replace("_", "-")


# -- Tables and drawing --------------------------------------------------------------------------

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
