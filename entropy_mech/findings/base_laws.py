"""The law on base models (Figs. 3 and 4) and on instruct models (Fig. 14)."""

from __future__ import annotations

import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, Fact
from entropy_mech.findings.law_groups import LAST_VALIDATIONS, law_claims, unchecked
from entropy_mech.theory.law_published import published_fits

_PREDICTABLE = "predictable from a and b (section 2.4)"
_NOT_PRINTED = "not printed; curves not digitised"


def maths_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 3 on ``by_model`` of its runs; on an empty frame, the digitised Qwen2.5 points."""
    if frame.empty:
        return _published_facts()
    median = published_fits()["r2"].median()
    return law_claims(
        frame,
        of="models",
        paper_r2=f"{median:.2f} (median of five Qwen2.5 sizes, Fig. 1 right, digitised, our fit)",
        paper_ceiling=f"{_distances().median():.3f} (the same points)",
    )


def code_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 4 on ``by_model`` of its runs."""
    if frame.empty:
        return unchecked("R = -a exp(H) + b explains eleven base models on code")
    return law_claims(frame, of="models", paper_r2=_NOT_PRINTED, paper_ceiling=_PREDICTABLE)


def instruct_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 14 on ``by_model`` of its runs."""
    if frame.empty:
        return unchecked("R = -a exp(H) + b explains three instruct models")
    return law_claims(
        frame, of="instruct models", paper_r2=_NOT_PRINTED, paper_ceiling=_PREDICTABLE
    )


def published_table() -> pd.DataFrame:
    """Return our fit of the five digitised sizes beside the coefficients that the authors drew."""
    table = published_fits().assign(distance=_distances())
    return table.rename(columns={"distance": "|ceiling - reached|"}).round(4)


def _distances() -> pd.Series:
    """The distance of each size's ceiling from the mean of its points of lowest entropy."""
    ceilings = published_fits()["ceiling"]
    reached = {s: published.scatter(s)[1].tail(LAST_VALIDATIONS).mean() for s in ceilings.index}
    return (ceilings - pd.Series(reached)).abs()


def _published_facts() -> list[Fact]:
    fits, distances = published_fits(), _distances()
    errors = fits[["a_error", "b_error"]].abs().max(axis="columns")
    return [
        Fact(
            "Least squares on the digitised points gives back a and b as drawn, within 3 %",
            "curves of Fig. 1 right",
            ", ".join(f"{size}: {100 * error:.1f} %" for size, error in errors.items()),
            bool(errors.max() <= 0.03),
        ),
        Fact(
            "R = -a exp(H) + b explains the points: median R^2 of five sizes at least 0.9",
            "no R^2 printed",
            ", ".join(f"{size}: {r2:.3f}" for size, r2 in fits["r2"].items()),
            bool(fits["r2"].median() >= 0.9),
        ),
        Fact(
            "The ceiling b - a is within 0.05 of the accuracy reached, median over five sizes",
            _PREDICTABLE,
            ", ".join(f"{size}: {distance:.3f}" for size, distance in distances.items()),
            bool(distances.median() <= 0.05),
        ),
    ]
