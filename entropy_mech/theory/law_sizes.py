"""The law's coefficients against model size (Fig. 7): a and b against the log of the parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value

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
