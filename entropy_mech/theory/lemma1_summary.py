"""What a frame of ``verify_lemma1`` says: slopes of the errors, bounds exceeded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value


def error_slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the log-log slopes of the errors of ``verify_lemma1`` against eta.

    One row an estimate, indexed ``first_order`` and ``second_order``: ``expected`` slope (2, 3),
    ``slope`` (the mean over policies of each policy's least-squares slope, which is the slope of
    the mean log error), its standard error, the 2.5 % and 97.5 % points over policies, and the
    number of policies with no error of exactly 0. A policy whose quadratic coefficient happens to
    be near 0 has a slope of its own: hence quantiles, not extremes.

    >>> frame = pd.DataFrame({"policy": 0, "eta": [0.1, 0.2], "first_order_error": [1.0, 4.0]})
    >>> error_slopes(frame.assign(second_order_error=[1.0, 8.0]))["slope"].round(9).tolist()
    [2.0, 3.0]
    """
    log_eta = np.log(np.sort(frame["eta"].unique()))
    if len(log_eta) < 2:
        raise bad_value("etas", len(log_eta), "give at least two step sizes for a slope")
    rows = {}
    for name, expected in (("first_order", 2.0), ("second_order", 3.0)):
        table = frame.pivot(index="policy", columns="eta", values=f"{name}_error").to_numpy()
        table = np.log(table[(table > 0.0).all(axis=1)])
        x = log_eta - log_eta.mean()
        slopes = table @ x / (x @ x)
        if not len(slopes):
            raise UserError(f"{name}_error = 0 for every policy: give policies of unequal actions")
        low, high = np.quantile(slopes, [0.025, 0.975])
        rows[name] = {
            "expected": expected,
            "slope": slopes.mean(),
            "standard_error": slopes.std(ddof=1) / np.sqrt(len(slopes))
            if len(slopes) > 1
            else np.nan,
            "policy_low": low,
            "policy_high": high,
            "policies": len(slopes),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("estimate")


def bound_violations(frame: pd.DataFrame) -> pd.Series:
    """Count the rows of ``verify_lemma1`` whose error exceeds its a-priori bound.

    1e-15 of the first-order term is allowed for: that is the rounding of the exact change, which
    for tiny steps is more than the bound itself.
    """
    rounding = 1e-15 * frame["first_order"].abs()
    return pd.Series(
        {
            name: int((frame[f"{name}_error"] > frame[f"{name}_bound"] + rounding).sum())
            for name in ("first_order", "second_order")
        },
        name="violations",
    )
