"""The law in public training runs of others: the rule, the numbers, claims and drawing.

The series are not ours to publish. What is kept is where each lies and what was computed from it;
with the series in a folder all of it is computed again.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.errors import bad_value, folder_path
from entropy_mech.law.fit import fit_form, fit_law, law_intervals, n_first
from entropy_mech.law.report import course_of
from entropy_mech.paper import style
from entropy_mech.paper.claims import (
    Claim,
    Fact,
    Range,
    at_least,
    at_most,
    correlation,
    correlation_interval,
    mean_interval,
    ratio_interval,
)  # fmt: skip
from entropy_mech.paper.law_groups import forecast_errors
from entropy_mech.paper.published import published_fits

# -- The rule, stated before the fits ------------------------------------------------------------

LEAST_VALIDATIONS = 8  # with fewer, performance is the train reward
FORECAST_FRACTION = 0.15
# What ``course_of`` says of the whole entropy curve, and of performance where it collapses.
CLASSES = {
    "falls": "falling",
    "flat": "flat",  # not spent
    "held": "flat",  # falls at first, then stays
    "returns": "flat",  # falls and comes back
    "rises": "rising",
    "explodes": "exploding",
    "collapses": "collapsing",
    "controlled": "controlled",  # by an entropy bonus of 0.01 or more, or clip-higher
}
CLASS_ORDER = tuple(dict.fromkeys(CLASSES.values()))
RIVALS = {"linear": "H", "log_entropy": "log H", "log_step": "log step"}


def chosen_points(series: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return which performance a series is judged by, and its points: step, entropy, performance.

    Validation where it was measured at least eight times, else the train reward.

    >>> series = pd.DataFrame({"step": [0, 1], "entropy_nats": [0.5, 0.4]})
    >>> series = series.assign(validation_accuracy=[0.1, None], train_reward=[0.1, 0.2])
    >>> chosen_points(series)[0], len(chosen_points(series)[1])
    ('train reward', 2)
    """
    validated = series["validation_accuracy"].notna().sum() >= LEAST_VALIDATIONS
    name = "validation_accuracy" if validated else "train_reward"
    return name.replace("_", " "), _points(series, name)


def _points(series: pd.DataFrame, performance: str) -> pd.DataFrame:
    frame = series[["step", "entropy_nats", performance]].dropna()
    return frame.rename(columns={performance: "performance"})


# -- What is computed from one run ---------------------------------------------------------------


def measured(points: pd.DataFrame, entropy: pd.Series, controlled_by: str = "") -> dict:
    """Return all that the table has of one run: its class, the law, its rivals, forecasts.

    ``points`` has step, entropy_nats and performance in training order, ``entropy`` the whole
    curve. AICc is the rival's less the law's: above 0 the law fits better. All have two numbers to
    fit, so AICc and R^2 order them alike.
    """
    step, h, r = (points[name].to_numpy(float) for name in ("step", "entropy_nats", "performance"))
    course = course_of(entropy.dropna(), r, controlled=controlled_by).name
    fit, law, time = fit_law(h, r), fit_form("exponential", h, r), np.log1p(step)
    found = {"class": CLASSES[course], "course": course, "points": len(r)}
    found |= {name: getattr(fit, name) for name in ("a", "b", "r2", "rmse")}
    found["a_without_first"] = fit_law(h[1:], r[1:]).a
    intervals = law_intervals(h, r).set_index("quantity")
    found |= {f"{q}_{end}": intervals.loc[q, end] for q in ("a", "b") for end in ("low", "high")}
    for name, form, x in (
        ("linear", "linear", h),
        ("log_entropy", "logarithm", h),
        ("log_step", "linear", time),
    ):
        r2 = aicc = np.nan
        if form == "linear" or x.min() > 0.0:
            rival = fit_form(form, x, r)
            r2, aicc = 1.0 - rival.rss / (len(r) * r.var()), rival.aicc - law.aicc
        found |= {f"r2_{name}": r2, f"aicc_{name}": aicc}
    found["partial_correlation"] = partial_correlation(np.exp(h), r, time)
    first = n_first(len(r), FORECAST_FRACTION)
    errors = forecast_errors((h[:first], r[:first]), (h[first:], r[first:]), r[first - 1])
    return found | {"forecast_rmse": errors["rmse"], "carried_rmse": errors["naive_rmse"]}


_ROUNDING = 1e-12


def partial_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Return the correlation of what straight lines in ``given`` leave of x and y.

    It follows from the three plain correlations; NaN where a line leaves nothing of one of them.

    >>> time = np.arange(4.0)
    >>> round(partial_correlation(time + [1, -1, -1, 1], 2 * time - [1, -1, -1, 1], time), 9)
    -1.0
    """
    xy, x_given, y_given = correlation(x, y), correlation(x, given), correlation(y, given)
    left = (1 - x_given**2) * (1 - y_given**2)
    return (xy - x_given * y_given) / math.sqrt(left) if left > _ROUNDING else math.nan


# -- The table -----------------------------------------------------------------------------------

_DATA = Path(__file__).parent / "data"
_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "logs"
_TEXTS = ("controlled_by", "recipe", "variant", "not_fetched", "read_performance")


def kept_runs() -> pd.DataFrame:
    """Return the kept table: source, settings and what was computed, a row a run.

    >>> len(kept_runs()), kept_runs()["repository"].nunique()
    (47, 13)
    """
    table = pd.read_csv(_DATA / "public_runs.csv")
    texts = {name: table[name].fillna("") for name in _TEXTS}
    return table.assign(**texts, numbers="kept")


def load_runs(folder: str | Path = "") -> pd.DataFrame:
    """Return the table, computed anew for each run whose series is at hand.

    ``folder`` holds series ``<run>.csv`` with step, entropy_nats, validation_accuracy and
    train_reward; empty takes ``../shared/data/logs`` beside the project where there is one. Column
    ``numbers`` says where a row's come from: ``folder`` or ``kept``.

    Raises:
        UserError: the folder has none of the series.

    """
    if folder:
        folder = folder_path("folder", folder, "give the folder of the series")
    table = kept_runs()
    rows = [_measured_row(row, series_of(row["run"], folder)) for row in table.to_dict("records")]
    if folder and all(row["numbers"] == "kept" for row in rows):
        fix = "give the folder that has them as RUN.csv, or leave it empty for the kept numbers"
        raise bad_value("folder", str(folder), f"{fix}; none of {len(rows)} series is there")
    return with_recipes(pd.DataFrame(rows)[table.columns], folder)


def _measured_row(row: dict, series: pd.DataFrame) -> dict:
    if series.empty:
        return row
    performance, points = chosen_points(series)
    found = measured(points, series["entropy_nats"], row["controlled_by"])
    train = _points(series, "train_reward")
    fit = fit_law(train["entropy_nats"], train["performance"])
    found |= {"train_a": fit.a, "train_b": fit.b, "train_r2": fit.r2, "train_points": fit.n_points}
    return row | found | {"performance": performance, "numbers": "folder"}


def series_of(run: str, folder: str | Path = "") -> pd.DataFrame:
    """Return the series of a run from a folder; empty where it is not there."""
    path = Path(folder or _BESIDE) / f"{run}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def with_recipes(table: pd.DataFrame, folder: str | Path = "") -> pd.DataFrame:
    """Add how one law for all falling runs of a recipe fits each (``recipe_rmse``), from series."""
    falling = table[(table["class"] == "falling") & (table["recipe"] != "")]
    for _, part in falling.groupby("recipe"):
        every = {run: series_of(run, folder) for run in part["run"]}
        if any(series.empty for series in every.values()):
            continue  # the kept value stays
        points = {run: chosen_points(series)[1] for run, series in every.items()}
        pooled = pd.concat(points.values())
        fit = fit_law(pooled["entropy_nats"], pooled["performance"])
        for run, frame in points.items():
            error = frame["performance"] - fit.predict(frame["entropy_nats"])
            table.loc[table["run"] == run, "recipe_rmse"] = float(np.sqrt((error**2).mean()))
    return table


# -- Claims --------------------------------------------------------------------------------------


def by_class(table: pd.DataFrame) -> pd.DataFrame:
    """Return, for each class, how many runs of how many repositories, and medians over runs."""
    groups = table.groupby("class")
    medians = groups[["r2", *(f"r2_{name}" for name in RIVALS), "partial_correlation"]].median()
    counts = groups.agg(runs=("run", "size"), repositories=("repository", "nunique"))
    return counts.join(medians).reindex(CLASS_ORDER).dropna(subset="runs")


_STEADY = 0.25


def wild_claims(table: pd.DataFrame) -> list[Claim | Fact]:
    """Judge the law on public runs; claims are about the falling ones, where it should hold."""
    falling = table[table["class"] == "falling"]
    claims = _falling_claims(falling, f"runs of {falling['repository'].nunique()} repositories")
    return [*claims, _each_repository_once(falling, claims), _recipe_claim(falling), *_facts(table)]


def _falling_claims(falling: pd.DataFrame, of: str) -> list[Claim]:
    """Claims over the rows given: runs, or the means of repositories."""
    paper = published_fits()["r2"]
    fits = f"{paper.min():.2f} to {paper.max():.2f} (Fig. 1 right, five sizes, digitised)"
    better = at_least(0.0, contradicted_below=0.0)
    ratio = falling["forecast_rmse"] / falling["carried_rmse"]
    rivals = [
        Claim(f"Falling runs: exp(H) explains more than {x} (R^2 above that of {x})",
              "not compared (other curves in H: law_published)" if name != "log_step"
              else "not compared",
              mean_interval((falling["r2"] - falling[f"r2_{name}"]).dropna()), better, of)
        for name, x in RIVALS.items()
    ]  # fmt: skip
    return [
        Claim("Falling runs: the law explains 0.8 of the variance (R^2)", fits,
              mean_interval(falling["r2"]), at_least(0.8, contradicted_below=0.5), of),
        *rivals,
        Claim("Falling runs: given log step, R still falls with exp(H) (partial correlation)",
              "not measured", correlation_interval(falling["partial_correlation"]),
              at_most(0.0, contradicted_above=0.0), of),
        Claim("Falling runs: from the first 15 % of points the law forecasts the rest better than "
              "the last value carried forward (ratio of RMSE)",
              "forecast within 0.9 points (maths, Fig. 5); carrying forward not compared",
              ratio_interval(ratio.dropna()), at_most(1.0, contradicted_above=1.0), of),
    ]  # fmt: skip


def _each_repository_once(falling: pd.DataFrame, claims: list[Claim]) -> Fact:
    """Runs of one repository share code, data and author, so they are not independent.

    Means of errors are taken on their logarithms, those of correlations on Fisher's z.
    """
    errors = ["forecast_rmse", "carried_rmse"]
    z = np.arctanh(falling["partial_correlation"])
    numbers = falling.select_dtypes("number").assign(partial_correlation=z)
    numbers[errors] = np.log(numbers[errors])
    means = numbers.groupby(falling["repository"]).mean()
    means[errors] = np.exp(means[errors])
    means["partial_correlation"] = np.tanh(means["partial_correlation"])
    changed = [
        f"{one.statement.removeprefix('Falling runs: ')}: {one.ours}, {one.verdict}"
        for one, every in zip(_falling_claims(means, "repositories"), claims, strict=True)
        if one.verdict != every.verdict
    ]
    return Fact(
        f"These verdicts stay where each of {len(means)} repositories counts once",
        "-",
        "; ".join(changed) or "all do",
        not changed,
    )


def _recipe_claim(falling: pd.DataFrame) -> Claim:
    part = falling.dropna(subset="recipe_rmse")
    spans = ", ".join(f"{q} {part[q].min():.2f} to {part[q].max():.2f}" for q in ("a", "b"))
    return Claim(
        f"One recipe ({part['recipe'].iloc[0]}), {len(part)} losses: a law for each run fits "
        f"better by less than 0.01 (RMSE, fraction; {spans})",
        "a and b do not depend on the algorithm (Fig. 6)",
        mean_interval(part["recipe_rmse"] - part["rmse"]),
        Range(most=0.01),
        "runs of 1 repository",
    )


def _facts(table: pd.DataFrame) -> list[Fact]:
    medians = by_class(table)["r2"]
    falling = table[table["class"] == "falling"]
    change = (falling["a_without_first"] / falling["a"] - 1).abs()
    steady = int((change <= _STEADY).sum())
    others = table.loc[table["class"] != "falling", "r2"]
    rising = table[table["class"] == "rising"]
    gains = int((rising["a"] > 0).sum())
    return [
        Fact(
            "The law fits falling runs better than all others (median R^2)",
            "claimed for runs without entropy intervention (section 2.4)",
            f"{medians['falling']:.2f} against {others.median():.2f} ({len(others)} runs)",
            medians["falling"] > others.median(),
        ),
        Fact(
            f"Falling runs: a stays within {_STEADY:.0%} when the first point is left out",
            "-",
            f"in {steady} of {len(falling)}; median change {change.median():.0%}, largest "
            f"{change.max():.0%}",
            steady == len(falling),
        ),
        Fact(
            "Where entropy rises, performance falls as the law says (a above 0 in every run)",
            "-",
            f"a above 0 in {gains} of {len(rising)}, R^2 {medians['rising']:.2f} (median)",
            gains == len(rising),
        ),
        *(
            Fact(
                f"{name.capitalize()} runs: the law explains half of the variance (median R^2)",
                "-",
                f"{medians[name]:.2f} ({(table['class'] == name).sum()} runs)",
                medians[name] >= 0.5,
            )
            for name in ("flat", "exploding", "collapsing", "controlled")
        ),
    ]


# -- Drawing -------------------------------------------------------------------------------------

_KINDS = {"validation accuracy": style.ACCURACY_COLOUR, "train reward": style.ENTROPY_COLOUR}


def overview_figure(table: pd.DataFrame) -> Figure:
    """Draw fit by class, rivals, forecasts, and the partial correlation given log step."""
    falling = table[table["class"] == "falling"]
    fits = partial(strip_by_class, table, "r2", label="$R^2$ of $R = -a\\,e^H + b$")
    label = "correlation of $R$ and $e^H$ given log step"
    left = partial(strip_by_class, table, "partial_correlation", label=label)
    rows = [[fits, partial(rivals, falling)], [left, partial(forecasts, falling)]]
    return style.panels(rows, width_in=13, row_height_in=4.6)


def strip_by_class(table: pd.DataFrame, column: str, ax: Axes, *, label: str) -> Axes:
    """Draw a dot a run by class, and the median of each class."""
    order = [name for name in CLASS_ORDER if (table["class"] == name).any()]
    sns.swarmplot(table, x="class", y=column, order=order, hue="performance", palette=_KINDS,
                  size=5.5, alpha=0.8, ax=ax)  # fmt: skip
    for place, name in enumerate(order):
        median = table.loc[table["class"] == name, column].median()
        ax.hlines(median, place - 0.35, place + 0.35, color="k", lw=1.8,
                  label="median" if place == 0 else None)  # fmt: skip
    counts = table["class"].value_counts()
    ax.set_xticks(range(len(order)), [f"{name}\n({counts[name]})" for name in order])
    ax.axhline(0.0, color="0.6", lw=1)
    ax.set(xlabel="what the run's entropy does (runs)", ylabel=label)
    ax.legend(loc="upper right" if column == "r2" else "upper center")
    return ax


def rivals(falling: pd.DataFrame, ax: Axes) -> Axes:
    """Draw R^2 of three rival curves against the law's; above the line the rival fits better."""
    markers = zip(RIVALS.items(), ("o", "s", "^"), style.ORDINAL_COLOURS[1:4], strict=True)
    for (name, x), marker, colour in markers:
        wins = int((falling[f"r2_{name}"] > falling["r2"]).sum())
        ax.scatter(falling["r2"], falling[f"r2_{name}"], marker=marker, color=colour, s=34,
                   alpha=0.85, label=f"{x}: better in {wins} of {len(falling)}")  # fmt: skip
    ax.axline((0, 0), slope=1, color="0.5", lw=1)
    ax.set(xlim=(0.25, 1.02), ylim=(0.25, 1.02), title="Falling runs: rival curves")
    ax.set(xlabel="$R^2$ of the law, $e^H$", ylabel="$R^2$ of a straight line in ...")
    ax.legend(loc="upper left")
    return ax


def forecasts(falling: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the law's forecast error against that of the last value; below the line it is better."""
    sns.scatterplot(falling, x="carried_rmse", y="forecast_rmse", hue="performance",
                    palette=_KINDS, s=40, ax=ax)  # fmt: skip
    ax.axline((0.1, 0.1), (1, 1), color="0.5", lw=1)
    ax.set(xscale="log", yscale="log", xlabel="RMSE of the last value carried forward",
           ylabel="RMSE of the law, told later $H$",
           title="Falling runs: forecasts from the first 15 % (fractions)")  # fmt: skip
    ax.legend(loc="upper left")
    return ax


def recipe_figure(table: pd.DataFrame) -> Figure:
    """Draw a and b of the falling runs of one recipe, each with its 95 % interval along the run."""
    part = table[(table["class"] == "falling") & table["recipe_rmse"].notna()].sort_values("a")
    draws = [partial(coefficients, part, name) for name in ("a", "b")]
    figure = style.panels([draws], width_in=13, row_height_in=3.8, sharey=True)
    figure.suptitle(f"One recipe ({part['recipe'].iloc[0]}), {len(part)} losses")
    return figure


def coefficients(part: pd.DataFrame, name: str, ax: Axes) -> Axes:
    """Draw one coefficient of each run with its interval."""
    reach = [part[name] - part[f"{name}_low"], part[f"{name}_high"] - part[name]]
    ax.errorbar(part[name], part["variant"], xerr=reach, fmt="o", color=style.ACCURACY_COLOUR,
                capsize=3)  # fmt: skip
    ax.set(xlabel=f"{name} (accuracy, fraction), 95 % interval")
    return ax


def examples_figure(table: pd.DataFrame, folder: str | Path = "") -> Figure:
    """Draw one run a class with its law: the one whose R^2 is its class's (lower) median."""
    draws = []
    for name in CLASS_ORDER:
        part = table[table["class"] == name].sort_values("r2")
        if len(part):
            draws.append(partial(example, part.iloc[(len(part) - 1) // 2], folder))
    return style.panels([draws[:3], draws[3:]], row_height_in=3.9)


def example(row: pd.Series, folder: str | Path, ax: Axes) -> Axes:
    """Draw a run's points, coloured by step, and its fitted curve."""
    series = series_of(row["run"], folder)
    title = f"{row['class']}: {row['model'].partition(' (')[0]}, $R^2$ = {row['r2']:.2f}"
    if series.empty:
        return style.note(f"{title}\n{row['run']}\n(its series is not here)", ax)
    _, points = chosen_points(series)
    grid = np.linspace(points["entropy_nats"].min(), points["entropy_nats"].max(), 100)
    ax.plot(grid, row["b"] - row["a"] * np.exp(grid), color="k", lw=1.2, label="fit")
    dots = ax.scatter(points["entropy_nats"], points["performance"], c=points["step"], s=14,
                      cmap="cool", label=row["performance"])  # fmt: skip
    ax.figure.colorbar(dots, ax=ax, label="training step")
    ax.set(title=title, ylabel=row["performance"])
    style.entropy_axis(ax).legend()
    return ax
