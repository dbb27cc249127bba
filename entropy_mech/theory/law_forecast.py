"""Forecast the rest of a run from its first points (Fig. 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from entropy_mech.theory.law import LawFit, checked_points, fit_law
from entropy_mech.theory.law_forms import n_first
from entropy_mech.theory.law_intervals import law_intervals


@dataclass(frozen=True)
class LawForecast:
    """A fit on the first ``n_fitted`` points and its errors on the others.

    ``rmse``, ``mean_error`` and ``last_error`` (observed less predicted) are in the unit of the
    performance. ``points`` has a row a point: entropy_nats, performance, predicted, low, high (95 %
    interval of one evaluation, NaN if fewer than 5 points were fitted), forecast (True after the
    first ones).
    """

    fit: LawFit
    n_fitted: int
    rmse: float
    mean_error: float
    last_error: float
    points: pd.DataFrame


def forecast_law(
    entropy_nats: np.ndarray, performance: np.ndarray, *, fraction: float = 0.15
) -> LawForecast:
    """Fit the law on the first ``fraction`` of the points and forecast performance at the rest.

    The forecast is given the entropies that the rest reached: the law says what performance they
    buy, not when they come. Points in training order; at least 4 are fitted, at least 1 forecast.

    >>> entropy = np.linspace(1.0, 0.1, 20)
    >>> forecast = forecast_law(entropy, 0.9 - 0.2 * np.exp(entropy), fraction=0.25)
    >>> forecast.n_fitted, bool(forecast.rmse < 1e-12)
    (5, True)
    """
    entropy, scores = checked_points(entropy_nats, performance)
    first = n_first(len(entropy), fraction)
    fit = fit_law(entropy[:first], scores[:first])
    predicted = fit.predict(entropy)
    low = high = np.full(len(entropy), np.nan)
    if first >= 5:
        table = law_intervals(entropy[:first], scores[:first], at_entropy_nats=entropy)
        rows = table[table["quantity"] == "law"]
        low, high = rows["observed_low"].to_numpy(), rows["observed_high"].to_numpy()
    error = (scores - predicted)[first:]
    return LawForecast(
        fit=fit,
        n_fitted=first,
        rmse=float(np.sqrt(np.mean(error**2))),
        mean_error=float(error.mean()),
        last_error=float(error[-1]),
        points=pd.DataFrame(
            {
                "entropy_nats": entropy,
                "performance": scores,
                "predicted": predicted,
                "low": low,
                "high": high,
                "forecast": np.arange(len(entropy)) >= first,
            }
        ),
    )
