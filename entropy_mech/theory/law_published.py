"""The law on the paper's own digitised points: what it says, and what it does not say."""

from __future__ import annotations

import pandas as pd

from entropy_mech import published
from entropy_mech.theory.law import fit_law
from entropy_mech.theory.law_forms import compare_forms
from entropy_mech.theory.law_sizes import extrapolate_largest


def published_fits() -> pd.DataFrame:
    """Return least-squares fits of Fig. 1 right beside the authors' drawn curves, a row a size.

    Columns: points, a, b, ceiling, rmse, r2 (from the scatter points alone, fractions), a_drawn,
    b_drawn and the relative errors a_error, b_error. All points weigh the same.

    >>> published_fits().loc["7B", ["a", "a_drawn"]].round(3).tolist()
    [0.209, 0.21]
    """
    drawn, rows = published.curve_coefficients(), {}
    for size in drawn.index:
        fit = fit_law(*published.scatter(size))
        rows[size] = {
            "points": fit.n_points,
            "a": fit.a,
            "b": fit.b,
            "ceiling": fit.ceiling,
            "rmse": fit.rmse,
            "r2": fit.r2,
            "a_drawn": drawn.loc[size, "a"],
            "b_drawn": drawn.loc[size, "b"],
            "a_error": fit.a / drawn.loc[size, "a"] - 1.0,
            "b_error": fit.b / drawn.loc[size, "b"] - 1.0,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def published_forms() -> pd.DataFrame:
    """Return ``compare_forms`` for each size, indexed by (model, form).

    The panel shows no steps: points are taken in order of falling entropy, and its dense end is
    thinned, so the first 15 % of points are less than 15 % of training.

    >>> table = published_forms()
    >>> table.loc["0.5B", "delta_aicc"].round().astype(int).to_dict()["linear"]
    25
    """
    sizes = published.curve_coefficients().index
    tables = {size: compare_forms(*published.scatter(size)) for size in sizes}
    return pd.concat(tables, names=["model"])


def published_run() -> pd.DataFrame:
    """Return step, entropy_nats and performance (percent) of Fig. 1 left: one 7B run, smoothed.

    >>> published_run().columns.tolist(), len(published_run())
    (['step', 'entropy_nats', 'performance'], 71)
    """
    wide = published.load("fig01_left").pivot(index="step", columns="series", values="value")
    wide = wide.dropna().reset_index()
    return pd.DataFrame(
        {
            "step": wide["step"],
            "entropy_nats": wide["training_entropy"],
            "performance": wide["test_accuracy_pct"],
        }
    )


def published_law_claims() -> pd.DataFrame:
    """Return what the published points support and what they do not: claim, measured, holds.

    >>> published_law_claims()["holds"].tolist()
    [True, True, True, False, False, False]
    """
    fits, forms = published_fits(), published_forms()
    gap = forms["delta_aicc"].unstack("form")
    rates = forms["c"].unstack("form")["free_rate"]
    large = ["3B", "7B", "32B"]
    sizes = extrapolate_largest(published.curve_coefficients())
    best_of_two = gap[["exponential", "linear", "logarithm"]].idxmin(axis="columns")
    worst = fits.drop(index="0.5B")[["a_error", "b_error"]].abs().max().max()
    small = fits.loc["0.5B", ["a_error", "b_error"]].abs().max()
    rows = [
        ("the points give back the drawn a and b within 1 %, 1.5B to 32B",
         f"{100 * worst:.2f} % at most", worst <= 0.01),
        ("and within 3 % at 0.5B", f"{100 * small:.2f} % at most", small <= 0.03),
        ("exp(H) is the best two-parameter form from 3B up (AICc)",
         ", ".join(f"{s}: {best_of_two[s]}" for s in large),
         all(best_of_two[s] == "exponential" for s in large)),
        ("and at 0.5B and 1.5B",
         ", ".join(f"{s}: {best_of_two[s]}" for s in ("0.5B", "1.5B")),
         all(best_of_two[s] == "exponential" for s in ("0.5B", "1.5B"))),
        ("the rate in exp(c H) is 1",
         ", ".join(f"{s}: {c:.2f}" for s, c in rates.items()),
         bool(((rates - 1.0).abs() < 0.25).all())),
        ("the four smaller sizes predict 32B within 2 points",
         ", ".join(f"{q} {100 * sizes.loc[q, 'miss']:+.1f}" for q in sizes.index),
         bool((sizes["miss"].abs() <= 0.02).all())),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["claim", "measured", "holds"])
