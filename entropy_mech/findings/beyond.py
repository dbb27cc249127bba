"""What the paper does not say: the law's rivals on its own points, and what Lemma 1 leaves out."""

from __future__ import annotations

import pandas as pd

from entropy_mech.findings.claims import Fact
from entropy_mech.theory import published_law_claims, visitation_claims

_NOT_SAID = "not said"


def law_facts() -> list[Fact]:
    """Return what the digitised points of Fig. 1 right support (Eq. 6, sections 2.4 and 2.5)."""
    return [
        Fact(row["claim"][:1].upper() + row["claim"][1:], _NOT_SAID, row["measured"], row["holds"])
        for _, row in published_law_claims().iterrows()
    ]


def visitation_facts(summary: pd.DataFrame) -> list[Fact]:
    """Return whether Lemma 1's own term is the larger one, family by family of MDPs.

    ``summary`` is ``theory.visitation_summary``'s.
    """
    return [
        Fact(
            f"{row['family']}, {row['horizon']} tokens: Lemma 1's term outweighs the change of "
            "the visited states that it leaves out",
            "the state distribution is held fixed (section 3.1)",
            f"visitation / Lemma 1 = {row['ratio']:.2g}; wrong sign in "
            f"{100 * row['wrong_sign_fraction']:.0f} % of policies",
            row["lemma1_dominates"],
        )
        for _, row in visitation_claims(summary).iterrows()
    ]
