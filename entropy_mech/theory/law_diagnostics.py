"""Does the law hold for these points? Residuals, and signs that it has nothing to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from entropy_mech.theory.law import LawFit, checked_points, fit_law
from entropy_mech.theory.law_course import Course, course_of

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
