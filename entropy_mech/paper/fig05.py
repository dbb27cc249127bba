"""Figure 5: the end of a run forecast from its first part. Claims and drawing."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.law.fit import n_first
from entropy_mech.law.report import forecast_law
from entropy_mech.paper import published, style
from entropy_mech.paper.claims import Claim, Fact, at_most, mean_interval, ratio_interval
from entropy_mech.paper.fig02 import by_domain
from entropy_mech.paper.law_groups import (
    by_model,
    colours_of,
    fit_or_note,
    forecast_errors,
    law_curve,
    validated,
)
from entropy_mech.paper.law_of_run import forecast
from entropy_mech.paper.published import published_run

# -- Claims --------------------------------------------------------------------------------------

FRACTIONS = (0.15, 0.25, 0.33)
OWN, ALL_SEEDS = "the run's own", "all seeds'"
_BY = ["domain", "group"]
_KEYS = (*_BY, "seed", "fraction", "points", "n_fitted")
_NUMBERS = ("rmse", "last_error", "naive_rmse", "naive_last_error", "a", "b")


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
    rows, points = [], validated(frame) if len(frame) else frame
    for (domain, group), runs in points.groupby(_BY, sort=False) if len(points) else ():
        for fraction, (seed, run) in product(fractions, runs.groupby("seed")):
            early = runs[early_points(runs, fraction)]
            own = early[early["seed"] == seed]
            later = run.drop(own.index)
            for whose, fitted in ((OWN, own), (ALL_SEEDS, early)):
                row = (domain, group, seed, fraction, whose, len(fitted))
                rows.append(dict(zip(_KEYS, row, strict=True)) | _errors(fitted, own, later))
    return pd.DataFrame(rows, columns=[*_KEYS, *_NUMBERS, "note"])


def _errors(fitted: pd.DataFrame, own: pd.DataFrame, later: pd.DataFrame) -> dict[str, Any]:
    if not len(later) or not len(own):
        return {"note": "no validation to fit, or none to forecast"}
    h, r = "entropy_nats", "validation_accuracy"
    return forecast_errors((fitted[h], fitted[r]), (later[h], later[r]), own[r].iloc[-1])


def paper_forecast_errors() -> pd.DataFrame:
    """Return the printed errors of Fig. 5 in percentage points: rows maths, code."""
    value = published.printed().query("place == 'fig05'").set_index("quantity")["value"]
    columns = {"RMSE over the rest": "over all steps", "error at the last": "at the last step"}
    rows = {"maths": "mathematics", "code": "code"}
    errors = {
        column: [value[f"forecast RMSE {where} on {name}"] for name in rows.values()]
        for column, where in columns.items()
    }
    return pd.DataFrame(errors, index=list(rows))


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
        error = seeds["rmse"].agg(_plain_mean)
        claims += [
            Claim(
                f"{word}: RMSE over the rest at most 0.05 (mean over models, fraction)",
                f"{rmse / 100:.3f} (mean of 4 models, Fig. 5)",
                mean_interval(error),
                at_most(0.05, contradicted_above=0.1),
            ),
            Claim(
                f"{word}: error at the last validation at most 0.05 (the same)",
                f"{last / 100:.3f} (the same)",
                mean_interval(seeds["last_error"].agg(lambda last: _plain_mean(last.abs()))),
                at_most(0.05, contradicted_above=0.1),
            ),
            Claim(
                f"{word}: RMSE below the naive forecast's, last value carried forward (ratio)",
                "no naive forecast given",
                ratio_interval(error / seeds["naive_rmse"].agg(_plain_mean)),
                at_most(1.0, contradicted_above=1.0),
            ),
        ]
    return claims


def _published_facts() -> list[Fact]:
    """Forecast the run of Fig. 1 left, the one digitised curve whose points have steps."""
    run, paper = published_run(), paper_forecast_errors()
    h, r, n = run["entropy_nats"], run["performance"], n_first(len(run), 0.15)
    found = forecast_errors((h[:n], r[:n]), (h[n:], r[n:]), r[n - 1])
    rmse, last = paper.loc["maths"]
    where = f"Qwen2.5-7B, Fig. 1 left, digitised; {n} points fitted"
    return [
        Fact(
            "The first 15 % forecast the rest of the run of Fig. 1 left with the printed RMSE or "
            "less (points)",
            f"{rmse:.1f} (four models, Fig. 5)",
            f"{found['rmse']:.1f} ({where})",
            found["rmse"] <= rmse,
        ),
        Fact(
            "The same at the last step",
            f"{last:.1f}",
            f"{abs(found['last_error']):.1f}",
            abs(found["last_error"]) <= last,
        ),
        Fact(
            "The law forecasts better than the last value carried forward (RMSE, points)",
            "no naive forecast given",
            f"law {found['rmse']:.1f}, naive {found['naive_rmse']:.1f}",
            found["rmse"] < found["naive_rmse"],
        ),
    ]


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
        return style.panels([[published_forecast]], width_in=7.5, row_height_in=4.2)
    draws = [
        partial(
            forecast_panel, part, title=f"{style.ours(frame)}: {domain}, {style.seeds_of(part)}"
        )
        for domain, part in frame.groupby("domain", sort=False)
    ]
    return style.panels([draws], row_height_in=4.6)


def forecast_panel(frame: pd.DataFrame, ax: Axes, *, title: str = "") -> Axes:
    """Draw the forecast of each model from the first 15 % of training, all seeds' points together.

    Filled dots: fitted. Hollow: forecast. Line: the law, solid where it was fitted.
    """
    points = validated(frame)
    points = points.assign(entropy_nats=points["entropy_nats"].clip(lower=style.LOWEST_NATS))
    for group, colour in colours_of(points).items():
        part = points[points["group"] == group]
        early = early_points(part, _FRACTION)
        fit = fit_or_note(part["entropy_nats"][early], part["validation_accuracy"][early])
        for chosen, face, line in ((early, colour, "-"), (~early, "none", "--")):
            dots = part[chosen]
            ax.plot(dots["entropy_nats"], dots["validation_accuracy"], "o", mfc=face, ms=4.5,
                    color=colour)  # fmt: skip
            reach = dots["entropy_nats"] if face == colour else part["entropy_nats"]
            name = f"{group}: no fit" if np.isnan(fit["a"]) else group
            label = name if face == colour else None
            law_curve(reach, fit["a"], fit["b"], ax, color=colour, ls=line, label=label)
    ax.plot([], [], "o", color="0.3", ms=5, label=f"first {100 * _FRACTION:.0f} %: fitted")
    ax.plot([], [], "o--", color="0.3", mfc="none", ms=4, label="the rest: forecast")
    style.log_entropy_axis(ax)
    ax.set(ylabel="validation accuracy (fraction)", title=title)
    ax.legend()
    return ax


def published_forecast(ax: Axes) -> Axes:
    """Draw the forecast of the run of Fig. 1 left, the one digitised curve that has steps."""
    run = published_run()
    result = forecast_law(run["entropy_nats"], run["performance"], fraction=_FRACTION)
    title = "Paper: Qwen2.5-7B (Fig. 1 left, digitised)"
    return forecast(result, ax, unit="percent", title=title)
