"""Table 1: how few tokens carry the covariance."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd

from entropy_mech import published
from entropy_mech.findings.claims import Claim, Fact, over_ratios

TOP_FRACTIONS = (0.0002, 0.002, 0.02, 0.2, 0.5, 1.0)


def covariance_tail(tokens: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1: mean covariance of the tokens of highest covariance.

    ``tokens`` has seed and covariance, a row a token. One row a seed and top fraction:
    mean_covariance, tokens (how many those are: at least 1), all_tokens.
    """
    rows = []
    for seed, part in [] if tokens.empty else tokens.groupby("seed"):
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
    """Return our tail, mean over seeds with its range, beside the paper's Table 1.

    The paper's column alone where ``tail`` is empty.
    """
    paper = published.table1().set_index("top_fraction")["mean_covariance"].rename("paper")
    table = paper.to_frame().rename_axis("top fraction")
    if tail.empty:
        return table
    by_fraction = tail.groupby("top_fraction")["mean_covariance"]
    table["ours"] = by_fraction.mean()
    table["ours, lowest seed"] = by_fraction.min()
    table["ours, highest seed"] = by_fraction.max()
    table["tokens a seed"] = tail.groupby("top_fraction")["tokens"].mean().round(1)
    return table


def tail_claims(tail: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Table 1: a few tokens carry covariances far above the mean; the paper's if empty."""
    paper = published.table1().set_index("top_fraction")["mean_covariance"]
    if tail.empty:
        return _published_tail_facts(paper)
    wide = tail.pivot(index="seed", columns="top_fraction", values="mean_covariance")
    return [
        over_ratios(
            f"The top {fraction:g} of tokens have at least {least:g} times the mean covariance "
            "of all (ratio)",
            f"{paper[fraction] / paper[1.0]:.0f} (Table 1, Qwen2.5-7B)",
            wide[fraction] / wide[1.0],
            holds=(least, inf),
            contradicted=(-inf, 1.0),
        )
        for fraction, least in ((0.02, 100.0), (0.02, 5.0), (0.2, 2.0))
    ]


def _published_tail_facts(paper: pd.Series) -> list[Fact]:
    whole = paper[1.0]
    lower_half = (whole - 0.5 * paper[0.5]) / 0.5  # what is left for the other tokens to sum to
    return [
        Fact(
            "The top 0.02 % of tokens have more than 1,000 times the mean covariance of all",
            "5.654 against 0.003 (Table 1)",
            f"{paper[0.0002] / whole:.0f} times",
            paper[0.0002] > 1000 * whole,
        ),
        Fact(
            "Signs nearly cancel: below the top half of the tokens the mean is negative",
            "follows from Table 1's rows for 50 % and for all",
            f"mean {lower_half:+.3f} of the lower half",
            lower_half < 0,
        ),
    ]
