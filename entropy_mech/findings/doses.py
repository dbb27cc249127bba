"""Section 4.5: Clip-Cov's share of tokens and KL-Cov's coefficient steer the entropy (Fig. 12)."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd

from entropy_mech.findings.claims import Claim, Fact, over_ratios
from entropy_mech.findings.control import METHODS
from entropy_mech.findings.sweeps import (
    coefficients_fact,
    monotone_claim,
    sweep_endings,
    with_coefficient,
)

# The setting that is swept, what the paper calls it, and its value in section 4.3.
DOSES = {
    "clip_cov": ("clip_fraction", "r", 2e-4),
    "kl_cov": ("penalty_coefficient", "beta", 1.0),
}
_PAPER_DOSE = r"^fig12_\w+?_([\d.e-]+)$"


def dose_sweep(frame: pd.DataFrame, settings: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the metrics of a method's runs with ``coefficient``, ours, and ``paper_dose``.

    ``settings`` is ``Report.loss_settings()``'s. A toy rollout has so few tokens that Clip-Cov's
    fractions are larger here; ``paper_dose`` is the paper's fraction that a run stands for.
    """
    column, _, standard = DOSES[method]
    sweep = with_coefficient(frame, settings, column)
    if sweep.empty:
        return sweep.assign(paper_dose=[])
    paper = sweep["run"].str.extract(_PAPER_DOSE)[0].astype(float).fillna(standard)
    return sweep.assign(paper_dose=paper)


def fluctuations(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return how unsteady the entropy is in the second half of training, a row a run and seed.

    ``fluctuation``: the standard deviation of ln H about its own straight line over steps. It
    includes the noise of measuring H on one rollout. Columns: coefficient, seed, fluctuation.
    """
    late = sweep[sweep["step"] >= sweep["step"].max() / 2] if len(sweep) else sweep
    rows = [
        {"coefficient": coefficient, "seed": seed, "fluctuation": _about_a_line(part)}
        for (coefficient, seed), part in late.groupby(["coefficient", "seed"])
    ]
    return pd.DataFrame(rows, columns=["coefficient", "seed", "fluctuation"])


def dose_table(frame: pd.DataFrame, settings: pd.DataFrame) -> pd.DataFrame:
    """Return a row a method and dose: the end, its spread over seeds, the fluctuation.

    Columns: method, coefficient, paper_dose, seeds, touched_fraction (of the trained tokens, mean
    over training: Clip-Cov's band can hold fewer than r asks for, and then a larger r changes
    nothing), entropy_nats (mean), spread_over_seeds (standard deviation of ln H at the end),
    fluctuation (mean), accuracy (mean).
    """
    tables = []
    for method, label in METHODS.items():
        if method not in DOSES or (sweep := dose_sweep(frame, settings, method)).empty:
            continue
        by_dose = sweep_endings(sweep).groupby("coefficient")
        tables.append(
            pd.DataFrame(
                {
                    "method": label,
                    "paper_dose": sweep.groupby("coefficient")["paper_dose"].first(),
                    "seeds": by_dose["seed"].nunique(),
                    "touched_fraction": sweep.groupby("coefficient")["selected_fraction"].mean(),
                    "entropy_nats": by_dose["entropy_nats"].mean(),
                    "spread_over_seeds": by_dose["entropy_nats"].agg(lambda h: np.log(h).std()),
                    "fluctuation": fluctuations(sweep).groupby("coefficient")["fluctuation"].mean(),
                    "accuracy": by_dose["accuracy"].mean(),
                }
            ).reset_index()
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def dose_claims(frame: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 12; what is printed, where there are no runs."""
    if frame.empty:
        return [
            coefficients_fact("fig12", symbol, settings[column])
            for column, symbol, _ in DOSES.values()
        ]
    claims: list[Claim | Fact] = []
    sweeps = {method: dose_sweep(frame, settings, method) for method in DOSES}
    for method, sweep in sweeps.items():
        name = f"{METHODS[method]}: the larger {DOSES[method][1]}"
        ends = sweep_endings(sweep)
        largest = ends[ends["coefficient"] == ends["coefficient"].max()]
        claims += [
            monotone_claim(
                sweep, "entropy_nats", f"{name}, the more entropy at the end", "Fig. 12"
            ),
            over_ratios(
                f"{METHODS[method]}: the largest dose ends with more entropy than the smallest "
                "(ratio)",
                "more (Fig. 12)",
                largest["entropy_ratio"],
                holds=(1.0, inf),
                contradicted=(-inf, 1.0),
            ),
        ]
    return [_treatment_claim(sweeps["clip_cov"]), *claims, _steadiness_claim(sweeps)]


def _treatment_claim(sweep: pd.DataFrame) -> Claim:
    """Whether a larger r is a larger dose at all: its band may be empty before r is used up."""
    touched = sweep.groupby(["seed", "coefficient"])["selected_fraction"].mean().unstack()
    return over_ratios(
        "Clip-Cov: the largest r touches at least 1.1 times the tokens that the smallest does, so "
        "that there is a dose to compare (ratio, over training)",
        "not printed; r itself grows by 3.5",
        touched[touched.columns.max()] / touched[touched.columns.min()],
        holds=(1.1, inf),
    )


def _steadiness_claim(sweeps: dict[str, pd.DataFrame]) -> Claim:
    """Compare the methods where they act: over the doses above 0, seed by seed."""
    means = {
        method: table[table["coefficient"] > 0].groupby("seed")["fluctuation"].mean()
        for method, table in ((m, fluctuations(sweep)) for m, sweep in sweeps.items())
    }
    return over_ratios(
        "KL-Cov is the steadier: the fluctuation of ln H under Clip-Cov over that under KL-Cov, "
        "second half of training, mean over doses (ratio)",
        "KL-Cov more stable (section 4.5)",
        means["clip_cov"] / means["kl_cov"],
        holds=(1.0, inf),
        contradicted=(-inf, 1.0),
    )


def _about_a_line(part: pd.DataFrame) -> float:
    if len(part) < 4:
        return np.nan
    step, log_entropy = part["step"].to_numpy(float), np.log(part["entropy_nats"].to_numpy(float))
    rest = log_entropy - np.polyval(np.polyfit(step, log_entropy, 1), step)
    return float(np.sqrt((rest**2).sum() / (len(part) - 2)))
