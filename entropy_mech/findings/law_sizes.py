"""The law's coefficients against model size, seed by seed (Fig. 7)."""

from __future__ import annotations

from math import inf

import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, Fact, over_replicates
from entropy_mech.findings.early_steps import by_domain
from entropy_mech.findings.law_groups import by_model, interval_text, law_fits
from entropy_mech.theory.law_published import published_fits
from entropy_mech.theory.law_sizes import QUANTITIES, extrapolate_largest

_LEAST_SIZES = 3  # to leave the largest out and still have a line
_SHOWN = ("slope", "r2", "observed", "predicted", "miss")


def coefficients(frame: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Return a, b and the ceiling of every run with its model's size.

    ``models`` is a report's: model, parameters (without embeddings). Columns: domain, group,
    model, seed, parameters, a, b, ceiling, r2, note.
    """
    if frame.empty:
        return pd.DataFrame()
    fits = law_fits(by_domain(by_model(frame)), ("domain", "group", "model"))
    sizes = models.set_index("model")["parameters"]
    return fits.assign(parameters=fits["model"].map(sizes))[
        ["domain", "group", "model", "seed", "parameters", "a", "b", "ceiling", "r2", "note"]
    ]


def size_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Fit each coefficient against ln(parameters), seed by seed, with the largest left out too.

    ``table`` is ``coefficients``'. Columns: domain, seed, quantity, sizes, slope (per e-fold of
    parameters), r2 (all sizes), observed, predicted and miss (predicted less observed) at the
    largest size, note. Fewer than three sizes with a fit: no line, and the note says so.
    """
    rows = []
    for (domain, seed), part in table.groupby(["domain", "seed"], sort=False):
        fitted = part.dropna(subset=["a", "b", "parameters"])
        sizes = fitted["parameters"].nunique()
        lines = None
        if sizes >= _LEAST_SIZES:
            # The line's slope and misses do not depend on the unit of the parameters.
            lines = extrapolate_largest(
                fitted.assign(parameters_billion=fitted["parameters"].astype(float) / 1e9)
            )
        for quantity in QUANTITIES:
            numbers = {} if lines is None else lines.loc[quantity, list(_SHOWN)].to_dict()
            note = "" if lines is not None else f"{sizes} sizes with a fit: no line"
            rows.append(
                {"domain": domain, "seed": seed, "quantity": quantity, "sizes": sizes}
                | dict.fromkeys(_SHOWN, float("nan"))
                | numbers
                | {"note": note}
            )
    return pd.DataFrame(rows)


def size_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``size_lines`` for the reader, means over seeds with intervals, the paper's below."""
    rows = []
    lines = size_lines(table) if len(table) else pd.DataFrame(columns=["domain", "quantity"])
    for (domain, quantity), part in lines.groupby(["domain", "quantity"], sort=False):
        row = {"whose": "ours", "domain": domain, "quantity": quantity}
        for name in _SHOWN:
            row[name] = interval_text(over_replicates("", "", part[name], holds=(0, 0)))
        rows.append(row | {"sizes": part["sizes"].min(), "seeds": len(part),
                           "note": "; ".join(sorted(set(part["note"]) - {""}))})  # fmt: skip
    paper = extrapolate_largest(published.curve_coefficients())
    for quantity, line in paper.iterrows():
        rows.append({"whose": "paper, digitised", "domain": "maths", "quantity": quantity,
                     **{name: f"{line[name]:.3g}" for name in _SHOWN}, "sizes": 5, "seeds": 1,
                     "note": "Fig. 1 right"})  # fmt: skip
    return pd.DataFrame(rows)


def size_claims(table: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 7; on an empty table, the authors' own coefficients."""
    if table.empty:
        return _published_facts()
    paper, lines, claims = (
        extrapolate_largest(published.curve_coefficients()),
        size_lines(table),
        [],
    )
    for domain, part in lines.groupby("domain", sort=False):
        by = dict(iter(part.groupby("quantity")))
        sizes, word = part["sizes"].min(), domain.capitalize()
        for name in ("a", "b"):
            claims.append(
                over_replicates(
                    f"{word}: {name} is straight in ln(parameters) of {sizes} sizes: R^2 at least "
                    "0.8",
                    f"{paper.loc[name, 'r2']:.2f} (maths, digitised, our line)",
                    by[name]["r2"],
                    holds=(0.8, inf),
                    contradicted=(-inf, 0.3),
                )
            )
            claims.append(
                over_replicates(
                    f"{word}: {name} rises with size (slope per e-fold of parameters)",
                    f"{paper.loc[name, 'slope']:+.3f} (the same)",
                    by[name]["slope"],
                    holds=(0.0, inf),
                    contradicted=(-inf, 0.0),
                )
            )
        claims.append(
            over_replicates(
                f"{word}: the smaller sizes predict the largest one's ceiling within 0.05 "
                "(predicted less observed)",
                f"{paper.loc['ceiling', 'miss']:+.3f} (the same)",
                by["ceiling"]["miss"],
                holds=(-0.05, 0.05),
                contradicted=(0.05, inf) if by["ceiling"]["miss"].mean() > 0 else (-inf, -0.05),
            )
        )
    return claims


def _published_facts() -> list[Fact]:
    """What the authors' coefficients say of straight lines, and whether our fit gives them back."""
    sizes, fits = extrapolate_largest(published.curve_coefficients()), published_fits()
    worst = fits[["a_error", "b_error"]].abs().max().max()
    return [
        Fact(
            "Least squares on the digitised points gives back a and b as drawn, within 3 %",
            "curves of Fig. 1 right",
            f"{100 * worst:.1f} % at most, five sizes",
            bool(worst <= 0.03),
        ),
        *(
            Fact(
                f"{name} is straight in ln(parameters): R^2 at least 0.8",
                "roughly straight (Fig. 7)",
                f"R^2 = {sizes.loc[name, 'r2']:.2f}, slope {sizes.loc[name, 'slope']:+.3f} per "
                "e-fold of parameters",
                bool(sizes.loc[name, "r2"] >= 0.8),
            )
            for name in ("a", "b")
        ),
        Fact(
            "The four smaller sizes predict the ceiling of 32B within 0.05",
            "larger models can be extrapolated from smaller ones",
            f"{sizes.loc['ceiling', 'miss']:+.3f} (predicted less observed)",
            bool(abs(sizes.loc["ceiling", "miss"]) <= 0.05),
        ),
    ]
