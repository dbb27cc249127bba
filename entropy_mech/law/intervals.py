"""Intervals for the law's coefficients, ceiling and forecasts, and whether the law holds at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.law.course import Course, course_of
from entropy_mech.law.fit import LawFit, checked_points, fit_law

# -- Intervals -----------------------------------------------------------------------------------
# Evaluations of one run are not independent: what makes one checkpoint better than the law makes
# the next one better too. Intervals that take them as independent cover the true ceiling far too
# rarely; benchmarks/law_coverage.py measures how rarely, for each method:
#
# - ``drift`` (default). An error is a slow wander of the run plus fresh noise of each evaluation: a
#   stationary AR(1) series of correlation phi, and a share of independent noise. For given (phi,
#   share) the standard error of the least-squares fit is known up to the variance; the t intervals
#   it gives are averaged with the weight of (phi, share) given the data: the likelihood with
#   coefficients and variance integrated out (the restricted likelihood) times the prior below.
#   Averaging, where the usual recipe takes the best phi, is what keeps the coverage at 20 to 200
#   points: phi is badly known there and its estimate too low. The intervals are centred on the
#   least-squares fit that is reported. Centred on generalised least squares they are narrower (the
#   ceiling's by 5 %, a's by up to 40 %), cover no better, and can miss the reported fit altogether
#   where the law itself is a little off.
# - ``ar1``. The same without the independent noise. It is narrower and right if that is how the
#   noise is, but loses its coverage quickly where evaluation noise hides the wander.
# - ``block_bootstrap``. Moving blocks of residuals are put back on the fitted curve. No model of
#   the errors, but blocks short enough to resample are too short to carry a strong correlation.
# - ``independent``. The textbook t interval.
#
# All need the points in the order of training.

METHODS = ("drift", "ar1", "block_bootstrap", "independent")
# The prior of phi is (1 - phi^2)^-1/4, halfway between flat, which covers too rarely for phi above
# 0.9, and Berger and Yang's reference prior, which is wide at 50 points and below.
_PRIOR_POWER = 0.25
_PHI = np.tanh(np.linspace(np.arctanh(-0.7), np.arctanh(0.99), 28))
# Shares of independent noise, and the weight of each: no share is the likelier, or runs of white
# noise would get intervals made for hidden wander.
_SHARES = {0.0: 1.0, 0.3: 0.15, 0.6: 0.15}


def law_intervals(
    entropy_nats: np.ndarray,
    performance: np.ndarray,
    *,
    at_entropy_nats: np.ndarray = (),
    level: float = 0.95,
    method: str = "drift",
    block_length: int | None = None,
    resamples: int = 2000,
    seed: int = 1,
) -> pd.DataFrame:
    """Return intervals of a, b, the ceiling and the law at ``at_entropy_nats``.

    Points ``(n,)`` in training order, n >= 5. One row a quantity (``a``, ``b``, ``ceiling``, then
    ``law`` for each entropy asked for): entropy_nats, estimate (the least-squares value of
    ``fit_law``), low, high (of the law itself), observed_low, observed_high (of one evaluation
    there, its noise included; NaN for a and b and with ``block_bootstrap``). ``block_length`` is
    n^(1/3) rounded up unless given.

    Raises ``UserError`` for what ``fit_law`` refuses, fewer than 5 points, an unknown method or a
    level outside (0, 1).

    >>> entropy = np.linspace(1.0, 0.1, 40)
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal(40)
    >>> table = law_intervals(entropy, 0.9 - 0.2 * np.exp(entropy) + noise).set_index("quantity")
    >>> bool(table.low["ceiling"] < 0.7 < table.high["ceiling"])
    True
    """
    entropy, scores = checked_points(entropy_nats, performance)
    if len(entropy) < 5:
        raise bad_value("points", len(entropy), "give at least 5 for an interval")
    if not 0.0 < level < 1.0:
        raise bad_value("level", level, "give a fraction between 0 and 1, like 0.95")
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    fit = fit_law(entropy, scores)
    at = np.atleast_1d(np.asarray(at_entropy_nats, dtype=np.float64))
    # Rows pick a, b and R(H) out of the coefficients of [1, exp(H)], which are (b, -a).
    picks = np.vstack([[0.0, -1.0], [1.0, 0.0], [1.0, 1.0], np.stack([at**0, np.exp(at)], axis=1)])
    frame = pd.DataFrame(
        {
            "quantity": ["a", "b", "ceiling"] + ["law"] * len(at),
            "entropy_nats": [np.nan, np.nan, 0.0, *at],
            "estimate": picks @ [fit.b, -fit.a],
        }
    )
    tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    if method == "block_bootstrap":
        bounds = _block_bootstrap(entropy, fit, scores, picks, tails, block_length, resamples, seed)
        observed = np.full_like(bounds, np.nan)
    else:
        mixture = _noise_mixture(entropy, scores, picks, *_noise_grid(method))
        bounds, observed = (_mixture_quantiles(*part, tails) for part in mixture)
        observed[:, :2] = np.nan
    frame["low"], frame["high"] = bounds
    frame["observed_low"], frame["observed_high"] = observed
    return frame


def _noise_grid(method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return phi, independent share and log prior of each noise model, all ``(G,)``."""
    if method == "independent":
        return np.zeros(1), np.zeros(1), np.zeros(1)
    shares = list(_SHARES) if method == "drift" else [0.0]
    # A share beside phi near 0 or below would be white noise once more.
    grids = [_PHI if share == 0.0 else _PHI[_PHI > 0.2] for share in shares]
    sizes = [len(grid) for grid in grids]
    phi, share = np.concatenate(grids), np.repeat(shares, sizes)
    log_weight = np.log(np.repeat([_SHARES[share] for share in shares], sizes))
    # The grid is even in atanh(phi): 1 - phi^2 turns that into even in phi.
    return phi, share, log_weight + (1.0 - _PRIOR_POWER) * np.log1p(-(phi**2))


def _noise_mixture(entropy, scores, picks, phi, share, log_prior):
    """Return weight, centre and scale of the t intervals over phi, of the law and of one point."""
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

    V = (1 - share) phi^|i - j| + share on the diagonal. A Kalman filter of the wander turns each
    column ``(n, k)`` into its one-step innovations, which are independent.
    """
    mean = np.zeros((len(phi), columns.shape[1]))
    variance = 1.0 - share  # of the wander, before the point is seen
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
    wander = plain + beside + beside.transpose(0, 2, 1)
    share = share[:, None, None]
    return (1.0 - share) * wander + share * plain


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


def _block_bootstrap(
    entropy, fit: LawFit, scores, picks, tails, block_length, resamples, seed
) -> np.ndarray:
    points = len(scores)
    length = int(np.ceil(points ** (1 / 3))) if block_length is None else block_length
    if not 1 <= length <= points:
        raise bad_value("block_length", length, f"give 1 to {points}, the number of points")
    residuals = scores - fit.predict(entropy)
    residuals = residuals * np.sqrt(points / (points - 2))
    stream = np.random.default_rng(seed)
    starts = stream.integers(0, points - length + 1, size=(resamples, -(-points // length)))
    index = (starts[:, :, None] + np.arange(length)).reshape(resamples, -1)[:, :points]
    drawn = residuals[index] - residuals.mean()
    design = np.stack([np.ones(points), np.exp(entropy)], axis=1)
    shifts = drawn @ np.linalg.pinv(design).T
    estimates = (np.array([fit.b, -fit.a]) + shifts) @ picks.T
    return np.quantile(estimates, tails, axis=0)


# -- Diagnostics ---------------------------------------------------------------------------------

_FEW_POINTS = 12
_NARROW = 0.05  # range of exp(H): on it a = 0.2 moves performance by one point
_GAIN = 4.0  # AICc of another form, beyond which it is clearly the better


@dataclass(frozen=True)
class ResidualDiagnostics:
    """What is left after the fit, in training order.

    ``lag1_autocorrelation`` of the residuals; ``effective_points`` is n (1 - r) / (1 + r), how many
    independent points carry as much; ``mean_residual_high``, ``_middle``, ``_low`` are means over
    the thirds of the points by entropy, in the unit of the performance: a pattern such as
    -, +, - means that the curve has another shape.
    """

    lag1_autocorrelation: float
    effective_points: float
    mean_residual_high: float
    mean_residual_middle: float
    mean_residual_low: float


def residual_diagnostics(
    entropy_nats: np.ndarray, performance: np.ndarray, fit: LawFit | None = None
) -> ResidualDiagnostics:
    """Return the diagnostics of ``fit`` (least squares if None) on points in training order.

    >>> entropy = np.array([1.2, 0.9, 0.7, 0.5, 0.3, 0.1])
    >>> d = residual_diagnostics(entropy, 1 - 0.2 * entropy)  # a line is not the law
    >>> d.mean_residual_high > 0, d.mean_residual_middle < 0, d.mean_residual_low > 0
    (True, True, True)
    """
    entropy, scores = checked_points(entropy_nats, performance)
    fit = fit or fit_law(entropy, scores)
    residual = scores - fit.predict(entropy)
    total = residual @ residual
    lag1 = float(residual[1:] @ residual[:-1] / total) if total > 0.0 else 0.0
    thirds = np.array_split(residual[np.argsort(-entropy, kind="stable")], 3)
    high, middle, low = (float(third.mean()) for third in thirds)
    effective = len(scores) * (1.0 - lag1) / (1.0 + lag1) if lag1 > 0.0 else float(len(scores))
    return ResidualDiagnostics(lag1, max(effective, 1.0), high, middle, low)


def law_warnings(
    entropy_nats: np.ndarray, performance: np.ndarray, forms=None, course: Course | None = None
) -> list[str]:
    """Return, a sentence each, why the law may not hold for this run; empty if nothing is wrong.

    Points in training order; ``forms`` is ``compare_forms`` of the same points, if made already,
    ``course`` is ``course_of`` the run, and comes first unless entropy is spent. Then: few points,
    a narrow range of entropy, a negative a, a poor fit, a ceiling far beyond the points, a better
    form.

    >>> law_warnings([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])[0]
    'only 3 points: intervals and forecasts mean little below 12'
    """
    entropy, scores = checked_points(entropy_nats, performance)
    course = course or course_of(entropy, scores)
    fit, warnings = fit_law(entropy, scores), []
    growth, n = np.exp(entropy), len(scores)
    if not course.is_law:
        warnings.append(
            f"{course.sentence}: no curve through such points is the law, which is about entropy "
            "that is spent"
        )
    if n < _FEW_POINTS:
        warnings.append(f"only {n} points: intervals and forecasts mean little below {_FEW_POINTS}")
    if np.ptp(growth) < _NARROW:
        warnings.append(
            f"entropy moves only from {entropy.min():.3g} to {entropy.max():.3g} nats: too narrow "
            "a range to tell a from b"
        )
    if fit.a <= 0.0:
        warnings.append("a is negative: performance fell as entropy fell, the law does not hold")
    elif fit.r2 < 0.8:
        warnings.append(f"R^2 is {fit.r2:.2f}: the law explains little of this run")
    if course.is_law and entropy.min() > 0.5 * entropy.max():
        warnings.append(
            f"the lowest entropy is {entropy.min():.3g} nats: the ceiling (at 0) is far off"
        )
    if forms is not None and "delta_aicc_ar1" in forms:
        gain = forms["delta_aicc_ar1"]
        best = gain.idxmin()
        if gain["exponential"] > _GAIN:
            warnings.append(
                f"the form {best} fits better (AICc by {gain['exponential']:.0f}, autocorrelation "
                "allowed for)"
            )
    return warnings
