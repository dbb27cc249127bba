"""One setting swept over runs that are otherwise alike: entropy bonus, reference KL (Figs. 9, 10).

A sweep is a frame of metrics with the column ``coefficient``. Its reference is the run of the
smallest coefficient, 0 in both figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pandas as pd
from scipy import stats

from entropy_mech import published
from entropy_mech.findings.claims import Claim, Fact, over_ratios, over_replicates
from entropy_mech.findings.control import endings

_STRONG = 0.8  # a rank correlation that five coefficients reach with one neighbouring pair swapped
SWEPT = {"entropy_bonus": ("fig09", "alpha"), "reference_kl": ("fig10", "beta")}


def with_coefficient(frame: pd.DataFrame, settings: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the metrics of the runs that have the setting ``column``, as ``coefficient``.

    ``settings`` is ``Report.loss_settings()``'s. Empty where ``frame`` is.
    """
    if frame.empty:
        return pd.DataFrame(columns=["run", "seed", "step", "coefficient"])
    found = frame["run"].map(settings.set_index("run")[column])
    return frame.assign(coefficient=found.astype(float)).dropna(subset="coefficient")


def sweep_endings(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return the last sixth of each run beside that of the reference of the same seed.

    Columns: coefficient, seed, entropy_nats, accuracy, length_tokens, entropy_ratio and
    accuracy_gain (against the reference), growth (entropy at the end over that at the start).
    """
    names = ["coefficient", "seed", "entropy_nats", "accuracy", "length_tokens"]
    if sweep.empty:
        return pd.DataFrame(columns=[*names, "entropy_ratio", "accuracy_gain", "growth"])
    ends = endings(sweep)
    ends["coefficient"] = ends["run"].map(sweep.groupby("run")["coefficient"].first())
    start = sweep.sort_values("step").groupby(["run", "seed"])["entropy_nats"].first()
    start = start.reindex(pd.MultiIndex.from_frame(ends[["run", "seed"]])).to_numpy()
    reference = ends[ends["coefficient"] == ends["coefficient"].min()].set_index("seed")
    table = ends[names].assign(
        entropy_ratio=ends["entropy_nats"] / ends["seed"].map(reference["entropy_nats"]),
        accuracy_gain=ends["accuracy"] - ends["seed"].map(reference["accuracy"]),
        growth=ends["entropy_nats"] / start,
    )
    return table.sort_values(["coefficient", "seed"], ignore_index=True)


def sweep_table(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return a row a coefficient: means over seeds, and 95 % intervals of what is compared.

    Columns: coefficient, seeds, entropy_nats, entropy_ratio (geometric mean) with its _low and
    _high, accuracy, accuracy_gain with its _low and _high, growth.
    """
    rows = []
    for coefficient, part in sweep_endings(sweep).groupby("coefficient"):
        ratio = over_ratios("", "", part["entropy_ratio"], holds=(0, 1))
        gain = over_replicates("", "", part["accuracy_gain"], holds=(0, 1))
        rows.append(
            {
                "coefficient": coefficient,
                "seeds": len(part),
                "entropy_nats": part["entropy_nats"].mean(),
                "entropy_ratio": ratio.estimate,
                "entropy_ratio_low": ratio.low,
                "entropy_ratio_high": ratio.high,
                "accuracy": part["accuracy"].mean(),
                "accuracy_gain": gain.estimate,
                "accuracy_gain_low": gain.low,
                "accuracy_gain_high": gain.high,
                "growth": part["growth"].mean(),
            }
        )
    return pd.DataFrame(rows)


def rank_correlations(sweep: pd.DataFrame, column: str) -> pd.Series:
    """Return Spearman's correlation of coefficient and an ending, by seed.

    ``column`` is one of ``sweep_endings``'. NaN with fewer than three coefficients.
    """
    found = {
        seed: stats.spearmanr(part["coefficient"], part[column]).statistic
        if len(part) > 2 and part[column].nunique() > 1
        else float("nan")
        for seed, part in sweep_endings(sweep).groupby("seed")
    }
    return pd.Series(found, dtype=float)


def monotone_claim(
    sweep: pd.DataFrame, column: str, statement: str, paper: str, *, sign: int = 1
) -> Claim:
    """Judge whether an ending rises (``sign`` 1) or falls (-1) with the coefficient."""
    strong, opposite = (_STRONG, inf), (-inf, 0.0)
    if sign < 0:
        strong, opposite = (-inf, -_STRONG), (0.0, inf)
    bound = f"at {'least' if sign > 0 else 'most'} {sign * _STRONG:g}"
    return over_replicates(
        f"{statement}: rank correlation {bound}",
        paper,
        rank_correlations(sweep, column),
        holds=strong,
        contradicted=opposite,
    )


def bonus_claims(sweep: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 9, an entropy bonus; what is printed, where there are no runs."""
    if sweep.empty:
        return printed_facts("entropy_bonus", settings)
    ends = sweep_endings(sweep).set_index("coefficient")
    least, held, most = (_of(ends, alpha) for alpha in (0.0001, 0.005, 0.01))
    return [
        monotone_claim(
            sweep, "entropy_nats", "The larger alpha, the more entropy at the end", "Fig. 9"
        ),
        over_ratios(
            "alpha = 0.0001 does little: entropy at the end within a factor of 1.5 of alpha = 0's "
            "(ratio)",
            "little (section 4.1)",
            least["entropy_ratio"],
            holds=(1 / 1.5, 1.5),
            contradicted=(1.5, inf),
        ),
        _held_claim("alpha", 0.005, held),
        over_replicates(
            "... and does not win: less than 0.01 more accuracy than alpha = 0 (difference)",
            "does not win (section 4.1)",
            held["accuracy_gain"],
            holds=(-inf, 0.01),
            contradicted=(0.01, inf),
        ),
        over_ratios(
            "alpha = 0.01 explodes: more entropy at the end than before training (ratio)",
            "explodes (section 4.1)",
            most["growth"],
            holds=(1.0, inf),
            contradicted=(-inf, 1.0),
        ),
    ]


def reference_claims(sweep: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 10, a reference KL; what is printed, where there are no runs."""
    if sweep.empty:
        return printed_facts("reference_kl", settings)
    ends = sweep_endings(sweep).set_index("coefficient")
    strongest = ends.index.max()
    largest = _of(ends, strongest)
    return [
        monotone_claim(
            sweep, "entropy_nats", "The larger beta, the more entropy at the end", "section 4.1"
        ),
        monotone_claim(
            sweep,
            "accuracy",
            "The larger beta, the less accuracy at the end",
            "section 4.1",
            sign=-1,
        ),
        _held_claim("beta", strongest, largest),
        over_replicates(
            f"beta = {strongest:g} ends with less accuracy than beta = 0 (difference, fraction)",
            "loses accuracy (section 4.1)",
            largest["accuracy_gain"],
            holds=(-inf, 0.0),
            contradicted=(0.0, inf),
        ),
    ]


def _held_claim(symbol: str, coefficient: float, ends: pd.DataFrame) -> Claim:
    return over_ratios(
        f"{symbol} = {coefficient:g} holds the entropy: at least twice {symbol} = 0's at the end "
        "(ratio)",
        "holds it (section 4.1)",
        ends["entropy_ratio"],
        holds=(2.0, inf),
        contradicted=(-inf, 1.0),
    )


def printed_facts(column: str, settings: pd.DataFrame) -> list[Fact]:
    """Return what can be said without runs: our files for GPUs try the paper's coefficients."""
    place, symbol = SWEPT[column]
    return [coefficients_fact(place, symbol, settings[column])]


def coefficients_fact(place: str, symbol: str, declared: Sequence[float]) -> Fact:
    """Compare the values that run files declare with those that the paper prints for a figure."""
    paper = printed_coefficients(place, symbol)
    ours = sorted(set(pd.Series(declared).dropna().astype(float)))
    return Fact(
        f"The paper profile's runs try the {symbol} of the paper's figure (the figure's curves are "
        "not digitised, so nothing else of it can be checked here)",
        ", ".join(f"{value:g}" for value in paper),
        ", ".join(f"{value:g}" for value in ours),
        ours == paper,
    )


def printed_coefficients(place: str, symbol: str) -> list[float]:
    """Return the values of a coefficient that the paper prints for a figure, in order."""
    table = published.printed()
    chosen = (table["place"] == place) & (table["quantity"] == f"{symbol} tried")
    return sorted(table.loc[chosen, "value"].tolist())


def _of(ends: pd.DataFrame, coefficient: float) -> pd.DataFrame:
    """The rows of a coefficient; where it was not run, one of NaN, which gives no verdict."""
    found = ends.loc[ends.index == coefficient]
    return found if len(found) else pd.DataFrame({name: [float("nan")] for name in ends})
