"""Pictures of the law (section 2): points, curves, bands; frame or report + Axes in, Axes out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from textwrap import fill

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.errors import bad_value
from entropy_mech.law.fit import FORMS, fit_form, law_intervals, n_first
from entropy_mech.law.report import LawForecast, LawReport, analyse_log, analyse_run
from entropy_mech.paper import published, style
from entropy_mech.paper.published import published_run

UNIT_LABELS = {"fraction": "performance (fraction)", "percent": "performance (%)",
               "reward": "performance (reward)"}  # fmt: skip


def run_figure(report: LawReport) -> Figure:
    """Draw a run's law and its residuals."""
    return style.panels([[partial(law_of_run, report), partial(residuals_of_run, report)]],
                        width_in=13, row_height_in=4.6)  # fmt: skip


def forecast_figure(report: LawReport, fraction: float) -> Figure:
    """Draw a run's forecast from its first part, and the rival forms of its law."""
    points = report.points
    rivals = partial(rival_forms, points["entropy_nats"], points["performance"], unit=report.unit)
    draws = [partial(forecast_of_run, report, fraction), rivals]
    return style.panels([draws], width_in=13, row_height_in=4.6)


def published_rivals(sizes: list[str]) -> Figure:
    """Draw ``rival_forms`` of the paper's points, a panel a size, two in a row."""
    draws = [
        partial(rival_forms, *published.scatter(size), title=f"Qwen2.5-{size}") for size in sizes
    ]
    rows = [draws[i : i + 2] for i in range(0, len(draws), 2)]
    return style.panels(rows, width_in=13, row_height_in=4.5)


def law_of_run(report: LawReport, ax: Axes) -> Axes:
    """Draw a run's points, coloured by step, the fitted law to H = 0 with its band, the ceiling.

    A run whose entropy is not simply spent gets no law: its points, a grey least-squares curve over
    them alone, and the warning in red above.
    """
    points, fit = report.points, report.fit
    entropy = points["entropy_nats"].to_numpy()
    curve = rf"$-{fit.a:.3g}\,e^H + {fit.b:.3g}$,  $R^2$ = {fit.r2:.3f}"
    if report.course.is_law:
        grid = np.linspace(0.0, entropy.max(), 120)
        _band_and_ceiling(report, grid, ax)
        ax.plot(grid, fit.predict(grid), color="C0", label="$R = $" + curve)
    else:
        grid = np.linspace(entropy.min(), entropy.max(), 120)
        ax.plot(grid, fit.predict(grid), color="0.6", ls="--", label="not the law: " + curve)
        ax.set_title("Not the law: " + fill(report.course.sentence, 60), color="C3", wrap=True)
    dots = ax.scatter(entropy, points["performance"], c=points["step"], s=16, cmap="cool",
                      zorder=3, label="evaluations")  # fmt: skip
    ax.figure.colorbar(dots, ax=ax, label="training step")
    ax.set_ylabel(UNIT_LABELS[report.unit])
    ax.set_xlim(left=-0.02 * entropy.max())
    style.entropy_axis(ax).legend()
    return ax


def _band_and_ceiling(report: LawReport, grid: np.ndarray, ax: Axes) -> None:
    if report.intervals is None:
        return
    points, fit = report.points, report.fit
    table = law_intervals(points["entropy_nats"], points["performance"], at_entropy_nats=grid)
    band = table[table["quantity"] == "law"]
    ax.fill_between(grid, band["low"], band["high"], color="C0", alpha=0.2, lw=0,
                    label="95 % interval of the law")  # fmt: skip
    ceiling = report.intervals.set_index("quantity").loc["ceiling"]
    ax.errorbar([0.0], [fit.ceiling], [[max(fit.ceiling - ceiling["low"], 0.0)],
                [max(ceiling["high"] - fit.ceiling, 0.0)]], color="k", marker="_", ms=10,
                capsize=4, clip_on=False, label=f"ceiling {fit.ceiling:.3g}")  # fmt: skip


def residuals_of_run(report: LawReport, ax: Axes) -> Axes:
    """Draw the residuals against step: what the law does not explain, and how it hangs together."""
    points = report.points
    residual = points["performance"] - report.fit.predict(points["entropy_nats"])
    lag1 = f"lag-1 autocorrelation {report.autocorrelation:.2f}"
    ax.axhline(0.0, color="0.6", lw=1)
    sns.lineplot(x=points["step"], y=residual, marker="o", lw=0.8, label=lag1, ax=ax)
    against = "law" if report.course.is_law else "curve"
    ax.set(xlabel="training step", ylabel=f"observed $-$ {against}, " + UNIT_LABELS[report.unit])
    ax.legend()
    return ax


def rival_forms(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    ax: Axes,
    *,
    unit: str = "fraction",
    title: str = "",
) -> Axes:
    """Draw the points and the least-squares curve of each rival form, over the points' range."""
    entropy = np.asarray(entropy_nats, dtype=float)
    ax.plot(entropy, performance, "o", color="0.55", ms=4, label="evaluations")
    grid = np.geomspace(entropy[entropy > 0].min(), entropy.max(), 200)
    for number, (form, spec) in enumerate(FORMS.items()):
        if spec.positive_entropy and entropy.min() <= 0.0:
            continue
        fit = fit_form(form, entropy, performance)
        rate = "" if np.isnan(fit.c) else f", c = {fit.c:.2f}"
        label = f"{form.replace('_', ' ')}{rate} (RMSE {fit.rmse:.2g})"
        line = "-" if form == "exponential" else "--"
        ax.plot(grid, fit.predict(grid), color=f"C{number}", lw=1.4, ls=line, label=label)
    style.log_entropy_axis(ax)
    ax.set(ylabel=UNIT_LABELS[unit], title=title)
    ax.legend()
    return ax


def forecast(result: LawForecast, ax: Axes, *, unit: str = "fraction", title: str = "") -> Axes:
    """Draw a forecast from the first points: fitted dots, forecast dots, curve and band."""
    points = result.points.sort_values("entropy_nats")
    names = {False: "fitted", True: "forecast, observed"}
    names = {k: f"{name} ({(points['forecast'] == k).sum()})" for k, name in names.items()}
    kinds = points["forecast"].map(names)
    sns.scatterplot(
        points,
        x="entropy_nats",
        y="performance",
        hue=kinds,
        hue_order=names.values(),
        linewidth=0,
        ax=ax,
    )
    ax.plot(points["entropy_nats"], points["predicted"], color="C0", lw=1.2, label="law")
    if points["low"].notna().all():
        ax.fill_between(points["entropy_nats"], points["low"], points["high"], color="C0",
                        alpha=0.15, lw=0, label="95 % interval of an evaluation")  # fmt: skip
        low, high = points["performance"].min(), points["performance"].max()
        ax.set_ylim(low - 0.3 * (high - low), high + 0.5 * (high - low))
    style.log_entropy_axis(ax)
    ax.set(ylabel=UNIT_LABELS[unit], title=title)
    ax.legend()
    return ax


def forecast_of_run(report: LawReport, fraction: float, ax: Axes) -> Axes:
    """Draw a run's ``forecast`` from its first part; where there is no law, say so instead."""
    if report.course.is_law:
        return forecast(report.forecast(fraction), ax, unit=report.unit)
    ax.axis("off")
    ax.set_title("Not the law: no forecast", color="C3")
    return ax


def law_of(log: str | Path = "", *, forecast_fraction: float = 0.15, **columns: str) -> LawReport:
    """Return the report of a log, or, for an empty name, of the paper's own 7B run (Fig. 1 left).

    ``columns`` as in ``analyse_log``: entropy, performance, step, run. All that is wrong with what
    was given, ``forecast_fraction`` for the report's ``forecast`` too, is said before reading.

    >>> law_of().unit
    'percent'
    """
    n_first(100, forecast_fraction)
    for name, given in {"log": log, **columns}.items():
        if not isinstance(given, str | Path):
            raise bad_value(name, given, "give a name in quotes, or leave it empty")
    if log:
        return analyse_log(log, **columns)[0]
    run = published_run()
    return analyse_run(run["entropy_nats"], run["performance"], step=run["step"])
