"""Figure 8 and Table 1: the covariance that drives entropy, its fall and its tail."""

from __future__ import annotations

import re
from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_correlations, over_ratios, over_replicates
from entropy_mech.paper.style import (
    ACCURACY_COLOUR,
    ENTROPY_COLOUR,
    ORDINAL_COLOURS,
    Table,
    band_over_seeds,
    ours,
    panels,
)

# -- Claims of Figure 8 --------------------------------------------------------------------------

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


# -- Claims of Table 1 ---------------------------------------------------------------------------

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


# -- Drawing -------------------------------------------------------------------------------------


def covariance_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 8: covariance and entropy's fall, and by difficulty; the paper's row below ours.

    ``frame`` is ``Report.metrics()``; where it is empty the paper's row stands alone.
    """
    rows = [[published_covariance_and_fall, published_by_difficulty]]
    if len(frame):
        rows.insert(0, [partial(covariance_and_fall, frame), partial(by_difficulty, frame)])
    return panels(rows, width_in=12, row_height_in=4.2)


def covariance_and_fall(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw Theorem 1's covariance (left) and the entropy's fall a rollout (right axis)."""
    table = covariance_and_change(frame)
    right = ax.twinx()
    band_over_seeds(
        table, "covariance", ax, colour=ACCURACY_COLOUR, label=r"Cov($\log\pi$, $\pi A$)"
    )
    band_over_seeds(
        table, "entropy_fall_nats", right, colour=ENTROPY_COLOUR, label=r"$-\Delta H$ a rollout"
    )
    _paired(ax, right, "rollout step")
    ax.set_title(f"{ours(frame)}: on-policy GRPO, means of 5 rollouts")
    return ax


def published_covariance_and_fall(ax: Axes) -> Axes:
    """Draw the paper's Fig. 8 left, digitised."""
    series = dict(iter(published.load("fig08_left").groupby("series")))
    right = ax.twinx()
    covariance, fall = series["covariance"], series["neg_grad_entropy"]
    ax.plot(
        covariance["step"], covariance["value"], color=ACCURACY_COLOUR, lw=1,
        label=r"Cov($\log\pi$, $\pi A$)",
    )  # fmt: skip
    right.plot(fall["step"], fall["value"], color=ENTROPY_COLOUR, lw=1, label=r"$-\Delta H$")
    _paired(ax, right, "gradient step")
    ax.set_title("Paper: Qwen2.5-7B (Fig. 8 left, digitised)")
    return ax


def by_difficulty(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the covariance of groups by the share of right responses, means of five rollouts."""
    groups = covariance_by_accuracy(frame)
    for colour, accuracy in zip(ORDINAL_COLOURS, SHOWN_ACCURACIES, strict=False):
        part = groups[groups["accuracy"] == accuracy]
        band_over_seeds(part, "covariance", ax, colour=colour, label=f"accuracy {accuracy:g}")
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="rollout step (means of 5)", ylabel=r"Cov($\log\pi$, $\pi A$) (nats)")
    ax.set_title(f"{ours(frame)}: by group accuracy")
    ax.legend(frameon=False, loc="upper right")
    return ax


def published_by_difficulty(ax: Axes) -> Axes:
    """Draw the paper's Fig. 8 right, digitised."""
    series = dict(iter(published.load("fig08_right").groupby("series")))
    for colour, accuracy in zip(ORDINAL_COLOURS, SHOWN_ACCURACIES, strict=False):
        part = series[f"acc_{accuracy:g}"]
        ax.plot(part["step"], part["value"], color=colour, lw=1, label=f"accuracy {accuracy:g}")
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="gradient step", ylabel=r"Cov($\log\pi$, $\pi A$) (nats)")
    ax.set_title("Paper: Qwen2.5-7B (Fig. 8 right, digitised)")
    ax.legend(frameon=False)
    return ax


def tail(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw Table 1: mean covariance of the top tokens, ours beside the paper's; log-log.

    ``table`` is ``findings.covariance.tail_beside_paper``'s; without ours the paper's alone.
    """
    if "ours" in table:
        low, high = table["ours, lowest seed"], table["ours, highest seed"]
        ax.fill_between(table.index, low, high, color=ACCURACY_COLOUR, alpha=0.18, lw=0)
        ax.plot(
            table.index, table["ours"], marker="o", color=ACCURACY_COLOUR,
            label="ours: rollout 0 (band: seeds)",
        )  # fmt: skip
    ax.plot(
        table.index, table["paper"], marker="s", color="#000000", ls="--",
        label="paper: Qwen2.5-7B, step 1 (Table 1)",
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="top fraction of tokens, by covariance")
    ax.set_ylabel("mean token covariance, Eq. 10 (nats)")
    ax.set_title("Few tokens carry most covariance")
    ax.legend(frameon=False)
    return ax


def tail_table(table: pd.DataFrame) -> Table:
    """Return ``findings.covariance_tail.tail_beside_paper``'s frame as a table for readers."""
    cells = pd.DataFrame({"Qwen2.5-7B (Table 1)": table["paper"].map("{:.3f}".format)})
    if "ours" in table:
        low, high = table["ours, lowest seed"], table["ours, highest seed"]
        cells["ours"] = table["ours"].map("{:.3f}".format)
        cells["ours, range over seeds"] = [
            f"{a:.3f} to {b:.3f}" for a, b in zip(low, high, strict=True)
        ]
        cells["our tokens a seed"] = table["tokens a seed"].map("{:.0f}".format)
    cells.index = [f"top {100 * fraction:g} %" for fraction in table.index]
    bold = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    return Table(
        cells.rename_axis("tokens"), bold, "Mean token covariance (Eq. 10, nats) of the top tokens"
    )


def _paired(left: Axes, right: Axes, step: str) -> None:
    left.set_xlabel(step)
    left.set_ylabel("covariance (nats)", color=ACCURACY_COLOUR)
    right.set_ylabel("fall of entropy a step (nats)", color=ENTROPY_COLOUR)
    _share_zero(left, right)
    left.axhline(0, color="0.4", lw=0.8)
    lines = [line for axis in (left, right) for line in axis.get_lines()]
    lines = [line for line in lines if not line.get_label().startswith("_")]
    left.legend(lines, [line.get_label() for line in lines], frameon=False, loc="upper right")


def _share_zero(left: Axes, right: Axes) -> None:
    """Put both zeros at one height, so that signs can be compared."""
    below = max(-axis.get_ylim()[0] / (axis.get_ylim()[1] or 1.0) for axis in (left, right))
    below = min(max(below, 0.05), 1.0)
    for axis in (left, right):
        top = axis.get_ylim()[1]
        axis.set_ylim(-below * top, top)
