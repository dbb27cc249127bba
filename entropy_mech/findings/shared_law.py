"""Does one curve serve several groups of runs? Algorithms (Fig. 6) and training sets (Fig. 13).

Runs are the replicates, not their points: neighbouring validations of one run err together, and
two seeds of one configuration differ by more than their points' scatter says. Groups are compared
within seeds, because runs of one seed share problems and random streams.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from entropy_mech.findings.claims import MIN_REPLICATES, Claim, Fact, over_replicates
from entropy_mech.findings.law_groups import law_claims, law_fits, unchecked, validated
from entropy_mech.theory.law import fit_law

_PERMUTATIONS = 9999
_ROUNDING = 1e-9  # of a and b: coefficients that agree this well are one
_NOT_PRINTED = "not printed; curves not digitised"
_LAW_WORDS = {"paper_r2": _NOT_PRINTED, "paper_ceiling": "predictable from a and b (section 2.4)"}


def shared_law_test(frame: pd.DataFrame, *, seed: int = 1) -> dict[str, Any]:
    """Test whether the groups' (a, b) differ by more than their seeds' do.

    ``frame`` has group, seed, step, entropy_nats, validation_accuracy. Each run gives one pair
    (a, b); the pairs are split into what groups, seeds and the rest explain (a two-way
    multivariate analysis of variance). Wilks' lambda is |rest| / |rest + groups|, and

        F = (1 / sqrt(lambda) - 1) (v - 1) / (groups - 1),  v = (groups - 1) (seeds - 1),

    is F-distributed with 2 (groups - 1) and 2 (v - 1) degrees of freedom if the pairs are normal,
    however a and b hang together; for two groups F = (1 / lambda - 1) (v - 1) / 2 with 2 and v - 1,
    which is Hotelling's paired test. (Sums of squares over all points are no substitute: a and b
    move together from run to run, and such a test rejects a true law three times too often.)
    ``p_permutation`` needs no normality: the groups' labels are permuted within each seed. It
    cannot be below 1 / (groups!)^(seeds - 1).

    Seeds without a fit for every group are left out. Returns groups, seeds, wilks_lambda, f, df1,
    df2, p_f, p_permutation; the last six are NaN where there are too few.
    """
    pairs = _pairs(frame)
    groups, seeds = pairs.shape[:2]
    rest = (groups - 1) * (seeds - 1)
    # 1 for two groups, else 2: lambda's root that is an F.
    root = min(groups - 1, 2)
    result = {"groups": groups, "seeds": seeds, "wilks_lambda": np.nan, "f": np.nan,
              "df1": 2 * (groups - 1), "df2": root * (rest - 1), "p_f": np.nan,
              "p_permutation": np.nan}  # fmt: skip
    if rest < 2:
        return result
    within = pairs - pairs.mean(axis=0)
    if np.abs(within).max() < _ROUNDING:
        return result | {"wilks_lambda": 1.0, "f": 0.0, "p_f": 1.0, "p_permutation": 1.0}
    stream = np.random.default_rng(seed)
    order = stream.random((_PERMUTATIONS, groups, seeds)).argsort(axis=1)
    permuted = np.take_along_axis(within[None], order[..., None], axis=1)
    observed, others = _wilks(within[None])[0], _wilks(permuted)
    f = (observed ** (-1 / root) - 1) * result["df2"] / result["df1"]
    return result | {
        "wilks_lambda": float(observed),
        "f": float(f),
        "p_f": float(stats.f.sf(f, result["df1"], result["df2"])),
        "p_permutation": float((1 + (others <= observed * (1 + 1e-9)).sum()) / (1 + len(others))),
    }


def sharing_cost(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, a row a seed, what one curve for all groups costs: rmse_shared, rmse_own, cost.

    Both are over all points of the seed, fractions; own means a curve a group. NaN for a seed in
    which a group has no fit.
    """
    fits, rows = law_fits(frame), []
    for seed, points in validated(frame).groupby("seed"):
        own = fits[fits["seed"] == seed]
        squares = (own["rmse"] ** 2 * own["points"]).sum(skipna=False)
        row = {"seed": seed, "rmse_shared": np.nan, "rmse_own": np.sqrt(squares / len(points))}
        if not np.isnan(squares):
            shared = fit_law(points["entropy_nats"], points["validation_accuracy"])
            row["rmse_shared"] = shared.rmse
        rows.append(row | {"cost": row["rmse_shared"] - row["rmse_own"]})
    return pd.DataFrame(rows)


def against_reference(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return how far each group's a and b are from the reference group's, seed by seed.

    Columns: group, seed, a, b: value / reference - 1 (NaN where either run has no fit).
    """
    fits = law_fits(frame).set_index(["group", "seed"])[["a", "b"]]
    rows = [
        (fits.loc[group] / fits.loc[reference] - 1).assign(group=group).reset_index()
        for group in fits.index.get_level_values("group").unique()
        if group != reference
    ]
    return pd.concat(rows)[["group", "seed", "a", "b"]] if rows else pd.DataFrame()


def shared_law_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``shared_law_test`` and the mean cost of sharing as a one-row table."""
    if frame.empty:
        return pd.DataFrame()
    costs = sharing_cost(frame)[["rmse_shared", "rmse_own", "cost"]].mean()
    return pd.DataFrame([shared_law_test(frame) | costs.to_dict()])


def algorithm_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 6: four algorithms trace one curve."""
    if frame.empty:
        return unchecked("GRPO, RLOO, PRIME and REINFORCE++ share a and b")
    claims = [
        _p_value(
            frame,
            "One (a, b) a seed serves all algorithms: not rejected, p at least 0.05",
            shared=True,
        ),
        over_replicates(
            "A curve for each algorithm fits better by less than 0.01 (RMSE, fraction)",
            _NOT_PRINTED,
            sharing_cost(frame)["cost"],
            holds=(-inf, 0.01),
            contradicted=(0.03, inf),
        ),
    ]
    reference = frame["group"].iloc[0]  # GRPO, where it was chosen
    shifts = against_reference(frame, reference)
    for group, part in shifts.groupby("group", sort=False) if len(shifts) else ():
        claims += [_within_a_fifth(group, name, reference, part[name]) for name in ("a", "b")]
    return claims


def training_set_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 13: the law holds on each training set, with a and b of its own."""
    if frame.empty:
        return unchecked("The law holds on four training sets, with a and b of its own on each")
    return [
        *law_claims(frame, of="training sets", **_LAW_WORDS),
        _p_value(
            frame,
            "a and b depend on the training set: one curve is rejected, p below 0.05",
            shared=False,
        ),
        over_replicates(
            "A curve for each training set fits better by at least 0.01 (RMSE, fraction)",
            _NOT_PRINTED,
            sharing_cost(frame)["cost"],
            holds=(0.01, inf),
            contradicted=(-inf, 0.01),
        ),
    ]


def _p_value(frame: pd.DataFrame, statement: str, *, shared: bool) -> Fact:
    """Return the test as a fact; with too few seeds to judge by, without a verdict."""
    test = shared_law_test(frame)
    p = test["p_f"]
    ours = (
        f"p = {p:.2g} (F({test['df1']}, {test['df2']}) = {test['f']:.2f} of Wilks' lambda; labels "
        f"permuted within seeds: p = {test['p_permutation']:.2g}), {test['groups']} groups, "
        f"{test['seeds']} seeds"
    )
    tested = test["seeds"] >= MIN_REPLICATES and not np.isnan(p)
    return Fact(statement, _NOT_PRINTED, ours, (p >= 0.05) == shared if tested else None)


def _within_a_fifth(group: str, name: str, reference: str, shift: pd.Series) -> Claim:
    return over_replicates(
        f"{group}'s {name} is within 20 % of {reference}'s (value / {reference}'s - 1)",
        "the same curve (Fig. 6)",
        shift,
        holds=(-0.2, 0.2),
        contradicted=(0.2, inf) if shift.mean() > 0 else (-inf, -0.2),
    )


def _pairs(frame: pd.DataFrame) -> np.ndarray:
    """Return (a, b) of each run, ``(groups, seeds, 2)``, for the seeds that have every group's."""
    wide = law_fits(frame).pivot(index="seed", columns="group", values=["a", "b"]).dropna()
    return np.stack([wide[name].to_numpy().T for name in ("a", "b")], axis=-1)


def _wilks(within: np.ndarray) -> np.ndarray:
    """Return Wilks' lambda of ``(n, groups, seeds, 2)`` pairs, centred in each seed: ``(n,)``."""
    total = np.einsum("ngsi,ngsj->nij", within, within)
    means = within.mean(axis=2)
    between = within.shape[2] * np.einsum("ngi,ngj->nij", means, means)
    return np.maximum(np.linalg.det(total - between), 0.0) / np.linalg.det(total)
