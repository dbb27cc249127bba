"""Figure 5: the end of a run forecast from its first part. Claims and drawing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.errors import UserError
from entropy_mech.law.fit import LawFit, fit_law
from entropy_mech.law.report import forecast_law
from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_ratios, over_replicates
from entropy_mech.paper.fig02 import by_domain
from entropy_mech.paper.law_groups import by_model, validated
from entropy_mech.paper.law_of_run import forecast
from entropy_mech.paper.published import published_run
from entropy_mech.paper.style import (
    LOWEST_NATS,
    ORDINAL_COLOURS,
    log_entropy_axis,
    panels,
    seeds_of,
)

# -- Claims --------------------------------------------------------------------------------------

FRACTIONS = (0.15, 0.25, 0.33)
OWN, ALL_SEEDS = "the run's own", "all seeds'"
_RMSE, _LAST = "RMSE over the rest (points)", "|error| at the last"


def forecast_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with domain (maths, code) and group (the model's label)."""
    return by_domain(by_model(frame))


def early_points(frame: pd.DataFrame, fraction: float) -> pd.Series:
    """Return, for each row, whether its step lies in the first ``fraction`` of the rollouts."""
    return frame["step"] < fraction * (frame["step"].max() + 1)


def forecasts(frame: pd.DataFrame, fractions: tuple[float, ...] = FRACTIONS) -> pd.DataFrame:
    """Fit the law on the first part of training and forecast accuracy over the rest.

    The forecast is given the entropies that the rest reached, as the paper's is: the law says what
    accuracy they buy. Two fits: on the run's own early points (three of them give two coefficients
    little to go by), and on those of all seeds together, which are about as many as the paper's
    nine (36 rollouts, validated every 4). The naive forecast is the last accuracy seen, carried
    forward.

    ``frame`` is ``forecast_runs``'. One row a domain, group, seed, fraction and choice of points:
    n_fitted, rmse, last_error, naive_rmse, naive_last_error (fractions; errors observed less
    predicted), a, b, note (why there is no fit).
    """
    rows = []
    for (domain, group), runs in validated(frame).groupby(["domain", "group"], sort=False):
        for fraction in fractions:
            early = runs[early_points(runs, fraction)]
            for seed, run in runs.groupby("seed"):
                own = early[early["seed"] == seed]
                later = run.drop(own.index)
                for points, fitted in ((OWN, own), (ALL_SEEDS, early)):
                    rows.append(
                        {"domain": domain, "group": group, "seed": seed, "fraction": fraction,
                         "points": points, "n_fitted": len(fitted)}
                        | _errors(fitted, later, last_seen=own)
                    )  # fmt: skip
    return pd.DataFrame(rows)


def early_fit(points: pd.DataFrame) -> LawFit | None:
    """Return the law through validated points, or None where it cannot be fitted."""
    try:
        return fit_law(points["entropy_nats"], points["validation_accuracy"])
    except UserError:
        return None


def forecast_table(frame: pd.DataFrame, by: Sequence[str] = ("domain", "group")) -> pd.DataFrame:
    """Return ``forecasts`` for the reader: means over seeds, in percentage points.

    ``by`` is what has rows of its own beside the fraction and the choice of points; without
    ``group``, means over models, as the paper prints them.
    """
    if frame.empty:
        return paper_forecast_errors()
    table = forecasts(frame)
    table["last"], table["naive_last"] = table["last_error"].abs(), table["naive_last_error"].abs()
    groups = table.groupby([*by, "points", "fraction"], sort=False)
    percent = 100 * groups[["rmse", "naive_rmse", "last", "naive_last"]].mean()
    return (
        percent.round(2)
        .rename(
            columns={
                "rmse": _RMSE,
                "naive_rmse": "naive RMSE",
                "last": _LAST,
                "naive_last": "naive |error| at the last",
            }
        )
        .assign(
            fitted=groups["n_fitted"].min(),
            note=groups["note"].agg(lambda note: "; ".join(sorted(set(note) - {""}))),
        )
    )


def paper_forecast_errors() -> pd.DataFrame:
    """Return the printed errors of Fig. 5 in percentage points: rows maths, code."""
    value = published.printed().query("place == 'fig05'").set_index("quantity")["value"]
    kinds = {
        "RMSE over the rest (points)": "over all steps",
        "error at the last": "at the last step",
    }
    names = {"maths": "mathematics", "code": "code"}
    return pd.DataFrame(
        {
            kind: {d: value[f"forecast RMSE {where} on {name}"] for d, name in names.items()}
            for kind, where in kinds.items()
        }
    )


def forecast_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 5 at 15 % of training with each run's own points; on an empty frame, Fig. 1's."""
    if frame.empty:
        return _published_facts()
    table = forecasts(frame, (0.15,)).query("points == @OWN")
    paper, claims = paper_forecast_errors(), []
    for domain, part in table.groupby("domain", sort=False):
        seeds, models = part.groupby("seed"), part["group"].nunique()
        rmse, last = paper.loc[domain]
        word = f"{domain.capitalize()}, {models} models, fitted on the first 15 %"
        claims += [
            over_replicates(
                f"{word}: RMSE over the rest at most 0.05 (mean over models, fraction)",
                f"{rmse / 100:.3f} (mean of 4 models, Fig. 5)",
                seeds["rmse"].agg(_plain_mean),
                holds=(-inf, 0.05),
                contradicted=(0.1, inf),
            ),
            over_replicates(
                f"{word}: error at the last validation at most 0.05 (the same)",
                f"{last / 100:.3f} (the same)",
                seeds["last_error"].agg(lambda error: _plain_mean(error.abs())),
                holds=(-inf, 0.05),
                contradicted=(0.1, inf),
            ),
            over_ratios(
                f"{word}: RMSE below the naive forecast's, last value carried forward (ratio)",
                "no naive forecast given",
                seeds["rmse"].agg(_plain_mean) / seeds["naive_rmse"].agg(_plain_mean),
                holds=(0.0, 1.0),
                contradicted=(1.0, inf),
            ),
        ]
    return claims


def _published_facts() -> list[Fact]:
    """Forecast the run of Fig. 1 left, the one digitised curve whose points have steps."""
    run, paper = published_run(), paper_forecast_errors()
    forecast = forecast_law(run["entropy_nats"], run["performance"], fraction=0.15)
    later = run["performance"].iloc[forecast.n_fitted :]
    naive = float(np.sqrt(np.mean((later - run["performance"].iloc[forecast.n_fitted - 1]) ** 2)))
    rmse, last = paper.loc["maths"]
    where = f"Qwen2.5-7B, Fig. 1 left, digitised; {forecast.n_fitted} points fitted"
    return [
        Fact(
            "The first 15 % forecast the rest of the run of Fig. 1 left with the printed RMSE or "
            "less (points)",
            f"{rmse:.1f} (four models, Fig. 5)",
            f"{forecast.rmse:.1f} ({where})",
            forecast.rmse <= rmse,
        ),
        Fact(
            "The same at the last step",
            f"{last:.1f}",
            f"{abs(forecast.last_error):.1f}",
            abs(forecast.last_error) <= last,
        ),
        Fact(
            "The law forecasts better than the last value carried forward (RMSE, points)",
            "no naive forecast given",
            f"law {forecast.rmse:.1f}, naive {naive:.1f}",
            forecast.rmse < naive,
        ),
    ]


def _errors(
    fitted: pd.DataFrame, later: pd.DataFrame, *, last_seen: pd.DataFrame
) -> dict[str, Any]:
    scores = later["validation_accuracy"].to_numpy()
    nothing = {"rmse": np.nan, "last_error": np.nan, "naive_rmse": np.nan,
               "naive_last_error": np.nan, "a": np.nan, "b": np.nan}  # fmt: skip
    if not len(scores) or not len(last_seen):
        return nothing | {"note": "no validation to fit, or none to forecast"}
    naive = scores - last_seen["validation_accuracy"].iloc[-1]
    result = nothing | {
        "naive_rmse": float(np.sqrt(np.mean(naive**2))),
        "naive_last_error": float(naive[-1]),
    }
    try:
        fit = fit_law(fitted["entropy_nats"], fitted["validation_accuracy"])
    except UserError as error:
        return result | {"note": f"no fit: {error}"}
    error = scores - fit.predict(later["entropy_nats"])
    return result | {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "last_error": float(error[-1]),
        "a": fit.a,
        "b": fit.b,
        "note": "" if fit.a > 0 else "a is negative",
    }


def _plain_mean(values: pd.Series) -> float:
    """The mean that is NaN where one model has no forecast: a missing model is no success."""
    return float(values.to_numpy().mean())


# -- Drawing -------------------------------------------------------------------------------------

_FRACTION = 0.15


def forecast_figure(frame: pd.DataFrame) -> Figure:
    """Draw a panel a domain: early points, the law through them, and what came after.

    ``frame`` is ``forecast_runs``'. On an empty frame, the run of Fig. 1 left stands alone.
    """
    if frame.empty:
        return panels([[published_forecast]], width_in=7.5, row_height_in=4.2)
    draws = [
        partial(forecast_panel, part, title=f"Ours: {domain}, {seeds_of(part)}")
        for domain, part in frame.groupby("domain", sort=False)
    ]
    return panels([draws], row_height_in=4.6)


def forecast_panel(frame: pd.DataFrame, ax: Axes, *, title: str = "") -> Axes:
    """Draw the forecast of each model from the first 15 % of training, all seeds' points together.

    Filled dots: fitted. Hollow: forecast. Line: the law, solid where it was fitted.
    """
    points = validated(frame)
    for i, (group, part) in enumerate(points.groupby("group", sort=False)):
        colour = ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)]
        early = early_points(part, _FRACTION)
        fitted, later = part[early], part[~early]
        ax.plot(fitted["entropy_nats"], fitted["validation_accuracy"], "o", ms=5, color=colour)
        ax.plot(later["entropy_nats"], later["validation_accuracy"], "o", ms=4, mfc="none",
                mec=colour, mew=0.8, alpha=0.7)  # fmt: skip
        fit = early_fit(fitted)
        if fit is None:
            ax.plot([], [], color=colour, label=f"{group}: no fit")
            continue
        for chosen, style in ((fitted, "-"), (part, "--")):
            entropy = chosen["entropy_nats"].clip(lower=LOWEST_NATS)
            grid = np.geomspace(entropy.min(), entropy.max(), 80)
            ax.plot(grid, fit.predict(grid), style, color=colour, lw=1.5,
                    label=str(group) if style == "-" else None)  # fmt: skip
    ax.plot([], [], "o", color="0.3", ms=5, label=f"first {100 * _FRACTION:.0f} %: fitted")
    ax.plot([], [], "o--", color="0.3", mfc="none", ms=4, label="the rest: forecast")
    log_entropy_axis(ax)
    ax.set(ylabel="validation accuracy (fraction)", title=title)
    ax.legend(frameon=False, fontsize="small")
    return ax


def published_forecast(ax: Axes) -> Axes:
    """Draw the forecast of the run of Fig. 1 left, the one digitised curve that has steps."""
    run = published_run()
    result = forecast_law(run["entropy_nats"], run["performance"], fraction=_FRACTION)
    forecast(result, ax, unit="percent")
    log_entropy_axis(ax)
    ax.set_title("Paper: Qwen2.5-7B (Fig. 1 left, digitised)")
    return ax
