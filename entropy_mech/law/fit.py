"""The law R = -a exp(H) + b (Eq. 6): its fit, fits against model size, rival forms, intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import stdtr, stdtrit

from entropy_mech.errors import UserError, bad_value, unknown_name

# -- One run -------------------------------------------------------------------------------------

_LARGEST_ENTROPY_NATS = 50.0  # log V is 12 for the largest vocabularies: beyond is a unit mistake
_ROUNDING_NATS = 1e-5  # of an entropy summed in single precision over a large vocabulary


@dataclass(frozen=True)
class LawFit:
    """R = -a phi(H; c) + b by least squares; the law has the form ``exponential``, phi = exp(H).

    ``rss`` is the residual sum of squares, ``r2`` the share of the variance of the performance that
    is explained (NaN if it is constant); ``c`` is NaN for a form without one (see ``FORMS``).
    """

    a: float
    b: float
    rss: float
    r2: float
    n_points: int
    form: str = "exponential"
    c: float = np.nan

    @property
    def ceiling(self) -> float:
        """The performance predicted at H = 0, when all entropy is spent: b - a for the law."""
        return float(self.predict(0.0))

    @property
    def rmse(self) -> float:
        """Root mean squared residual (divided by n), in the unit of the performance."""
        return float(np.sqrt(self.rss / self.n_points))

    @property
    def parameters(self) -> int:
        """How many numbers were fitted: 2, or 3 with c."""
        return 2 if np.isnan(self.c) else 3

    @property
    def aicc(self) -> float:
        """Small-sample Akaike criterion for independent normal errors, up to a constant.

        n log(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1), with k one more than ``parameters``, for
        the variance. NaN where n is too small for it.
        """
        deviance = self.n_points * np.log(max(self.rss, _SMALLEST) / self.n_points)
        return _aicc(deviance, self.parameters + 1, self.n_points)

    def predict(self, entropy_nats: np.ndarray) -> np.ndarray:
        """Return -a phi(H; c) + b, of the shape of ``entropy_nats``.

        >>> LawFit(a=0.25, b=1.0, rss=0.0, r2=1.0, n_points=3).predict(0.0).item()
        0.75
        """
        return self.b - self.a * FORMS[self.form].curve(np.asarray(entropy_nats, float), self.c)


def fit_law(entropy_nats: np.ndarray, performance: np.ndarray) -> LawFit:
    """Fit R = -a exp(H) + b by least squares, all points of equal weight (Eq. 6, Figs. 1, 3, 4).

    ``entropy_nats`` and ``performance`` are ``(n,)``, n >= 3; performance in any one unit
    (fractions or percent), which a, b, ceiling and rmse share. The form is linear in exp(H), so the
    fit is closed-form. (The paper's takeaway box prints -a exp(H + b): a misprint for Eq. 6.)

    Raises ``UserError`` for fewer than three points, unequal lengths, NaN, negative entropy (but
    for rounding, up to 1e-5 nats, which counts as 0) or entropy that is constant within rounding.

    >>> fit = fit_law(np.log([1.0, 2.0, 3.0]), [0.7, 0.4, 0.1])  # exp(H) = 1, 2, 3: slope -0.3
    >>> [round(v, 9) for v in (fit.a, fit.b, fit.ceiling, fit.r2)]
    [0.3, 1.0, 0.7, 1.0]
    """
    return fit_form("exponential", entropy_nats, performance)


def straight_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Return slope, intercept, residual sum of squares and R^2 of the least-squares line.

    The slope is 0 where x is constant, R^2 NaN where y is.

    >>> straight_line(np.array([0.0, 1.0]), np.array([1.0, 3.0]))
    (2.0, 1.0, 0.0, 1.0)
    """
    spread, level = x - x.mean(), y - y.mean()
    squares, total = float(spread @ spread), float(level @ level)
    slope = float(spread @ level) / squares if squares > 0.0 else 0.0
    residual = level - slope * spread
    rss = float(residual @ residual)
    r2 = 1.0 - rss / total if total > 0.0 else float("nan")
    return slope, float(y.mean() - slope * x.mean()), rss, r2


def checked_points(
    entropy_nats: np.ndarray, performance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both columns as float64 ``(n,)``; raise ``UserError`` if no law can be fitted."""
    entropy = _column("entropy_nats", entropy_nats)
    scores = _column("performance", performance)
    if len(entropy) != len(scores):
        counts = f"entropy_nats has {len(entropy)} values, performance {len(scores)}"
        raise UserError(f"{counts}: give one performance for each entropy")
    if len(entropy) < 3:
        raise bad_value("points", len(entropy), "give at least 3: two always lie on the law")
    if entropy.min() < -_ROUNDING_NATS:
        why = "all are negative: are these -H?" if entropy.max() < 0.0 else "-H, or of a density?"
        fix = f"give entropies of at least 0 nats ({why})"
        raise bad_value("entropy_nats", float(entropy.min()), fix)
    entropy = np.maximum(entropy, 0.0)
    if entropy.max() > _LARGEST_ENTROPY_NATS:
        fix = "give token entropies in nats (is this a sum over tokens, or a perplexity?)"
        raise bad_value("entropy_nats", float(entropy.max()), fix)
    if np.ptp(entropy) <= _rounding(entropy):
        where = "everywhere" if np.ptp(entropy) == 0.0 else "everywhere within rounding"
        value = f"{entropy[0]:.6g} {where}"
        raise bad_value("entropy_nats", value, "give a run in which entropy moves")
    return entropy, scores


def _rounding(entropy: np.ndarray) -> float:
    """Return the largest difference between entropies that rounding alone can explain.

    1e-5 of the largest, at least 1e-5 (sums in single precision); one unit of the last decimal,
    where all are written with two to five; 2^-7 of it where there are but two values (bfloat16).
    """
    single = 1e-5 * max(1.0, float(entropy.max()))
    if len(np.unique(entropy)) == 2:
        single = max(single, 2.0**-7 * float(entropy.max()))
    for decimals in range(2, 6):
        if np.allclose(np.round(entropy, decimals), entropy, rtol=0.0, atol=1e-12):
            return max(single, 1.0001 * 10.0**-decimals)
    return single


def _column(field: str, values: np.ndarray) -> np.ndarray:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{field}: not a column of numbers: give n numbers") from None
    if column.ndim != 1:
        raise bad_value(f"{field}.shape", column.shape, "give one column, (n,)")
    bad = np.nonzero(~np.isfinite(column))[0]
    if len(bad):
        where, value = f"{field}[{bad[0]}]", float(column[bad[0]])
        raise bad_value(where, value, "drop the points without a finite value")
    return column


# -- Against model size (Fig. 7) -----------------------------------------------------------------

QUANTITIES = ("a", "b", "ceiling")


@dataclass(frozen=True)
class SizeFit:
    """value = slope ln(parameters in billions) + intercept, by least squares."""

    slope: float
    intercept: float
    rmse: float
    r2: float

    def predict(self, parameters_billion: np.ndarray) -> np.ndarray:
        """Return the value at a size.

        >>> float(SizeFit(2.0, 1.0, 0.0, 1.0).predict(1.0))
        1.0
        """
        sizes = np.asarray(parameters_billion, dtype=np.float64)
        return self.slope * np.log(sizes) + self.intercept


def fit_sizes(parameters_billion: np.ndarray, values: np.ndarray) -> SizeFit:
    """Fit a coefficient against ln(parameters); at least two different sizes, all above 0.

    >>> fit = fit_sizes([1.0, np.e, np.e**2], [0.1, 0.3, 0.5])
    >>> round(fit.slope, 9), round(fit.intercept, 9)
    (0.2, 0.1)
    """
    sizes, values = _column("parameters_billion", parameters_billion), _column("values", values)
    if len(sizes) != len(values):
        raise UserError("parameters_billion, values: unequal lengths: give one value for each size")
    if not (sizes > 0).all():
        raise bad_value("parameters_billion", sizes.tolist(), "give numbers above 0")
    x = np.log(sizes)
    if len(x) < 2 or np.ptp(x) == 0.0:
        raise bad_value("parameters_billion", sizes.tolist(), "give at least two different sizes")
    slope, intercept, rss, r2 = straight_line(x, values)
    return SizeFit(slope, intercept, float(np.sqrt(rss / len(x))), r2)


def extrapolate_largest(frame: pd.DataFrame) -> pd.DataFrame:
    """Fit a, b and the ceiling on all sizes but the largest, and predict that one.

    ``frame`` has a row a size, at least three, and columns parameters_billion, a, b, as
    ``published.curve_coefficients`` has or from your own fits. One row a quantity: slope,
    intercept, r2 (of the fit on all sizes), observed and predicted at the largest, miss (predicted
    less observed).

    >>> sizes = pd.DataFrame({"parameters_billion": [1.0, np.e, np.e**2]})
    >>> table = extrapolate_largest(sizes.assign(a=[0.1, 0.2, 0.3], b=[0.3, 0.5, 0.6]))
    >>> table["miss"].abs().round(9).tolist()  # a is straight; b was to rise to 0.7
    [0.0, 0.1, 0.1]
    """
    missing = {"parameters_billion", "a", "b"} - set(frame)
    if missing:
        raise UserError(f"missing column {sorted(missing)[0]}: give parameters_billion, a, b")
    if len(frame) < 3:
        raise bad_value("sizes", len(frame), "give at least 3 to leave the largest out")
    frame = frame.assign(ceiling=frame["b"] - frame["a"]).sort_values("parameters_billion")
    sizes, rows = frame["parameters_billion"].to_numpy(), {}
    if sizes[-2] == sizes[-1]:
        raise bad_value("parameters_billion", sizes.tolist(), "give one row for the largest size")
    for quantity in QUANTITIES:
        values = frame[quantity].to_numpy()
        fit, observed = fit_sizes(sizes, values), float(values[-1])
        predicted = float(fit_sizes(sizes[:-1], values[:-1]).predict(sizes[-1]))
        miss = predicted - observed
        rows[quantity] = fit.slope, fit.intercept, fit.r2, observed, predicted, miss
    names = ["slope", "intercept", "r2", "observed", "predicted", "miss"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("quantity")


# -- Rival forms ---------------------------------------------------------------------------------
# Compared by information criteria and by what they forecast. All are a curve phi(H), possibly with
# one more parameter c inside, in R = -a phi(H) + b:
#
#     exponential  exp(H)              Eq. 6
#     linear       H
#     logarithm    log H
#     power        H^c                 c > 0
#     free_rate    (exp(c H) - 1) / c  c = 1 is Eq. 6, c -> 0 linear
#
# so each fit is least squares in (a, b), inside a search over c where there is one.

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


def fit_form(form: str, entropy_nats: np.ndarray, performance: np.ndarray) -> LawFit:
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

    def fit(c: float) -> LawFit:
        slope, b, rss, r2 = straight_line(spec.curve(entropy, c), scores)
        return LawFit(-slope, b, rss, r2, len(scores), form, c)

    if spec.search is None:
        return fit(np.nan)
    grid = np.linspace(*spec.search, 81)
    best = int(np.argmin([fit(c).rss for c in grid]))
    bracket = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(
        lambda c: fit(c).rss, bounds=bracket, method="bounded", options={"xatol": 1e-7}
    )
    return fit(float(found.x))


def compare_forms(entropy_nats: np.ndarray, performance: np.ndarray) -> pd.DataFrame:
    """Return one row a form: how it fits all points, and how it forecasts from the first ones.

    Points in training order. Columns: parameters, a, b, c, rmse, aicc, delta_aicc (above the best),
    delta_aicc_ar1 (the same with AR(1) errors, which does not take neighbours as independent; for
    the free c at its least-squares value), forecast_rmse, forecast_mean_error (observed less
    predicted, over the points after the first 15 %). A form that cannot be fitted
    has NaN. Lower is better everywhere but for the mean error, whose best is 0.

    >>> entropy = np.linspace(1.0, 0.1, 40)
    >>> noise = 1e-3 * np.random.default_rng(1).standard_normal(40)
    >>> table = compare_forms(entropy, 1 - 0.3 * np.exp(entropy) + noise)
    >>> table["delta_aicc"].idxmin(), table["forecast_rmse"].idxmin()
    ('exponential', 'exponential')
    """
    entropy, scores = checked_points(entropy_nats, performance)
    first = n_first(len(scores), 0.15)
    rows = {}
    for form, spec in FORMS.items():
        row = {"parameters": 3 if spec.search else 2, **dict.fromkeys(_MEASURES, np.nan)}
        rows[form] = row
        try:
            fit = fit_form(form, entropy, scores)
            row |= {name: getattr(fit, name) for name in ("a", "b", "c", "rmse", "aicc")}
            row |= {"delta_aicc": fit.aicc, "delta_aicc_ar1": _aicc_ar1(fit, entropy, scores)}
            error = scores - fit_form(form, entropy[:first], scores[:first]).predict(entropy)
        except UserError:  # an entropy of 0, or one that does not move among the first
            continue
        row["forecast_rmse"] = float(np.sqrt(np.mean(error[first:] ** 2)))
        row["forecast_mean_error"] = float(error[first:].mean())
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
        fix = "give at least 5 to fit on the first and forecast the rest"
        raise bad_value("points", points, fix)
    return int(np.clip(round(points * fraction), 4, points - 1))


def _aicc(minus_two_log_likelihood: float, k: int, n: int) -> float:
    if n - k - 1 <= 0:
        return float("nan")
    return float(minus_two_log_likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def _aicc_ar1(fit: LawFit, entropy: np.ndarray, scores: np.ndarray) -> float:
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


# -- Intervals -----------------------------------------------------------------------------------
# Evaluations of one run are not independent: what makes one checkpoint better than the law makes
# the next one better too. Intervals that take them as independent cover the true ceiling far too
# rarely; benchmarks/law_coverage.py measures how rarely, and for other methods.
#
# An error is a slow drift of the run plus fresh noise of each evaluation: a stationary AR(1)
# series of correlation phi, and a share of independent noise. For given (phi, share) the standard
# error of the least-squares fit is known up to the variance; the t intervals it gives are averaged
# with the weight of (phi, share) given the data: the likelihood with coefficients and variance
# integrated out (the restricted likelihood) times the prior below. Averaging, where the usual
# recipe takes the best phi, is what keeps the coverage at 20 to 200 points: phi is badly known
# there and its estimate too low. The intervals are centred on the least-squares fit that is
# reported. Centred on generalised least squares they are narrower (the ceiling's by 5 %, a's by up
# to 40 %), cover no better, and can miss the reported fit altogether where the law is a little off.
#
# The prior of phi is (1 - phi^2)^-1/4, halfway between flat, which covers too rarely for phi above
# 0.9, and Berger and Yang's reference prior, which is wide at 50 points and below.
_PRIOR_POWER = 0.25
_PHI = np.tanh(np.linspace(np.arctanh(-0.7), np.arctanh(0.99), 28))


class NoiseModels(NamedTuple):
    """A grid of noise models, all (G,): correlation, share of independent noise, log prior."""

    phi: np.ndarray
    share: np.ndarray
    log_prior: np.ndarray


def noise_models(weight_of_share: dict[float, float]) -> NoiseModels:
    """Return all correlations with each share of independent noise, whose prior weight is given."""
    # With phi near 0 or below, a share of independent noise would be white noise once more.
    grids = [_PHI if share == 0.0 else _PHI[_PHI > 0.2] for share in weight_of_share]
    sizes, phi = [len(grid) for grid in grids], np.concatenate(grids)
    log_weight = np.log(np.repeat(list(weight_of_share.values()), sizes))
    # The grid is even in atanh(phi): 1 - phi^2 turns that into even in phi.
    log_prior = log_weight + (1.0 - _PRIOR_POWER) * np.log1p(-(phi**2))
    return NoiseModels(phi, np.repeat(list(weight_of_share), sizes), log_prior)


# The share 0 gets the largest weight; otherwise runs of white noise would get the wide intervals of
# a hidden drift.
DRIFT = noise_models({0.0: 1.0, 0.3: 0.15, 0.6: 0.15})


def law_intervals(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    *,
    at_entropy_nats: np.ndarray = (),
    noise: NoiseModels = DRIFT,
) -> pd.DataFrame:
    """Return 95 % intervals of a, b, the ceiling and the law at ``at_entropy_nats``.

    Points ``(n,)`` in training order, n >= 5. One row a quantity (``a``, ``b``, ``ceiling``, then
    ``law`` for each entropy asked for): entropy_nats, estimate (the least-squares value of
    ``fit_law``), low, high (of the law itself), observed_low, observed_high (of one evaluation
    there, its noise included; NaN for a and b). ``noise`` is the grid that is averaged over.

    Raises ``UserError`` for what ``fit_law`` refuses and for fewer than 5 points.

    >>> entropy = np.linspace(1.0, 0.1, 40)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal(40)
    >>> table = law_intervals(entropy, 0.9 - 0.2 * np.exp(entropy) + noise).set_index("quantity")
    >>> bool(table.low["ceiling"] < 0.7 < table.high["ceiling"])
    True
    """
    entropy, scores = checked_points(entropy_nats, performance)
    if len(entropy) < 5:
        raise bad_value("points", len(entropy), "give at least 5 for an interval")
    fit = fit_law(entropy, scores)
    at = _column("at_entropy_nats", np.atleast_1d(at_entropy_nats))
    # Rows pick a, b and R(H) out of the coefficients of [1, exp(H)], which are (b, -a).
    picks = np.vstack([[0.0, -1.0], [1.0, 0.0], [1.0, 1.0], np.stack([at**0, np.exp(at)], axis=1)])
    frame = pd.DataFrame(
        {
            "quantity": ["a", "b", "ceiling"] + ["law"] * len(at),
            "entropy_nats": [np.nan, np.nan, 0.0, *at],
            "estimate": picks @ [fit.b, -fit.a],
        }
    )
    tails = np.array([0.025, 0.975])
    mixture = _noise_mixture(entropy, scores, picks, noise)
    bounds, observed = (_mixture_quantiles(*part, tails) for part in mixture)
    observed[:, :2] = np.nan
    frame["low"], frame["high"] = bounds
    frame["observed_low"], frame["observed_high"] = observed
    return frame


def _noise_mixture(entropy, scores, picks, noise: NoiseModels):
    """Return weight, centre and scale of the t intervals over phi, of the law and of one point."""
    phi, share, log_prior = noise
    points = len(scores)
    columns = np.stack([np.ones(points), np.exp(entropy), scores - scores.mean()], axis=1)
    whitened, log_determinant = _whitened_products(columns, phi, share)
    design, cross, total = whitened[:, :2, :2], whitened[:, :2, 2], whitened[:, 2, 2]
    beta = np.linalg.solve(design, cross[..., None])[..., 0]
    rss = np.maximum(total - (beta * cross).sum(axis=1), 1e-15 * total + 1e-300)
    degrees = points - 2
    log_weight = log_prior - 0.5 * (
        log_determinant + np.linalg.slogdet(design)[1] + degrees * np.log(rss)
    )
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    variance = (rss / degrees)[:, None]
    # Least squares has the covariance (X^T X)^-1 X^T V X (X^T X)^-1 times the variance.
    plain = columns[:, :2]
    solved = picks @ np.linalg.inv(plain.T @ plain)
    covered = _covariance_products(plain, phi, share)
    spread = variance * np.einsum("qi,gij,qj->gq", solved, covered, solved)
    centre = solved @ (plain.T @ columns[:, 2]) + scores.mean() * picks[:, 0]
    centre = np.broadcast_to(centre, spread.shape)
    law = (weight, centre, np.sqrt(spread), degrees)
    return law, (weight, centre, np.sqrt(spread + variance), degrees)


def _whitened_products(columns, phi, share) -> tuple[np.ndarray, np.ndarray]:
    """Return Z^T V^-1 Z ``(G, k, k)`` and log |V| ``(G,)`` for each noise of total variance 1.

    V = (1 - share) phi^|i - j| + share on the diagonal. A Kalman filter of the drift turns each
    column ``(n, k)`` into its one-step innovations, which are independent.
    """
    mean = np.zeros((len(phi), columns.shape[1]))
    variance = 1.0 - share  # of the drift, before the point is seen
    fresh = (1.0 - share) * (1.0 - phi**2)
    whitened = np.empty((len(columns), *mean.shape))
    sizes = np.empty((len(columns), len(phi)))
    for t, row in enumerate(columns):
        innovation, sizes[t] = row - mean, variance + share
        gain = phi * variance / sizes[t]
        whitened[t] = innovation
        mean = phi[:, None] * mean + gain[:, None] * innovation
        variance = phi * gain * share + fresh
    products = np.einsum("tgi,tgj,tg->gij", whitened, whitened, 1.0 / sizes, optimize=True)
    return products, np.log(sizes).sum(axis=0)


def _covariance_products(columns, phi, share) -> np.ndarray:
    """Return X^T V X ``(G, k, k)``, the sum over u < t of phi^(t - u) x_u carried along."""
    earlier = np.zeros((len(phi), columns.shape[1]))
    past = np.empty((len(columns), *earlier.shape))
    for t, row in enumerate(columns):
        past[t] = earlier
        earlier = phi[:, None] * (earlier + row)
    beside = np.einsum("ti,tgj->gij", columns, past)
    plain = columns.T @ columns
    drift = plain + beside + beside.transpose(0, 2, 1)
    share = share[:, None, None]
    return (1.0 - share) * drift + share * plain


def _mixture_quantiles(weight, centre, scale, degrees, tails) -> np.ndarray:
    """Return the quantiles of a mixture of t distributions, ``(tails, quantities)``."""
    reach = stdtrit(degrees, np.array(tails))[:, None, None] * scale
    low, high = (centre + reach).min(axis=1), (centre + reach).max(axis=1)
    for _ in range(40):
        middle = (low + high) / 2.0
        below = np.einsum("g,tgq->tq", weight, stdtr(degrees, (middle[:, None] - centre) / scale))
        under = below < tails[:, None]
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return (low + high) / 2.0
