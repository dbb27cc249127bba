"""The law R = -a exp(H) + b (Eq. 6): its fit to a run, and its coefficients against model size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value

# -- One run -------------------------------------------------------------------------------------

_LARGEST_ENTROPY_NATS = 50.0  # log V is 12 for the largest vocabularies: beyond is a unit mistake
_ROUNDING_NATS = 1e-5  # of an entropy summed in single precision over a large vocabulary


@dataclass(frozen=True)
class LawFit:
    """Coefficients of R = -a exp(H) + b and how well they fit.

    ``ceiling`` is the performance predicted at H = 0, b - a, when all entropy is spent. ``rmse`` is
    the root mean squared residual (divided by n) in the units of the performance, ``r2`` the share
    of its variance explained (NaN if the performance is constant).
    """

    a: float
    b: float
    ceiling: float
    rmse: float
    r2: float
    n_points: int

    def predict(self, entropy_nats: np.ndarray) -> np.ndarray:
        """Return -a exp(H) + b, of the shape of ``entropy_nats``.

        >>> LawFit(a=0.25, b=1.0, ceiling=0.75, rmse=0.0, r2=1.0, n_points=3).predict(0.0).item()
        0.75
        """
        return -self.a * np.exp(np.asarray(entropy_nats, dtype=np.float64)) + self.b


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
    entropy, performance = checked_points(entropy_nats, performance)
    growth = np.exp(entropy)
    centre, level = growth.mean(), performance.mean()
    spread = growth - centre
    a = -float(spread @ (performance - level) / (spread @ spread))
    b = float(level + a * centre)
    residual = performance + a * growth - b
    total = float(((performance - level) ** 2).sum())
    unexplained = float(residual @ residual)
    return LawFit(
        a=a,
        b=b,
        ceiling=b - a,
        rmse=float(np.sqrt(unexplained / len(residual))),
        r2=1.0 - unexplained / total if total > 0.0 else float("nan"),
        n_points=len(residual),
    )


def checked_points(
    entropy_nats: np.ndarray, performance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both columns as float64 ``(n,)``, or raise the one line that says what is wrong."""
    entropy = _column("entropy_nats", entropy_nats)
    scores = _column("performance", performance)
    if len(entropy) != len(scores):
        raise UserError(
            f"entropy_nats has {len(entropy)} values, performance {len(scores)}: "
            "give one performance for each entropy"
        )
    if len(entropy) < 3:
        raise bad_value("points", len(entropy), "give at least 3: two always lie on the law")
    if entropy.min() < -_ROUNDING_NATS:
        why = "all are negative: are these -H?" if entropy.max() < 0.0 else "-H, or of a density?"
        raise bad_value(
            "entropy_nats", float(entropy.min()), f"give entropies of at least 0 nats ({why})"
        )
    entropy = np.maximum(entropy, 0.0)
    if entropy.max() > _LARGEST_ENTROPY_NATS:
        raise bad_value(
            "entropy_nats",
            float(entropy.max()),
            "give token entropies in nats (is this a sum over tokens, or a perplexity?)",
        )
    if np.ptp(entropy) <= _rounding(entropy):
        within = "everywhere" if np.ptp(entropy) == 0.0 else "everywhere within rounding"
        raise bad_value(
            "entropy_nats", f"{entropy[0]:.6g} {within}", "give a run in which entropy moves"
        )
    return entropy, scores


def _rounding(entropy: np.ndarray) -> float:
    """Return by how much entropies may differ that are the same number, rounded.

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
        raise bad_value(
            f"{field}[{bad[0]}]", float(column[bad[0]]), "drop the points without a finite value"
        )
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
        return (
            self.slope * np.log(np.asarray(parameters_billion, dtype=np.float64)) + self.intercept
        )


def fit_sizes(parameters_billion: np.ndarray, values: np.ndarray) -> SizeFit:
    """Fit a coefficient against ln(parameters); at least two different sizes, all above 0.

    >>> fit = fit_sizes([1.0, np.e, np.e**2], [0.1, 0.3, 0.5])
    >>> round(fit.slope, 9), round(fit.intercept, 9)
    (0.2, 0.1)
    """
    sizes = np.asarray(parameters_billion, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    if sizes.shape != values.shape or sizes.ndim != 1:
        raise UserError("parameters_billion, values: unequal lengths: give one value for each size")
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise bad_value("parameters_billion", sizes.tolist(), "give numbers above 0")
    x = np.log(sizes)
    if len(x) < 2 or np.ptp(x) == 0.0:
        raise bad_value("parameters_billion", sizes.tolist(), "give at least two different sizes")
    slope, intercept = np.polyfit(x, values, 1)
    residual = values - slope * x - intercept
    total = ((values - values.mean()) ** 2).sum()
    return SizeFit(
        slope=float(slope),
        intercept=float(intercept),
        rmse=float(np.sqrt(np.mean(residual**2))),
        r2=float(1.0 - (residual**2).sum() / total) if total > 0 else float("nan"),
    )


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
    for quantity in QUANTITIES:
        values = frame[quantity].to_numpy()
        everything = fit_sizes(sizes, values)
        predicted = float(fit_sizes(sizes[:-1], values[:-1]).predict(sizes[-1]))
        rows[quantity] = {
            "slope": everything.slope,
            "intercept": everything.intercept,
            "r2": everything.r2,
            "observed": float(values[-1]),
            "predicted": predicted,
            "miss": predicted - float(values[-1]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")
