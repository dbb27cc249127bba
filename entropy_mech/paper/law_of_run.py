"""Pictures of the law (section 2): points, curves, bands; frame or report + Axes in, Axes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from entropy_mech.errors import bad_value
from entropy_mech.law.fit import FORMS, fit_form, law_intervals, n_first
from entropy_mech.law.report import LawForecast, LawReport, analyse_log, analyse_run
from entropy_mech.paper import published
from entropy_mech.paper.published import published_run

UNIT_LABELS = {"fraction": "performance (fraction)", "percent": "performance (%)",
               "reward": "performance (reward)"}  # fmt: skip


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
    ax.set(xlabel="policy entropy H (nats)", ylabel=UNIT_LABELS[report.unit])
    ax.set_xlim(left=-0.02 * entropy.max())
    ax.legend(frameon=False, fontsize="small")
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
    ax.axhline(0.0, color="0.6", lw=1)
    lag1 = report.autocorrelation
    ax.plot(points["step"], residual, marker="o", ms=3, lw=0.8,
            label=f"lag-1 autocorrelation {lag1:.2f}")  # fmt: skip
    against = "law" if report.course.is_law else "curve"
    ax.set(xlabel="training step", ylabel=f"observed $-$ {against}, " + UNIT_LABELS[report.unit])
    ax.legend(frameon=False, fontsize="small")
    return ax


def rival_forms(
    entropy_nats: np.ndarray, performance: np.ndarray, ax: Axes, *, unit: str = "fraction"
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
        ax.plot(grid, fit.predict(grid), color=f"C{number}", lw=1.4,
                ls="-" if form == "exponential" else "--",
                label=f"{form.replace('_', ' ')}{rate} (RMSE {fit.rmse:.2g})")  # fmt: skip
    _log_entropy_axis(ax)
    ax.set_ylabel(UNIT_LABELS[unit])
    ax.legend(frameon=False, fontsize="small")
    return ax


def forecast(result: LawForecast, ax: Axes, *, unit: str = "fraction") -> Axes:
    """Draw a forecast from the first points: fitted dots, forecast dots, curve and band."""
    points = result.points.sort_values("entropy_nats")
    for later, colour, label in ((False, "C0", "fitted"), (True, "C1", "forecast, observed")):
        part = points[points["forecast"] == later]
        ax.plot(part["entropy_nats"], part["performance"], "o", color=colour, ms=4,
                label=f"{label} ({len(part)})")  # fmt: skip
    ax.plot(points["entropy_nats"], points["predicted"], color="C0", lw=1.2, label="law")
    if points["low"].notna().all():
        ax.fill_between(points["entropy_nats"], points["low"], points["high"], color="C0",
                        alpha=0.15, lw=0, label="95 % interval of an evaluation")  # fmt: skip
        reach = points["performance"].max() - points["performance"].min()
        ax.set_ylim(
            points["performance"].min() - 0.3 * reach, points["performance"].max() + 0.5 * reach
        )
    _log_entropy_axis(ax)
    ax.set_ylabel(UNIT_LABELS[unit])
    ax.legend(frameon=False, fontsize="small")
    return ax


def forecast_of_run(report: LawReport, fraction: float, ax: Axes) -> Axes:
    """Draw a run's ``forecast`` from its first part; where there is no law, say so instead."""
    if report.course.is_law:
        return forecast(report.forecast(fraction), ax, unit=report.unit)
    ax.axis("off")
    ax.set_title("Not the law: no forecast", color="C3")
    return ax


def coefficients_by_size(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw a, b and the ceiling against size, with the line through all but the largest.

    ``frame`` as for ``theory.extrapolate_largest``: parameters_billion, a, b, in one unit.
    """
    from entropy_mech.law.fit import fit_sizes

    frame = frame.assign(ceiling=frame["b"] - frame["a"]).sort_values("parameters_billion")
    sizes = frame["parameters_billion"].to_numpy()
    grid = np.geomspace(sizes[0], sizes[-1], 50)
    for number, (quantity, label) in enumerate(
        (("b", "b"), ("ceiling", "ceiling b - a"), ("a", "a"))
    ):
        values = frame[quantity].to_numpy()
        line = fit_sizes(sizes[:-1], values[:-1])
        ax.plot(sizes[:-1], values[:-1], "o", color=f"C{number}", label=label)
        ax.plot(sizes[-1:], values[-1:], "o", mfc="none", color=f"C{number}")
        ax.plot(grid, line.predict(grid), color=f"C{number}", lw=1, ls="--")
    ax.plot([], [], "o", mfc="none", color="0.3", label="largest, left out")
    ax.plot([], [], ls="--", color="0.3", lw=1, label="line through the others")
    ax.set(
        xscale="log", xlabel="non-embedding parameters (billions)", ylabel="performance (fraction)"
    )
    ax.set_xticks(sizes, labels=[f"{size:g}" for size in sizes])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize="small")
    return ax


def _log_entropy_axis(ax: Axes) -> None:
    ax.set(xscale="log", xlabel="policy entropy H (nats)")
    low, high = ax.get_xlim()
    ticks = [m * 10.0**e for e in range(-5, 2) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    ax.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def published_rivals(sizes: list[str], axes: Sequence[Axes]) -> None:
    """Draw ``rival_forms`` of the paper's points, one Axes a size."""
    for size, ax in zip(sizes, axes, strict=True):
        rival_forms(*published.scatter(size), ax).set_title(f"Qwen2.5-{size}")


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
