"""Section 2: entropy is spent early, and performance follows it (Fig. 1, Eq. 6)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, over_replicates
from entropy_mech.theory.law import LawFit, fit_law

_ACCURACIES = {"sampled": "validation_accuracy", "greedy": "validation_greedy_accuracy"}
_LAST_ROLLOUTS = 10
_LAST_VALIDATIONS = 3
_INFINITY = float("inf")


def validated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the steps with a validation: entropy and accuracy of one and the same policy."""
    return frame.dropna(subset="validation_accuracy")


def law_by_run(frame: pd.DataFrame) -> pd.DataFrame:
    """Fit the law to each run, for sampled and for greedy validation.

    ``frame`` has run, seed, step, entropy_nats and the validation columns. One row a run, seed and
    protocol: a, b, ceiling, rmse, r2, reached (mean accuracy of the last validations), points.
    """
    rows = []
    for (run, seed), part in validated(frame).groupby(["run", "seed"], sort=False):
        for protocol, column in _ACCURACIES.items():
            fit = fit_law(part["entropy_nats"], part[column])
            rows.append(
                {"run": run, "seed": seed, "validation": protocol, **_numbers(fit)}
                | {"reached": part[column].tail(_LAST_VALIDATIONS).mean(), "points": len(part)}
            )
    return pd.DataFrame(rows)


def spent(frame: pd.DataFrame, *, at: float) -> pd.DataFrame:
    """Return how much of each run's whole move in entropy and accuracy the first ``at`` made.

    The whole move is from the first validation to the mean of the last three; ``at`` is a share
    of the steps. Columns: run, seed, entropy_share, accuracy_share, and the moves themselves.
    """
    rows = []
    for (run, seed), part in validated(frame).groupby(["run", "seed"], sort=False):
        early = part[part["step"] <= at * part["step"].max()].tail(_LAST_VALIDATIONS)
        row = {"run": run, "seed": seed}
        for name, column in (("entropy", "entropy_nats"), ("accuracy", "validation_accuracy")):
            first, last = part[column].iloc[0], part[column].tail(_LAST_VALIDATIONS).mean()
            row[f"{name}_move"] = last - first
            row[f"{name}_share"] = (early[column].mean() - first) / (last - first)
        rows.append(row)
    return pd.DataFrame(rows)


def entropy_fall(frame: pd.DataFrame) -> pd.Series:
    """Return 1 - H(end) / H(start) by seed: mean of the last ten rollouts against the first."""
    by_seed = frame.groupby("seed")["entropy_nats"]
    last = by_seed.apply(lambda h: h.tail(_LAST_ROLLOUTS).mean())
    return 1 - last / by_seed.first()


def collapse_claims(frame: pd.DataFrame) -> list[Claim]:
    """Judge Fig. 1 on runs of one configuration and several seeds."""
    laws = law_by_run(frame).set_index("validation")
    sampled, greedy = laws.loc[["sampled"]], laws.loc[["greedy"]]
    early = spent(frame, at=1 / 3)
    paper_fall, paper_gain = _published_moves()
    paper_r2 = fit_law(*published.scatter("7B")).r2
    return [
        over_replicates(
            "Policy entropy falls by at least 80 %: 1 - H(end) / H(start)",
            f"{paper_fall:.2f} (Qwen2.5-7B, Fig. 1 left, digitised)",
            entropy_fall(frame),
            holds=(0.8, _INFINITY),
            contradicted=(-_INFINITY, 0.0),
        ),
        over_replicates(
            "Validation accuracy rises by at least 0.4, sampled at temperature 1 (fraction)",
            f"{paper_gain:+.2f} (same; greedy and averaged benchmarks)",
            early["accuracy_move"],
            holds=(0.4, _INFINITY),
            contradicted=(-_INFINITY, 0.0),
        ),
        over_replicates(
            "R = -a exp(H) + b explains the runs: R^2 at least 0.95, sampled validation",
            f"{paper_r2:.3f} (7B points of Fig. 1 right, digitised, our fit)",
            sampled["r2"],
            holds=(0.95, _INFINITY),
            contradicted=(-_INFINITY, 0.5),
        ),
        over_replicates(
            "The same with greedy validation: R^2 at least 0.95",
            "the paper's validation is mostly greedy",
            greedy["r2"],
            holds=(0.95, _INFINITY),
            contradicted=(-_INFINITY, 0.5),
        ),
        over_replicates(
            "The law's ceiling b - a lies within 0.05 of the accuracy reached (difference)",
            "predictable from a and b (section 2.4)",
            sampled["ceiling"].to_numpy() - sampled["reached"].to_numpy(),
            holds=(-0.05, 0.05),
        ),
        over_replicates(
            "The first third of training makes at least 90 % of the entropy's fall (share)",
            "0.94 (mean of 11 runs, Fig. 2)",
            early["entropy_share"],
            holds=(0.9, _INFINITY),
            contradicted=(-_INFINITY, 1 / 3),
        ),
        over_replicates(
            "The first third of training makes at least 90 % of the accuracy's rise (share)",
            "0.93 (mean of 11 runs, Fig. 2)",
            early["accuracy_share"],
            holds=(0.9, _INFINITY),
            contradicted=(-_INFINITY, 1 / 3),
        ),
    ]


def _numbers(fit: LawFit) -> dict[str, float]:
    return {"a": fit.a, "b": fit.b, "ceiling": fit.ceiling, "rmse": fit.rmse, "r2": fit.r2}


def _published_moves() -> tuple[float, float]:
    """The fall of entropy and the gain in accuracy (fraction) of Fig. 1 left."""
    series = published.load("fig01_left").groupby("series")["value"]
    first, last = series.first(), series.apply(lambda v: v.tail(_LAST_VALIDATIONS).mean())
    fall = 1 - last["training_entropy"] / first["training_entropy"]
    gain = (last["test_accuracy_pct"] - first["test_accuracy_pct"]) / 100
    return float(fall), float(np.round(gain, 4))
