"""Section 3.3 and Table 1: the covariance that drives entropy, and its tail."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, over_ratios, over_replicates

TOP_FRACTIONS = (0.0002, 0.002, 0.02, 0.2, 0.5, 1.0)
_BLOCK_ROLLOUTS = 10
_BLOCK_MIDDLE = (_BLOCK_ROLLOUTS - 1) / 2
_BY_ACCURACY = re.compile(r"group_covariance_theorem1_accuracy_(\d+)_of_(\d+)")
_INFINITY = float("inf")


def blocks(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return means over blocks of ten rollouts, by seed: single ones are too noisy to compare."""
    block = frame["step"] // _BLOCK_ROLLOUTS
    means = frame.groupby(["seed", block.rename("block")])[columns].mean().reset_index()
    return means.assign(step=means["block"] * _BLOCK_ROLLOUTS + _BLOCK_MIDDLE)


def covariance_and_change(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Theorem 1's covariance beside the entropy's fall, in blocks of ten rollouts.

    Columns: seed, step, covariance (``group_covariance_theorem1``, Eq. 9), entropy_fall_nats (the
    fall of H at the rollout's own prefixes by the update, a rollout).
    """
    table = frame.assign(
        covariance=frame["group_covariance_theorem1"].fillna(0.0),  # nothing was trained on: 0
        entropy_fall_nats=-frame["entropy_change_nats"],
    )
    return blocks(table, ["covariance", "entropy_fall_nats"])


def covariance_by_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the covariance of groups with k of G right, in blocks of ten rollouts.

    Columns: seed, accuracy (k / G), step (the block's middle), covariance.
    """
    columns = [c for c in frame.columns if _BY_ACCURACY.fullmatch(c)]
    long = frame.melt(["seed", "step"], columns, "group", "covariance").dropna()
    parts = long["group"].str.extract(_BY_ACCURACY).astype(int)
    long = long.assign(accuracy=parts[0] / parts[1])
    keys = ["seed", "accuracy", (long["step"] // _BLOCK_ROLLOUTS).rename("block")]
    means = long.groupby(keys)["covariance"].mean().reset_index()
    return means.assign(step=means["block"] * _BLOCK_ROLLOUTS + _BLOCK_MIDDLE)


def covariance_claims(frame: pd.DataFrame) -> list[Claim]:
    """Judge Fig. 8 on on-policy runs of several seeds."""
    table = covariance_and_change(frame)
    by_seed = table.groupby("seed")
    correlation = [p["covariance"].corr(p["entropy_fall_nats"]) for _, p in by_seed]
    positive = frame.assign(positive=frame["group_covariance_theorem1"].fillna(0.0) > 0)
    groups = covariance_by_accuracy(frame)
    means = groups.groupby(["seed", "accuracy"])["covariance"].mean().unstack()
    means = means.reindex(columns=[0.125, 0.5, 0.875])  # NaN where no group fared so
    return [
        over_replicates(
            "The covariance of Theorem 1 is positive in at least 90 % of the rollouts (share)",
            f"{_published_positive_share():.2f} (Fig. 8 left, digitised)",
            positive.groupby("seed")["positive"].mean(),
            holds=(0.9, _INFINITY),
            contradicted=(-_INFINITY, 0.5),
        ),
        over_replicates(
            "Covariance and the entropy's fall have one shape: correlation over blocks of "
            f"{_BLOCK_ROLLOUTS} rollouts at least 0.8",
            f"{_published_correlation():.2f} (Fig. 8 left, digitised, all steps)",
            correlation,
            holds=(0.8, _INFINITY),
            contradicted=(-_INFINITY, 0.0),
        ),
        over_replicates(
            "Easier prompts have the larger covariance: groups 7/8 right less groups 1/8 right",
            f"{_published_gap():+.4f} (Fig. 8 right, digitised, mean over steps)",
            means[0.875] - means[0.125],
            holds=(0.0, _INFINITY),
            contradicted=(-_INFINITY, 0.0),
        ),
        over_replicates(
            "... with the half-right groups between: groups 4/8 right less groups 1/8 right",
            "order kept (Fig. 8 right)",
            means[0.5] - means[0.125],
            holds=(0.0, _INFINITY),
            contradicted=(-_INFINITY, 0.0),
        ),
        over_replicates(
            "... and below the easiest: groups 7/8 right less groups 4/8 right",
            "order kept (Fig. 8 right)",
            means[0.875] - means[0.5],
            holds=(0.0, _INFINITY),
            contradicted=(-_INFINITY, 0.0),
        ),
    ]


def covariance_tail(tokens: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1: mean covariance of the tokens of highest covariance.

    ``tokens`` has seed and covariance, a row a token. One row a seed and top fraction:
    mean_covariance, tokens (how many those are: at least 1), all_tokens.
    """
    rows = []
    for seed, part in tokens.groupby("seed"):
        ordered = np.sort(part["covariance"].to_numpy())[::-1]
        for fraction in TOP_FRACTIONS:
            count = max(1, round(fraction * len(ordered)))
            rows.append(
                {
                    "seed": seed,
                    "top_fraction": fraction,
                    "mean_covariance": ordered[:count].mean(),
                    "tokens": count,
                    "all_tokens": len(ordered),
                }
            )
    return pd.DataFrame(rows)


def tail_beside_paper(tail: pd.DataFrame) -> pd.DataFrame:
    """Return our tail, mean over seeds with its range, beside the paper's Table 1."""
    by_fraction = tail.groupby("top_fraction")["mean_covariance"]
    paper = published.table1().set_index("top_fraction")["mean_covariance"]
    return pd.DataFrame(
        {
            "paper": paper,
            "ours": by_fraction.mean(),
            "ours, lowest seed": by_fraction.min(),
            "ours, highest seed": by_fraction.max(),
            "tokens a seed": tail.groupby("top_fraction")["tokens"].mean().round(1),
        }
    ).rename_axis("top fraction")


def tail_claims(tail: pd.DataFrame) -> list[Claim]:
    """Judge Table 1: a few tokens carry covariances far above the mean."""
    wide = tail.pivot(index="seed", columns="top_fraction", values="mean_covariance")
    paper = published.table1().set_index("top_fraction")["mean_covariance"]
    return [
        over_ratios(
            f"The top {fraction:g} of tokens have at least {least:g} times the mean covariance "
            "of all (ratio)",
            f"{paper[fraction] / paper[1.0]:.0f} (Table 1, Qwen2.5-7B)",
            wide[fraction] / wide[1.0],
            holds=(least, _INFINITY),
            contradicted=(-_INFINITY, 1.0),
        )
        for fraction, least in ((0.02, 100.0), (0.02, 5.0), (0.2, 2.0))
    ]


def _published_positive_share() -> float:
    return float((_published_left()["covariance"] > 0).mean())


def _published_correlation() -> float:
    table = _published_left()
    return float(table["covariance"].corr(table["neg_grad_entropy"]))


def _published_left() -> pd.DataFrame:
    frame = published.load("fig08_left")
    return frame.pivot(index="step", columns="series", values="value").dropna()


def _published_gap() -> float:
    means = published.load("fig08_right").groupby("series")["value"].mean()
    return float(means["acc_0.875"] - means["acc_0.125"])
