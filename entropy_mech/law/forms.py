"""Rival forms of the law, compared by information criteria and by what they forecast.

All are a curve phi(H), possibly with one more parameter c inside, in R = -a phi(H) + b:

    exponential  exp(H)              Eq. 6
    linear       H
    logarithm    log H
    power        H^c                 c > 0
    free_rate    (exp(c H) - 1) / c  c = 1 is Eq. 6, c -> 0 linear

so each fit is least squares in (a, b), inside a search over c where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.law.fit import checked_points

_MEASURES = ("a", "b", "c", "rmse", "aicc", "delta_aicc", "delta_aicc_ar1", "forecast_rmse",
             "forecast_mean_error")  # fmt: skip
_SMALLEST = 1e-300  # residuals of points exactly on a curve: their logarithm must stay finite


def _free_rate(entropy: np.ndarray, rate: float) -> np.ndarray:
    return entropy if abs(rate) < 1e-8 else np.expm1(rate * entropy) / rate


@dataclass(frozen=True)
class _Form:
    curve: Callable[[np.ndarray, float], np.ndarray]
    search: tuple[float, float] | None = None  # range of c
    positive_entropy: bool = False


FORMS = {
    "exponential": _Form(lambda h, _: np.exp(h)),
    "linear": _Form(lambda h, _: h),
    "logarithm": _Form(lambda h, _: np.log(h), positive_entropy=True),
    "power": _Form(lambda h, c: h**c, search=(0.02, 8.0)),
    "free_rate": _Form(_free_rate, search=(-8.0, 12.0)),
}


@dataclass(frozen=True)
class FormFit:
    """R = -a phi(H; c) + b fitted by least squares; ``c`` is NaN for a form without one."""

    form: str
    a: float
    b: float
    c: float
    rss: float
    n_points: int

    @property
    def parameters(self) -> int:
        """How many numbers were fitted: 2, or 3 with c."""
        return 2 if np.isnan(self.c) else 3

    @property
    def rmse(self) -> float:
        """Root mean squared residual, divided by n."""
        return float(np.sqrt(self.rss / self.n_points))

    @property
    def aicc(self) -> float:
        """Small-sample Akaike criterion for independent normal errors, up to a constant.

        n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1), with k one more than ``parameters``, for
        the variance. NaN where n is too small for it.
        """
        deviance = self.n_points * np.log(max(self.rss, _SMALLEST) / self.n_points)
        return _aicc(deviance, self.parameters + 1, self.n_points)

    def predict(self, entropy_nats: np.ndarray) -> np.ndarray:
        """Return -a phi(H; c) + b."""
        return self.b - self.a * FORMS[self.form].curve(np.asarray(entropy_nats, float), self.c)


def fit_form(form: str, entropy_nats: np.ndarray, performance: np.ndarray) -> FormFit:
    """Fit one of ``FORMS``; ``UserError`` for an unknown one or log H with an entropy of 0.

    >>> entropy = np.array([0.1, 0.4, 0.9, 1.6])
    >>> fit = fit_form("power", entropy, 1.0 - 0.3 * entropy**0.5)
    >>> [round(v, 4) for v in (fit.a, fit.b, fit.c)]
    [0.3, 1.0, 0.5]
    """
    entropy, scores = checked_points(entropy_nats, performance)
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    spec = FORMS[form]
    if spec.positive_entropy and entropy.min() <= 0.0:
        raise UserError(f"form {form}: entropy is 0 at some point: drop it or use another form")
    if spec.search is None:
        a, b, rss = _line(spec.curve(entropy, np.nan), scores)
        return FormFit(form, a, b, float("nan"), rss, len(scores))

    def cost(c: float) -> float:
        return _line(spec.curve(entropy, c), scores)[2]

    grid = np.linspace(*spec.search, 81)
    best = int(np.argmin([cost(c) for c in grid]))
    bracket = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    c = float(minimize_scalar(cost, bounds=bracket, method="bounded", options={"xatol": 1e-7}).x)
    a, b, rss = _line(spec.curve(entropy, c), scores)
    return FormFit(form, a, b, c, rss, len(scores))


def compare_forms(
    entropy_nats: np.ndarray, performance: np.ndarray, *, forecast_fraction: float = 0.15
) -> pd.DataFrame:
    """Return one row a form: how it fits all points, and how it forecasts from the first ones.

    Points in training order. Columns: parameters, a, b, c, rmse, aicc, delta_aicc (above the best),
    delta_aicc_ar1 (the same with AR(1) errors, which does not take neighbours as independent; for
    the free c at its least-squares value), forecast_rmse, forecast_mean_error (observed less
    predicted, over the points after the first ``forecast_fraction``). A form that cannot be fitted
    has NaN. Lower is better everywhere but for the mean error, whose best is 0.

    >>> entropy = np.linspace(1.0, 0.1, 40)
    >>> noise = 1e-3 * np.random.default_rng(1).standard_normal(40)
    >>> table = compare_forms(entropy, 1 - 0.3 * np.exp(entropy) + noise)
    >>> table["delta_aicc"].idxmin(), table["forecast_rmse"].idxmin()
    ('exponential', 'exponential')
    """
    entropy, scores = checked_points(entropy_nats, performance)
    first = n_first(len(scores), forecast_fraction)
    rows = {}
    for form in FORMS:
        rows[form] = {
            "parameters": 3 if FORMS[form].search else 2,
            **dict.fromkeys(_MEASURES, np.nan),
        }
        try:
            fit = fit_form(form, entropy, scores)
            rows[form] |= {
                "a": fit.a,
                "b": fit.b,
                "c": fit.c,
                "rmse": fit.rmse,
                "aicc": fit.aicc,
                "delta_aicc": fit.aicc,
                "delta_aicc_ar1": _aicc_ar1(fit, entropy, scores),
            }
            error = scores - fit_form(form, entropy[:first], scores[:first]).predict(entropy)
        except UserError:  # an entropy of 0, or one that does not move among the first
            continue
        rows[form]["forecast_rmse"] = float(np.sqrt(np.mean(error[first:] ** 2)))
        rows[form]["forecast_mean_error"] = float(error[first:].mean())
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("form")
    for column in ("delta_aicc", "delta_aicc_ar1"):
        frame[column] -= frame[column].min()
    return frame


def n_first(points: int, fraction: float) -> int:
    """Return how many points the first ``fraction`` is: at least 4, and leaving at least 1.

    >>> n_first(200, 0.15), n_first(12, 0.15)
    (30, 4)
    """
    number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
    if not number or not 0.0 < fraction < 1.0:
        raise bad_value("forecast_fraction", fraction, "give a fraction between 0 and 1, like 0.15")
    if points < 5:
        raise bad_value(
            "points", points, "give at least 5 to fit on the first and forecast the rest"
        )
    return int(np.clip(round(points * fraction), 4, points - 1))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return a, b and the residual sum of squares of y = -a x + b."""
    spread, level = x - x.mean(), y - y.mean()
    squares = spread @ spread
    slope = spread @ level / squares if squares > 0.0 else 0.0
    residual = level - slope * spread
    return float(-slope), float(y.mean() - slope * x.mean()), float(residual @ residual)


def _aicc(minus_two_log_likelihood: float, k: int, n: int) -> float:
    if n - k - 1 <= 0:
        return float("nan")
    return float(minus_two_log_likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def _aicc_ar1(fit: FormFit, entropy: np.ndarray, scores: np.ndarray) -> float:
    curve = FORMS[fit.form].curve(entropy, fit.c)
    columns = np.stack([np.ones(len(scores)), curve - curve.mean(), scores - scores.mean()], axis=1)
    phi = np.tanh(np.linspace(np.arctanh(-0.9), np.arctanh(0.995), 200))[:, None, None]
    # Z^T V^-1 Z for AR(1) errors of unit innovation: V^-1 is tridiagonal, 1 at the two ends and
    # 1 + phi^2 inside its diagonal, -phi beside it, so every phi costs the same three products.
    inside, beside = columns[1:-1], columns[1:].T @ columns[:-1]
    products = columns.T @ columns + phi**2 * (inside.T @ inside) - phi * (beside + beside.T)
    beta = np.linalg.solve(products[:, :2, :2], products[:, :2, 2:])[..., 0]
    rss = products[:, 2, 2] - (beta * products[:, :2, 2]).sum(axis=1)
    n = len(scores)
    deviance = n * np.log(np.maximum(rss, _SMALLEST) / n) - np.log1p(-(phi[:, 0, 0] ** 2))
    return _aicc(float(deviance.min()), fit.parameters + 2, n)
