"""Section 2: entropy is spent early, and performance follows it (Fig. 1, Eq. 6)."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, Fact, over_replicates
from entropy_mech.findings.early_steps import moves, published_shares
from entropy_mech.findings.law_groups import LAST_VALIDATIONS, law_fits
from entropy_mech.theory.law import fit_law
from entropy_mech.theory.law_published import published_fits

_ACCURACIES = {"sampled": "validation_accuracy", "greedy": "validation_greedy_accuracy"}
_LAST_ROLLOUTS = 10


def law_by_run(frame: pd.DataFrame) -> pd.DataFrame:
    """Fit the law to each run, for sampled and, where it was measured, for greedy validation.

    One row a run, seed and protocol, with the columns of ``law_groups.law_fits``.
    """
    tables = [
        law_fits(frame, ("run",), accuracy=column).assign(validation=protocol)
        for protocol, column in _ACCURACIES.items()
        if column in frame
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def law_of_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``law_by_run`` for the reader; on an empty frame, the fits of the paper's points."""
    if frame.empty:
        return published_fits().round(4)
    columns = ["seed", "validation", "a", "b", "ceiling", "r2", "rmse", "reached", "points", "note"]
    return law_by_run(frame)[["run", *columns]].round(3)


def spent(frame: pd.DataFrame, *, at: float) -> pd.DataFrame:
    """Return how much of each run's whole move in entropy and accuracy the first ``at`` made.

    ``at`` is a share of the rollouts; ``early_steps.moves`` says what counts as the end. Columns:
    run, seed, entropy_share, accuracy_share, and the whole moves themselves.
    """
    if frame.empty:
        return pd.DataFrame()
    table = moves(frame, np.array([at]))
    return pd.DataFrame(
        {
            "run": table["run"],
            "seed": table["seed"],
            "entropy_move": -table["entropy_all"],
            "entropy_share": table["entropy"] / table["entropy_all"],
            "accuracy_move": table["gain_all"],
            "accuracy_share": table["gain"] / table["gain_all"],
        }
    )


def entropy_fall(frame: pd.DataFrame) -> pd.Series:
    """Return 1 - H(end) / H(start) by seed: mean of the last ten rollouts against the first."""
    by_seed = frame.groupby("seed")["entropy_nats"]
    last = by_seed.apply(lambda h: h.tail(_LAST_ROLLOUTS).mean())
    return 1 - last / by_seed.first()


def collapse_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 1 on runs of one configuration and several seeds; on none, the paper's own."""
    if frame.empty:
        return _published_facts()
    laws = law_by_run(frame).groupby("validation")
    sampled, early = laws.get_group("sampled"), spent(frame, at=1 / 3)
    paper_fall, paper_gain = _published_moves()
    paper_r2 = fit_law(*published.scatter("7B")).r2
    claims = [
        over_replicates(
            "Policy entropy falls by at least 80 %: 1 - H(end) / H(start)",
            f"{paper_fall:.2f} (Qwen2.5-7B, Fig. 1 left, digitised)",
            entropy_fall(frame),
            holds=(0.8, inf),
            contradicted=(-inf, 0.0),
        ),
        over_replicates(
            "Validation accuracy rises by at least 0.4, sampled at temperature 1 (fraction)",
            f"{paper_gain:+.2f} (same; greedy and averaged benchmarks)",
            early["accuracy_move"],
            holds=(0.4, inf),
            contradicted=(-inf, 0.0),
        ),
        _law_explains(
            "R = -a exp(H) + b explains the runs: R^2 at least 0.95, sampled validation",
            f"{paper_r2:.3f} (7B points of Fig. 1 right, digitised, our fit)",
            sampled,
        ),
        over_replicates(
            "The law's ceiling b - a lies within 0.05 of the accuracy reached (difference)",
            "predictable from a and b (section 2.4)",
            sampled["ceiling"].to_numpy() - sampled["reached"].to_numpy(),
            holds=(-0.05, 0.05),
        ),
        _first_third("the entropy's fall", "0.94", early["entropy_share"]),
        _first_third("the accuracy's rise", "0.93", early["accuracy_share"]),
    ]
    if "greedy" in laws.groups:
        greedy = _law_explains(
            "The same with greedy validation: R^2 at least 0.95",
            "the paper's validation is mostly greedy",
            laws.get_group("greedy"),
        )
        claims.insert(3, greedy)
    return claims


def _law_explains(statement: str, paper: str, fits: pd.DataFrame) -> Claim:
    return over_replicates(
        statement, paper, fits["r2"], holds=(0.95, inf), contradicted=(-inf, 0.5)
    )


def _first_third(what: str, paper: str, share: pd.Series) -> Claim:
    return over_replicates(
        f"The first third of training makes at least 90 % of {what} (share)",
        f"{paper} (mean of 11 runs, Fig. 2)",
        share,
        holds=(0.9, inf),
        contradicted=(-inf, 1 / 3),
    )


def _published_facts() -> list[Fact]:
    """What the digitised curves of Fig. 1 say of its claims."""
    fall, gain = _published_moves()
    third, fit = published_shares().iloc[-1], published_fits().loc["7B"]
    error = max(abs(fit["a_error"]), abs(fit["b_error"]))
    where = "Qwen2.5-7B, Fig. 1 left, digitised"
    return [
        Fact(
            "Policy entropy falls by at least 80 %: 1 - H(end) / H(start)",
            "entropy is exhausted",
            f"{fall:.2f} ({where})",
            fall >= 0.8,
        ),
        Fact(
            "The first third of training makes at least 90 % of both moves (shares)",
            "over 95 % early (section 2.3); 0.94 and 0.93 (mean of 11 runs, Fig. 2)",
            f"entropy {third['entropy']:.2f}, accuracy {third['gain']:.2f} ({where}); "
            f"accuracy rises by {gain:.2f}",
            bool(third[["entropy", "gain"]].min() >= 0.9),
        ),
        Fact(
            "R = -a exp(H) + b explains the 7B points: R^2 at least 0.95",
            "not printed",
            f"{fit['r2']:.3f} ({fit['points']:.0f} points of Fig. 1 right, digitised, our fit)",
            bool(fit["r2"] >= 0.95),
        ),
        Fact(
            "The fit gives back the authors' a and b of 7B within 1 %",
            f"a = {fit['a_drawn']:.4f}, b = {fit['b_drawn']:.4f} (as drawn)",
            f"a = {fit['a']:.4f}, b = {fit['b']:.4f}",
            bool(error <= 0.01),
        ),
    ]


def _published_moves() -> tuple[float, float]:
    """The fall of entropy and the gain in accuracy (fraction) of Fig. 1 left."""
    series = published.load("fig01_left").groupby("series")["value"]
    first, last = series.first(), series.apply(lambda v: v.tail(LAST_VALIDATIONS).mean())
    fall = 1 - last["training_entropy"] / first["training_entropy"]
    gain = (last["test_accuracy_pct"] - first["test_accuracy_pct"]) / 100
    return float(fall), float(np.round(gain, 4))
