"""Section 3.3: the covariance that drives entropy, against its fall and by difficulty (Fig. 8)."""

from __future__ import annotations

import re
from math import inf

import numpy as np
import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, Fact, over_correlations, over_replicates

SHOWN_ACCURACIES = (0.125, 0.5, 0.875)  # Fig. 8 right
_BLOCK_ROLLOUTS = 5
_BLOCK_MIDDLE = (_BLOCK_ROLLOUTS - 1) / 2
_BY_ACCURACY = re.compile(r"group_covariance_theorem1_accuracy_(\d+)_of_(\d+)")
_RESAMPLES, _LEAST_POINTS = 1000, 6


def blocks(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return means over blocks of five rollouts, by seed: single ones are too noisy to compare."""
    block = frame["step"] // _BLOCK_ROLLOUTS
    means = frame.groupby(["seed", block.rename("block")])[columns].mean().reset_index()
    return means.assign(step=means["block"] * _BLOCK_ROLLOUTS + _BLOCK_MIDDLE)


def covariance_and_change(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Theorem 1's covariance beside the entropy's fall, in blocks of five rollouts.

    Columns: seed, step, covariance (``group_covariance_theorem1``, Eq. 9), entropy_fall_nats (the
    fall of H at the rollout's own prefixes by the update, a rollout).
    """
    table = frame.assign(
        covariance=frame["group_covariance_theorem1"].fillna(0.0),  # nothing was trained on: 0
        entropy_fall_nats=-frame["entropy_change_nats"],
    )
    return blocks(table, ["covariance", "entropy_fall_nats"])


def covariance_by_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the covariance of groups with k of G right, in blocks of five rollouts.

    Columns: seed, accuracy (k / G), step (the block's middle), covariance.
    """
    columns = [c for c in frame.columns if _BY_ACCURACY.fullmatch(c)]
    long = frame.melt(["seed", "step"], columns, "group", "covariance").dropna()
    parts = long["group"].str.extract(_BY_ACCURACY).astype(int)
    long = long.assign(accuracy=parts[0] / parts[1])
    keys = ["seed", "accuracy", (long["step"] // _BLOCK_ROLLOUTS).rename("block")]
    means = long.groupby(keys)["covariance"].mean().reset_index()
    return means.assign(step=means["block"] * _BLOCK_ROLLOUTS + _BLOCK_MIDDLE)


def shape_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the correlation of covariance and entropy's fall, ours by seed and the paper's.

    Columns: curve, correlation, low, high (a 95 % interval within the run: a moving-block
    bootstrap, since neighbouring steps go together), points, a point.
    """
    rows = []
    for seed, part in [] if frame.empty else covariance_and_change(frame).groupby("seed"):
        columns = part["covariance"], part["entropy_fall_nats"]
        rows.append({"curve": f"ours, seed {seed}", **_correlation(*columns)})
        rows[-1]["a point"] = f"{_BLOCK_ROLLOUTS} rollouts"
    left = _published_left()
    paper = _correlation(left["covariance"], left["neg_grad_entropy"])
    rows.append({"curve": "paper (Fig. 8 left, digitised)", **paper, "a point": "8 steps"})
    return pd.DataFrame(rows)


def covariance_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 8 on on-policy runs of several seeds; the paper's own curves if empty."""
    if frame.empty:
        return _published_facts()
    shapes = shape_correlations(frame)
    ours = shapes.loc[shapes["curve"].str.startswith("ours"), "correlation"]
    positive = frame.assign(positive=frame["group_covariance_theorem1"].fillna(0.0) > 0)
    groups = covariance_by_accuracy(frame)
    means = groups.groupby(["seed", "accuracy"])["covariance"].mean().unstack()
    means = means.reindex(columns=list(SHOWN_ACCURACIES))  # NaN where no group fared so
    hard, middle, easy = (means[accuracy] for accuracy in SHOWN_ACCURACIES)
    paper_hard, paper_middle, paper_easy = _published_groups()
    return [
        over_replicates(
            "The covariance of Theorem 1 is positive in at least 90 % of the rollouts (share)",
            f"{_published_positive_share():.2f} (Fig. 8 left, digitised)",
            positive.groupby("seed")["positive"].mean(),
            holds=(0.9, inf),
            contradicted=(-inf, 0.5),
        ),
        over_correlations(
            "Covariance and the entropy's fall have one shape: correlation over blocks of "
            f"{_BLOCK_ROLLOUTS} rollouts at least 0.8",
            f"{shapes['correlation'].iloc[-1]:.2f} (Fig. 8 left, digitised, all steps)",
            ours,
            holds=(0.8, inf),
            contradicted=(-inf, 0.0),
        ),
        _order_claim(
            "Easier prompts have the larger covariance: groups 7/8 right less groups 1/8 right",
            paper_easy - paper_hard,
            easy - hard,
        ),
        _order_claim(
            "... with the half-right groups between: groups 4/8 right less groups 1/8 right",
            paper_middle - paper_hard,
            middle - hard,
        ),
        _order_claim(
            "... and below the easiest: groups 7/8 right less groups 4/8 right",
            paper_easy - paper_middle,
            easy - middle,
        ),
    ]


def published_shape_fact() -> Fact:
    """Return whether the paper's two curves of Fig. 8 left go together, as digitised."""
    shape = shape_correlations(pd.DataFrame()).iloc[-1]
    return Fact(
        "Covariance and the entropy's fall have one shape: correlation at least 0.8",
        "similar dynamics (section 3.3)",
        f"{shape['correlation']:.2f} [{shape['low']:.2f}, {shape['high']:.2f}], 95 % by blocks "
        f"of the curve, {shape['points']} readings (Fig. 8 left, digitised)",
        shape["correlation"] >= 0.8,
    )


def _order_claim(statement: str, paper: float, differences: pd.Series) -> Claim:
    return over_replicates(
        statement,
        f"{paper:+.4f} (Fig. 8 right, digitised, mean over steps)",
        differences,
        holds=(0.0, inf),
        contradicted=(-inf, 0.0),
    )


def _published_facts() -> list[Fact]:
    """Return what the paper's own curves of Fig. 8 say, as digitised."""
    hard, middle, easy = _published_groups()
    return [
        Fact(
            "The covariance stays positive: in at least 90 % of the readings",
            "positive throughout (section 3.3)",
            f"{_published_positive_share():.3f} of the readings (Fig. 8 left, digitised)",
            _published_positive_share() >= 0.9,
        ),
        published_shape_fact(),
        Fact(
            "The easier the prompts, the higher the covariance (accuracy 0.125, 0.5, 0.875)",
            "higher for easier prompts (section 3.3)",
            f"{hard:.4f}, {middle:.4f}, {easy:.4f} (Fig. 8 right, digitised, means over steps)",
            hard < middle < easy,
        ),
    ]


def _published_positive_share() -> float:
    return float((_published_left()["covariance"] > 0).mean())


def _published_left() -> pd.DataFrame:
    frame = published.load("fig08_left")
    return frame.pivot(index="step", columns="series", values="value").dropna()


def _published_groups() -> list[float]:
    means = published.load("fig08_right").groupby("series")["value"].mean()
    return [float(means[f"acc_{accuracy:g}"]) for accuracy in SHOWN_ACCURACIES]


def _correlation(x: pd.Series, y: pd.Series) -> dict[str, float]:
    """Pearson's correlation and its interval by a moving-block bootstrap."""
    x, y, n = x.to_numpy(), y.to_numpy(), len(x)
    found = {"correlation": _pearson(x, y), "low": np.nan, "high": np.nan, "points": n}
    length = round(n ** (1 / 3))
    if n >= _LEAST_POINTS:
        rng = np.random.default_rng(0)
        starts = rng.integers(0, n - length + 1, size=(_RESAMPLES, -(-n // length)))
        places = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, :n]
        drawn = [_pearson(x[row], y[row]) for row in places]
        found["low"], found["high"] = np.nanquantile(drawn, [0.025, 0.975]).tolist()
    return found


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    spread = x.std() * y.std() if len(x) > 1 else 0.0
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 0 else np.nan
