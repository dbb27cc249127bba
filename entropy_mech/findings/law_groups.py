"""The law of section 2 by group of runs: models, algorithms, training sets (Figs. 3, 4, 13, 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError
from entropy_mech.findings.claims import Claim, Fact, over_replicates
from entropy_mech.reproduction.base_models import BASE_MODELS
from entropy_mech.theory.law import fit_law
from entropy_mech.theory.law_intervals import law_intervals

# The groups of Figs. 6 and 13, in the paper's order; the run that both share is section 2's own.
ALGORITHMS = {
    "fig03_qwen2.5_7b": "GRPO",
    "fig06_rloo": "RLOO",
    "fig06_prime": "PRIME",
    "fig06_reinforce_pp": "REINFORCE++",
}
TRAINING_SETS = {
    "fig13_dapo_math": "DAPO-MATH",
    "fig13_gsm8k": "GSM8K",
    "fig03_qwen2.5_7b": "Eurus-RL-Data",
    "fig13_eurus_math_difficult": "Eurus-RL-Data-Difficult",
}
LAST_VALIDATIONS = 3  # the accuracy reached is their mean
_QUANTITIES = ("a", "b", "ceiling", "r2", "rmse")


def by_model(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the columns group (the model's label) and family, in paper order."""
    if frame.empty:
        return frame
    known = [name for name in BASE_MODELS if name in set(frame["model"])]
    parts = [frame[frame["model"] == name] for name in known]
    return pd.concat(
        part.assign(group=BASE_MODELS[name].label, family=BASE_MODELS[name].family)
        for name, part in zip(known, parts, strict=True)
    )


def by_run(frame: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame's runs that ``labels`` names, with their label as column group, in order."""
    if frame.empty:
        return frame
    parts = [frame[frame["run"] == run].assign(group=label) for run, label in labels.items()]
    return pd.concat(parts)


def validated(frame: pd.DataFrame, accuracy: str = "validation_accuracy") -> pd.DataFrame:
    """Return the steps with a validation: entropy and accuracy of one and the same policy."""
    return frame.dropna(subset=["entropy_nats", accuracy])


def law_fits(
    frame: pd.DataFrame,
    by: Sequence[str] = ("group",),
    *,
    accuracy: str = "validation_accuracy",
) -> pd.DataFrame:
    """Fit R = -a exp(H) + b (Eq. 6) to every run: a row for each of ``by`` and each seed.

    ``frame`` has seed, step, entropy_nats and the accuracy (a fraction, NaN between validations).
    Columns: a, b, ceiling, rmse, r2; reached (mean of the last validations); entropy_first and
    entropy_last (nats); points; note, which says why where a run could not be fitted (its numbers
    are then NaN) or the law has the wrong sign.
    """
    rows = []
    for key, part in validated(frame, accuracy).groupby([*by, "seed"], sort=False):
        entropy, scores = part["entropy_nats"], part[accuracy]
        rows.append(
            dict(zip([*by, "seed"], key, strict=True))
            | fit_or_note(entropy, scores)
            | {
                "reached": scores.tail(LAST_VALIDATIONS).mean(),
                "entropy_first": entropy.iloc[0],
                "entropy_last": entropy.tail(LAST_VALIDATIONS).mean(),
                "points": len(part),
            }
        )
    return pd.DataFrame(rows)


def fit_or_note(entropy: Sequence[float], scores: Sequence[float]) -> dict[str, Any]:
    """Return the fit's numbers and a note: empty, what is odd, or why there is no fit.

    >>> fit_or_note([0.2, 0.2, 0.2], [0.1, 0.2, 0.3])["note"]
    'no fit: entropy_nats = 0.2 everywhere: give a run in which entropy moves'
    """
    try:
        fit = fit_law(entropy, scores)
    except UserError as error:
        return dict.fromkeys(("a", "b", "ceiling", "rmse", "r2"), np.nan) | {
            "note": f"no fit: {error}"
        }
    note = "accuracy is constant" if np.isnan(fit.r2) else ""
    if fit.a < 0:
        note = "a is negative: accuracy fell as entropy fell"
    return {"a": fit.a, "b": fit.b, "ceiling": fit.ceiling, "rmse": fit.rmse, "r2": fit.r2,
            "note": note}  # fmt: skip


def law_estimates(frame: pd.DataFrame, *, quantities: Sequence[str] = _QUANTITIES) -> pd.DataFrame:
    """Return each group's coefficients with 95 % intervals: group, quantity, estimate, low, high.

    Estimates are means over seeds with Student's interval. One seed has no such interval: a, b and
    the ceiling then have the interval of the one run's points (``theory.law_intervals``), which
    says nothing of what another seed would do.
    """
    rows = []
    for group, fits in law_fits(frame).groupby("group", sort=False):
        runs = validated(frame[frame["group"] == group])
        one_run = _one_run_interval(runs) if len(fits) == 1 else {}
        for quantity in quantities:
            claim = over_replicates("", "", fits[quantity], holds=(0, 0))
            low, high = one_run.get(quantity, (claim.low, claim.high))
            rows.append(
                {"group": group, "quantity": quantity, "estimate": claim.estimate}
                | {"low": low, "high": high, "seeds": len(fits)}
            )
    return pd.DataFrame(rows)


def law_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``law_estimates`` for the reader, a row a group: intervals in brackets, and notes."""
    if frame.empty:
        return pd.DataFrame()
    estimates, fits = law_estimates(frame), law_fits(frame)
    words = estimates.assign(text=[interval_text(r) for r in estimates.itertuples()])
    table = words.pivot(index="group", columns="quantity", values="text")
    each = fits.groupby("group", sort=False)
    names = {"ceiling": "ceiling b - a", "r2": "R^2", "rmse": "RMSE"}
    return (
        table.loc[fits["group"].unique(), list(_QUANTITIES)]
        .rename(columns=names)
        .assign(**{
            "accuracy reached": each["reached"].mean().round(3),
            "entropy (nats)": [f"{f:.3g} to {t:.3g}" for f, t in
                               each[["entropy_first", "entropy_last"]].mean().to_numpy()],
            "points a run": each["points"].min(),
            "seeds": each["seed"].nunique(),
            "note": each["note"].agg(lambda notes: "; ".join(sorted(set(notes) - {""}))),
        })
        .rename_axis(columns=None)
    )  # fmt: skip


def interval_text(row: Any) -> str:
    """Return an estimate with its interval in words, ``0.97 [0.95, 0.99]``; no fit is a dash."""
    if np.isnan(row.estimate):
        return "-"
    if np.isnan(row.low):
        return f"{row.estimate:.3g}"
    return f"{row.estimate:.3g} [{row.low:.3g}, {row.high:.3g}]"


def law_claims(frame: pd.DataFrame, *, of: str, paper_r2: str, paper_ceiling: str) -> list[Claim]:
    """Judge whether the law holds over the groups of a figure.

    A group whose law cannot be fitted counts as R^2 = 0. ``of`` names the groups.
    """
    fits = law_fits(frame)
    fits["r2"] = fits["r2"].fillna(0.0)
    fits["off"] = (fits["ceiling"] - fits["reached"]).abs().fillna(inf)
    seeds, groups = fits.groupby("seed"), fits["group"].nunique()
    return [
        over_replicates(
            f"R = -a exp(H) + b explains the runs: median R^2 of {groups} {of} at least 0.9",
            paper_r2,
            seeds["r2"].median(),
            holds=(0.9, inf),
            contradicted=(-inf, 0.5),
        ),
        over_replicates(
            f"R^2 is at least 0.9 in nine of ten {of} (share of {groups})",
            paper_r2,
            seeds["r2"].agg(lambda r2: (r2 >= 0.9).mean()),
            holds=(0.9, inf),
            contradicted=(-inf, 0.5),
        ),
        over_replicates(
            f"The ceiling b - a is within 0.05 of the accuracy reached: median distance over {of}",
            paper_ceiling,
            seeds["off"].median().replace(inf, np.nan),
            holds=(-inf, 0.05),
            contradicted=(0.15, inf),
        ),
    ]


def unchecked(statement: str) -> list[Fact]:
    """Return the claim of a figure of which the paper gives nothing that could be checked."""
    return [Fact(statement, "curves alone, not digitised; no numbers printed", "no runs", None)]


def _one_run_interval(points: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The intervals of a, b and the ceiling from one run's points; none where there are too few."""
    try:
        table = law_intervals(points["entropy_nats"], points["validation_accuracy"])
    except UserError:
        return {}
    return {row.quantity: (row.low, row.high) for row in table.itertuples()}
