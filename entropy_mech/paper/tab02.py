"""Table 2: four methods at two sizes on the benchmarks. Claims, tables and drawing."""

from __future__ import annotations

from functools import partial

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import fig11, published, style
from entropy_mech.paper.claims import Claim, Fact, Interval, half_of_difference, mean_interval
from entropy_mech.paper.fig11 import LABELS, METHODS, SIZES, TENFOLD, at_papers_dose, with_method

# -- Claims --------------------------------------------------------------------------------------

AVERAGE = "Avg."
_COLUMNS = ["size", "method", "seed", "benchmark", "percent"]


def accuracies(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return a row a size, method, seed and benchmark: percent; the mean as benchmark ``Avg.``.

    ``evaluations`` is ``Report.evaluations()``'s: run, seed, benchmark, accuracy (a fraction).
    The mean weighs each benchmark alike, however many problems it has, as the paper's does.
    """
    if evaluations.empty:
        return pd.DataFrame(columns=_COLUMNS)
    long = with_method(evaluations.assign(percent=100 * evaluations["accuracy"]))[_COLUMNS]
    means = long.groupby(["size", "method", "seed"], sort=False)["percent"].mean().reset_index()
    return pd.concat([long, means.assign(benchmark=AVERAGE)], ignore_index=True)


def published_accuracies() -> pd.DataFrame:
    """Return Table 2 in the form of ``accuracies``; ``Avg.`` is the mean, not the printed one."""
    table = published.table2().drop(columns="printed_average")
    table = table.rename(columns={"recomputed_average": AVERAGE})
    long = table.melt(ignore_index=False, var_name="benchmark", value_name="percent").reset_index()
    method = long["method"].map(fig11.PRINTED_METHODS)
    return long.assign(size=long["model"].str.lower(), method=method, seed=0)[_COLUMNS]


def gains(table: pd.DataFrame, over: str = "grpo") -> pd.DataFrame:
    """Return points over another method of the same size, seed and benchmark.

    Columns as ``accuracies``, with ``percent`` the difference in percentage points. Empty where
    the other method was not run.
    """
    keys = ["size", "seed", "benchmark"]
    base = table.loc[table["method"] == over, [*keys, "percent"]]
    both = table[table["method"] != over].merge(base, on=keys, suffixes=("", "_over"))
    return both.assign(percent=both["percent"] - both["percent_over"])[_COLUMNS]


def benchmark_claims(evaluations: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Table 2: mean gains of the two methods; then what the paper's own table says."""
    ours = accuracies(evaluations)
    return [
        _gain_claim(values, size, method, over)
        for size in SIZES
        for over in ("grpo", "clip_higher")
        for method in ("kl_cov", "clip_cov", *TENFOLD)
        if len(values := _mean_gain(ours, size, method, over))
    ] + published_facts()


def _gain_claim(values: pd.Series, size: str, method: str, over: str) -> Claim:
    papers = _papers_gain(size, method, over)
    judged_by = half_of_difference(papers)
    return Claim(
        f"{SIZES[size]}: {LABELS[method]} beats {METHODS[over]} on the mean of the benchmarks by "
        f"at least {judged_by.least:.1f}, half the paper's gain (percentage points)",
        f"{papers:+.1f} (Table 2, means recomputed)",
        mean_interval(values),
        judged_by,
    )


def published_facts() -> list[Fact]:
    """Return what the numbers of Table 2 themselves say of its averages and of the headline."""
    table = published.table2()
    printed, mean = table["printed_average"], table["recomputed_average"]
    headline = published.printed().query("place == 'abstract'")["value"].tolist()
    kl = [_papers_gain(size, "kl_cov", "grpo") for size in SIZES]
    off = (printed - mean).abs()
    facts = [
        Fact(
            "The printed Avg. is the mean of its row's seven columns",
            ", ".join(f"{value:.1f}" for value in printed),
            f"{', '.join(f'{value:.1f}' for value in mean)} (recomputed; off by {off.min():.1f} to "
            f"{off.max():.1f} points, in no row the same)",
            (off < 0.05).all(),
        ),
        Fact(
            "KL-Cov's gains over GRPO in the abstract hold on the recomputed means",
            " and ".join(f"{value:+.1f}" for value in headline) + " points at 7B and 32B",
            " and ".join(f"{value:+.1f}" for value in kl),
            all(abs(a - b) < 0.05 for a, b in zip(kl, headline, strict=True)),
        ),
    ]
    for size, label in SIZES.items():
        rows = table.loc[size.upper()]
        as_printed, recomputed = rows["printed_average"].idxmax(), mean[size.upper()].idxmax()
        facts.append(
            Fact(
                f"{label}: the method of the highest printed Avg. has the highest mean too",
                f"{as_printed.replace('_', '-')}, {rows['printed_average'].max():.1f}",
                f"{recomputed.replace('_', '-')}, {mean[size.upper()].max():.1f} (recomputed)",
                as_printed == recomputed,
            )
        )
    return facts


def _papers_gain(size: str, method: str, over: str) -> float:
    """The paper's gain; beside a tenfold dose stands that of the paper's own dose."""
    return _mean_gain(published_accuracies(), size, at_papers_dose(method), over).item()


def _mean_gain(table: pd.DataFrame, size: str, method: str, over: str) -> pd.Series:
    """The gain on the mean of the benchmarks, a value a seed."""
    found = gains(table[table["benchmark"] == AVERAGE], over)
    chosen = (found["size"] == size) & (found["method"] == method)
    return found.loc[chosen].set_index("seed")["percent"].astype(float)


# -- Tables and drawing --------------------------------------------------------------------------


def our_table(evaluations: pd.DataFrame) -> style.Table:
    """Return our Table 2: percent, mean over seeds and half the 95 % interval; best in bold.

    ``evaluations`` is ``Report.evaluations()``'s; where it is empty, so is the table.
    """
    table = accuracies(evaluations)
    if table.empty:
        nothing = pd.DataFrame().rename_axis("method")
        return style.Table(nothing, nothing, "Ours: no runs in this profile")
    table["benchmark"] = table["benchmark"].map(_short)
    cells = table.groupby(["size", "method", "benchmark"], sort=False)["percent"]
    wide = cells.agg(mean_interval).unstack("benchmark")[table["benchmark"].unique()]
    order = [(size, method) for size in SIZES for method in LABELS]
    wide = wide.loc[[key for key in order if key in wide.index]]
    seeds = table["seed"].nunique()
    mean = f"mean over {seeds} seeds ± half the 95 % interval" if seeds > 1 else "one seed"
    # Compared as they are shown: equal to the reader's eye is equally good, and where all are
    # equal none is best.
    shown = wide.map(lambda found: round(found.estimate, 1)).groupby(level="size")
    best = shown.transform("max").eq(shown.obj) & shown.transform("nunique").gt(1)
    wide.index = best.index = [f"{SIZES[size]} {LABELS[method]}" for size, method in wide.index]
    caption = f"{_ours(evaluations)}: accuracy in percent, {mean}; best of each size in bold"
    return style.Table(wide.map(_mean_and_half).rename_axis("method"), best, caption)


def _mean_and_half(found: Interval) -> str:
    half = f" ± {found.estimate - found.low:.1f}" if found.n > 1 else ""
    return f"{found.estimate:.1f}{half}"


def published_table() -> style.Table:
    """Return the paper's Table 2 with the means of its rows recomputed; best in bold."""
    names = {"printed_average": "Avg. printed", "recomputed_average": "Avg. recomputed"}
    frame = published.table2().rename(columns=names)
    best = frame.round(1).eq(frame.round(1).groupby(level="model").transform("max"))
    cells = frame.map("{:.1f}".format)
    cells.index = [f"{SIZES[m.lower()]} {name.replace('_', '-')}" for m, name in frame.index]
    best.index = cells.index
    return style.Table(
        cells.rename_axis("method"),
        best,
        "The paper's Table 2: accuracy in percent; the printed averages are not the means of "
        "their rows, which stand beside them",
    )


def gains_figure(evaluations: pd.DataFrame) -> Figure:
    """Draw the points gained over GRPO by benchmark: a row a size, the paper's rows below ours."""
    ours, paper = gains(accuracies(evaluations)), gains(published_accuracies())
    rows = [
        [partial(gain_panel, part[part["size"] == size], title=f"{name} {label}")]
        for name, part in ((f"{_ours(evaluations)}:", ours), ("Paper (Table 2):", paper))
        for size, label in SIZES.items()
        if (part["size"] == size).any()
    ]
    return style.panels(rows, width_in=10, row_height_in=2.9)


def gain_panel(table: pd.DataFrame, ax: Axes, *, title: str = "") -> Axes:
    """Draw gains over GRPO in points, with the 95 % interval over seeds where there is one.

    ``table``: ``gains``' rows of one size.
    """
    palette = {label: style.METHOD_COLOURS[method] for method, label in LABELS.items()}
    table = table.assign(method=table["method"].map(LABELS), name=table["benchmark"].map(_short))
    shown = [label for label in palette if (table["method"] == label).any()]
    sns.pointplot(
        table, x="name", y="percent", hue="method", hue_order=shown, palette=palette, dodge=0.36,
        markers=["s", "^", "o", "v", "D"][: len(shown)], linestyle="none", ms=5, capsize=0.05,
        errorbar=style.over_seeds, err_kws={"lw": 1.2}, ax=ax,
    )  # fmt: skip
    ax.axhline(0, color="0.4", lw=0.8)
    ax.axvline(table["name"].nunique() - 1.5, color="0.8", lw=0.8)  # the mean stands apart
    ax.set(xlabel="", ylabel="points over GRPO", title=title)
    ax.tick_params(axis="x", labelsize="small")
    ax.legend(ncols=3)
    return ax


def _ours(evaluations: pd.DataFrame) -> str:
    toy = len(evaluations) and evaluations["benchmark"].str.startswith("toy_").all()
    return style.ours(pd.DataFrame({"profile": ["toy" if toy else ""]}))


def _short(name: str) -> str:
    return name.removeprefix("toy_").replace("_", " ")
