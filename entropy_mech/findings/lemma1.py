"""Lemma 1's claims in the form of all others: error slopes over random policies."""

from __future__ import annotations

import pandas as pd

from entropy_mech.findings.claims import Claim
from entropy_mech.theory.lemma1_summary import bound_violations, error_slopes

_TOLERANCE = {"first_order": 0.05, "second_order": 0.1}
_PAPER = {
    "first_order": "2: first order (Lemma 1)",
    "second_order": "3: what follows where the second order is exact (not in the paper)",
}
_Z_95 = 1.96


def lemma1_claims(frames: dict[str, pd.DataFrame]) -> list[Claim]:
    """Judge Lemma 1 on ``verify_lemma1`` frames, by the name of the update that they hold.

    The slope of the log error against log eta is 2 for the first order and 3 with the second; the
    replicates are random policies, not seeds.
    """
    claims = []
    for update, frame in frames.items():
        for name, row in error_slopes(frame).iterrows():
            margin = _Z_95 * row["standard_error"]
            target, tolerance = row["expected"], _TOLERANCE[name]
            claims.append(
                Claim(
                    f"{update}: |exact - {name.replace('_', ' ')}| grows as eta^{target:g} "
                    f"(slope within {tolerance:g})",
                    _PAPER[name],
                    row["slope"],
                    row["slope"] - margin,
                    row["slope"] + margin,
                    int(row["policies"]),
                    holds=(target - tolerance, target + tolerance),
                    contradicted=(-float("inf"), target - 0.5),
                    of="policies",
                )
            )
        claims.append(_bound_claim(update, frame))
    return claims


def _bound_claim(update: str, frame: pd.DataFrame) -> Claim:
    broken = float(bound_violations(frame).sum())
    return Claim(
        f"{update}: the a-priori error bounds are exceeded by none of {2 * len(frame):,} errors",
        "no bound in the paper",
        broken,
        broken,
        broken,
        frame["policy"].nunique(),
        holds=(0.0, 0.0),
        of="policies",
    )
