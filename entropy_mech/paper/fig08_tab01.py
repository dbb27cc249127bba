"""Figure 8 and Table 1: the covariance that drives entropy, its fall and its tail."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published, style
from entropy_mech.paper.claims import (
    Claim,
    Fact,
    Interval,
    at_least,
    correlation_interval,
    mean_interval,
    ratio_interval,
    series_correlation,
)

# -- Claims of Figure 8 --------------------------------------------------------------------------

SHOWN_ACCURACIES = (0.125, 0.5, 0.875)  # Fig. 8 right
_BLOCK_ROLLOUTS = 5  # single rollouts are too noisy to compare
_BY_ACCURACY = re.compile(r"group_covariance_theorem1_accuracy_(\d+)_of_(\d+)")
# What the paper calls the curves of Fig. 8 left, and what ours are called.
_LEFT = {"covariance": "covariance", "neg_grad_entropy": "entropy_fall_nats"}


def blocks(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return means over blocks of five rollouts by ``keys``; ``step`` is the block's middle."""
    block = frame["step"] // _BLOCK_ROLLOUTS
    means = frame.drop(columns="step").groupby([*keys, block])
    middle = (_BLOCK_ROLLOUTS - 1) / 2
    return means.mean().reset_index().assign(step=lambda f: f["step"] * _BLOCK_ROLLOUTS + middle)


def covariance_and_change(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Theorem 1's covariance beside the entropy's fall, in blocks of five rollouts.

    Columns: seed, step, covariance (``group_covariance_theorem1``, Eq. 9), entropy_fall_nats (the
    fall of H at the rollout's own prefixes by the update, a rollout).
    """
    table = frame[["seed", "step"]].assign(
        covariance=frame["group_covariance_theorem1"].fillna(0.0),  # nothing was trained on: 0
        entropy_fall_nats=-frame["entropy_change_nats"],
    )
    return blocks(table, ["seed"])


def covariance_by_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the covariance of groups with k of G right, in blocks of five rollouts.

    Columns: seed, accuracy (k / G), step (the block's middle), covariance.
    """
    columns = [c for c in frame.columns if _BY_ACCURACY.fullmatch(c)]
    long = frame.melt(["seed", "step"], columns, "group", "covariance").dropna()
    parts = long.pop("group").str.extract(_BY_ACCURACY).astype(int)
    return blocks(long.assign(accuracy=parts[0] / parts[1]), ["seed", "accuracy"])


def shape_correlations(frame: pd.DataFrame) -> dict[str, Interval]:
    """Return how covariance and entropy's fall go together in each seed, and in the paper's curves.

    The intervals are within a run, by blocks of it: neighbouring steps are no independent readings.
    """
    table = pd.DataFrame() if frame.empty else covariance_and_change(frame)
    runs = {f"ours, seed {s}": p for s, p in (table.groupby("seed") if len(table) else ())}
    runs["paper (Fig. 8 left, digitised)"] = _published_left().dropna()
    return {
        name: series_correlation(part["covariance"], part["entropy_fall_nats"])
        for name, part in runs.items()
    }


def covariance_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 8 on on-policy runs of several seeds; the paper's own curves if empty."""
    if frame.empty:
        return _published_facts()
    *ours, paper = shape_correlations(frame).values()
    positive = frame["group_covariance_theorem1"].fillna(0.0) > 0
    means = covariance_by_accuracy(frame).groupby(["seed", "accuracy"])["covariance"].mean()
    means = means.unstack().reindex(columns=list(SHOWN_ACCURACIES))  # NaN where no group fared so
    published_means = _published_groups()
    order = [
        (0.875, 0.125, "Easier prompts have the larger covariance"),
        (0.5, 0.125, "... with the half-right groups between"),
        (0.875, 0.5, "... and below the easiest"),
    ]
    return [
        Claim(
            "The covariance of Theorem 1 is positive in at least 90 % of the rollouts (share)",
            f"{_published_positive_share():.2f} (Fig. 8 left, digitised)",
            mean_interval(positive.groupby(frame["seed"]).mean()),
            at_least(0.9, contradicted_below=0.5),
        ),
        Claim(
            "Covariance and the entropy's fall have one shape: correlation over blocks of "
            f"{_BLOCK_ROLLOUTS} rollouts at least 0.8",
            f"{paper.estimate:.2f} (Fig. 8 left, digitised, all steps)",
            correlation_interval([run.estimate for run in ours]),
            at_least(0.8, contradicted_below=0.0),
        ),
        *(
            Claim(
                f"{text}: groups {8 * more:g}/8 right less groups {8 * less:g}/8 right",
                f"{published_means[more] - published_means[less]:+.4f} (Fig. 8 right, digitised, "
                "mean over steps)",
                mean_interval(means[more] - means[less]),
                at_least(0.0, contradicted_below=0.0),
            )
            for more, less, text in order
        ),
    ]


def published_shape_fact() -> Fact:
    """Return whether the paper's two curves of Fig. 8 left go together, as digitised."""
    (shape,) = shape_correlations(pd.DataFrame()).values()
    return Fact(
        "Covariance and the entropy's fall have one shape: correlation at least 0.8",
        "similar dynamics (section 3.3)",
        f"{shape.estimate:.2f} [{shape.low:.2f}, {shape.high:.2f}], 95 % by blocks of the curve, "
        f"{shape.n} readings (Fig. 8 left, digitised)",
        shape.estimate >= 0.8,
    )


def _published_facts() -> list[Fact]:
    """Return what the paper's own curves of Fig. 8 say, as digitised."""
    hard, middle, easy = _published_groups().values()
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
    return float((_published_left().dropna()["covariance"] > 0).mean())


def _published_left() -> pd.DataFrame:
    frame = published.load("fig08_left")
    wide = frame.pivot(index="step", columns="series", values="value")
    return wide.rename(columns=_LEFT).reset_index()


def _published_groups() -> dict[float, float]:
    means = published.load("fig08_right").groupby("series")["value"].mean()
    return {accuracy: float(means[f"acc_{accuracy:g}"]) for accuracy in SHOWN_ACCURACIES}


# -- Claims of Table 1 ---------------------------------------------------------------------------

TOP_FRACTIONS = (0.0002, 0.002, 0.02, 0.2, 0.5, 1.0)


def covariance_tail(tokens: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1: mean covariance of the tokens of highest covariance.

    ``tokens`` has seed and covariance, a row a token. One row a seed and top fraction:
    mean_covariance, tokens (how many those are: at least 1).
    """
    rows = []
    for seed, part in [] if tokens.empty else tokens.groupby("seed"):
        ordered = np.sort(part["covariance"].to_numpy())[::-1]
        for fraction in TOP_FRACTIONS:
            count = max(1, round(fraction * len(ordered)))
            rows.append((seed, fraction, ordered[:count].mean(), count))
    return pd.DataFrame(rows, columns=["seed", "top_fraction", "mean_covariance", "tokens"])


def tail_claims(tail: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Table 1: a few tokens carry covariances far above the mean; the paper's if empty."""
    paper = published.table1().set_index("top_fraction")["mean_covariance"]
    if tail.empty:
        return _published_tail_facts(paper)
    wide = tail.pivot(index="seed", columns="top_fraction", values="mean_covariance")
    return [
        Claim(
            f"The top {fraction:g} of tokens have at least {least:g} times the mean covariance "
            "of all (ratio)",
            f"{paper[fraction] / paper[1.0]:.0f} (Table 1, Qwen2.5-7B)",
            ratio_interval(wide[fraction] / wide[1.0]),
            at_least(least, contradicted_below=1.0),
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


def tail_table(tail: pd.DataFrame) -> style.Table:
    """Return ``covariance_tail``, mean over seeds with its range, beside the paper's Table 1."""
    paper = published.table1().set_index("top_fraction")["mean_covariance"]
    cells = pd.DataFrame({"Qwen2.5-7B (Table 1)": paper.map("{:.3f}".format)})
    if len(tail):
        by = tail.groupby("top_fraction")
        ours = by["mean_covariance"].agg(["mean", "min", "max"]).map("{:.3f}".format)
        cells["ours"] = ours["mean"]
        cells["ours, range over seeds"] = ours["min"] + " to " + ours["max"]
        cells["our tokens a seed"] = by["tokens"].mean().map("{:.0f}".format)
    cells.index = pd.Index([f"top {100 * f:g} %" for f in cells.index], name="tokens")
    bold = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    return style.Table(cells, bold, "Mean token covariance (Eq. 10, nats) of the top tokens")


# -- Drawing -------------------------------------------------------------------------------------

_COVARIANCE = r"Cov($\log\pi$, $\pi A$)"


def covariance_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 8: covariance and entropy's fall, and by difficulty; the paper's row below ours.

    ``frame`` is ``Report.metrics()``; where it is empty the paper's row stands alone.
    """
    rows = [[published_covariance_and_fall, published_by_difficulty]]
    if len(frame):
        table, groups = covariance_and_change(frame), covariance_by_accuracy(frame)
        name = style.ours(frame)
        left = partial(covariance_and_fall, table, title=f"{name}: on-policy GRPO, means of 5")
        rows.insert(0, [left, partial(by_difficulty, groups, title=f"{name}: by group accuracy")])
    return style.panels(rows, width_in=12, row_height_in=4.2)


def covariance_and_fall(
    table: pd.DataFrame, ax: Axes, *, title: str = "", step: str = "rollout step"
) -> Axes:
    """Draw the covariance (left axis) and the entropy's fall a step (right), zeros at one height.

    ``table`` is ``covariance_and_change``'s.
    """
    covariance = ("covariance", _COVARIANCE, "covariance (nats)", style.ACCURACY_COLOUR)
    colour = style.ENTROPY_COLOUR
    fall = ("entropy_fall_nats", r"$-\Delta H$", "fall of entropy a step (nats)", colour)
    right = style.two_curves(table, ax, covariance, fall)
    ax.axhline(0, color="0.4", lw=0.8)
    below = max(-axis.get_ylim()[0] / (axis.get_ylim()[1] or 1.0) for axis in (ax, right))
    for axis in (ax, right):
        top = axis.get_ylim()[1]
        axis.set_ylim(-min(max(below, 0.05), 1.0) * top, top)
    ax.set(xlabel=step, title=title)
    return ax


def published_covariance_and_fall(ax: Axes) -> Axes:
    """Draw the paper's Fig. 8 left, digitised."""
    title = "Paper: Qwen2.5-7B (Fig. 8 left, digitised)"
    return covariance_and_fall(_published_left(), ax, title=title, step="gradient step")


def by_difficulty(
    groups: pd.DataFrame, ax: Axes, *, title: str = "", step: str = "rollout step (means of 5)"
) -> Axes:
    """Draw the covariance of groups by the share of right responses.

    ``groups`` is ``covariance_by_accuracy``'s.
    """
    names = {accuracy: f"accuracy {accuracy:g}" for accuracy in SHOWN_ACCURACIES}
    shown = groups.assign(name=groups["accuracy"].map(names)).dropna(subset="name")
    palette = dict(zip(names.values(), style.ORDINAL_COLOURS, strict=False))
    style.curves_over_seeds(
        shown, y="covariance", hue="name", hue_order=names.values(), palette=palette, ax=ax
    )
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel=step, ylabel=f"{_COVARIANCE} (nats)", title=title)
    ax.legend(loc="upper right")
    return ax


def published_by_difficulty(ax: Axes) -> Axes:
    """Draw the paper's Fig. 8 right, digitised."""
    frame = published.load("fig08_right").rename(columns={"value": "covariance"})
    frame = frame.assign(accuracy=frame["series"].str.removeprefix("acc_").astype(float))
    title = "Paper: Qwen2.5-7B (Fig. 8 right, digitised)"
    return by_difficulty(frame, ax, title=title, step="gradient step")


def tail_figure(tail: pd.DataFrame) -> Figure:
    """Draw Table 1; ``tail`` is ``covariance_tail``'s, and may be empty."""
    return style.panels([[partial(tail_panel, tail)]], width_in=7.5, row_height_in=4.8)


def tail_panel(tail: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the mean covariance of the top tokens, ours beside the paper's; log-log."""
    named = {"x": "top_fraction", "y": "mean_covariance", "ax": ax}
    label = "ours: rollout 0 (band: seeds)"
    if len(tail):
        style.curves_over_seeds(tail, marker="o", color=style.ACCURACY_COLOUR, label=label, **named)
    label = "paper: Qwen2.5-7B, step 1 (Table 1)"
    sns.lineplot(published.table1(), marker="s", color="k", ls="--", label=label, **named)
    ax.set(xscale="log", yscale="log", xlabel="top fraction of tokens, by covariance")
    ax.set(ylabel="mean token covariance, Eq. 10 (nats)")
    ax.set_title("Few tokens carry most covariance")
    ax.legend()
    return ax
