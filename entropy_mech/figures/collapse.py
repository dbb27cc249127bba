"""Figure 1: entropy and accuracy against steps, and performance against entropy."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech import published
from entropy_mech.figures.style import (
    ACCURACY_COLOUR,
    ENTROPY_COLOUR,
    LOWEST_NATS,
    ORDINAL_COLOURS,
    SEED_MARKERS,
    band_over_seeds,
    log_entropy_axis,
    panels,
    seeds_of,
)
from entropy_mech.findings.law_groups import fit_or_note, validated


def collapse_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 1: ours above the paper's, digitised, which stands alone on an empty frame."""
    ours = [partial(entropy_and_accuracy, frame), partial(law, frame)]
    paper = [published_entropy_and_accuracy, published_law]
    return panels([paper] if frame.empty else [ours, paper], width_in=12, row_height_in=4.2)


def entropy_and_accuracy(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw entropy (left axis) and validation accuracy (right axis) against rollout steps.

    ``frame``: step, seed, entropy_nats, validation_accuracy. Line: mean over seeds; band: from
    the lowest to the highest seed.
    """
    right = ax.twinx()
    band_over_seeds(frame, "entropy_nats", ax, colour=ENTROPY_COLOUR, label="entropy")
    band_over_seeds(
        frame, "validation_accuracy", right, colour=ACCURACY_COLOUR, label="validation accuracy"
    )
    _two_axes(ax, right, "rollout step")
    right.set_ylim(0, 1)
    ax.set_title(f"Ours: GRPO, {seeds_of(frame)}")
    return ax


def published_entropy_and_accuracy(ax: Axes) -> Axes:
    """Draw the paper's Fig. 1 left, digitised, with the axes of ``entropy_and_accuracy``."""
    series = dict(iter(published.load("fig01_left").groupby("series")))
    right = ax.twinx()
    entropy, accuracy = series["training_entropy"], series["test_accuracy_pct"]
    ax.plot(entropy["step"], entropy["value"], color=ENTROPY_COLOUR, lw=1.6, label="entropy")
    right.plot(
        accuracy["step"], accuracy["value"] / 100, color=ACCURACY_COLOUR, lw=1.6,
        label="test accuracy",
    )  # fmt: skip
    _two_axes(ax, right, "gradient step")
    right.set_ylim(0.15, 0.45)
    ax.set_title("Paper: Qwen2.5-7B (Fig. 1 left, digitised)")
    return ax


def law(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw performance against entropy with each seed's fit of R = -a exp(H) + b."""
    points = validated(frame)
    for i, (seed, part) in enumerate(points.groupby("seed")):
        colour = ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)]
        entropy, accuracy = part["entropy_nats"], part["validation_accuracy"]
        ax.scatter(
            entropy, accuracy, s=16, color=colour, alpha=0.75,
            marker=SEED_MARKERS[i % len(SEED_MARKERS)], lw=0,
        )  # fmt: skip
        fit = fit_or_note(entropy, accuracy)
        grid = np.geomspace(max(entropy.min(), LOWEST_NATS), max(entropy.max(), LOWEST_NATS), 100)
        label = f"seed {seed}: no fit"
        if not np.isnan(fit["a"]):
            label = (
                f"seed {seed}: a = {fit['a']:.2f}, b = {fit['b']:.2f}, "
                f"ceiling {fit['ceiling']:.2f}, $R^2$ = {fit['r2']:.3f}"
            )
        ax.plot(grid, -fit["a"] * np.exp(grid) + fit["b"], color=colour, lw=1.4, label=label)
    log_entropy_axis(ax)
    ax.set_ylabel("validation accuracy (fraction)")
    ax.set_title("Ours: $R = -a\\,e^{H} + b$")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def published_law(ax: Axes) -> Axes:
    """Draw the paper's Fig. 1 right, digitised: points of five sizes and the curves as drawn."""
    coefficients = published.curve_coefficients()
    for colour, (size, row) in zip(ORDINAL_COLOURS, coefficients.iterrows(), strict=True):
        entropy, accuracy = published.scatter(size)
        ax.scatter(entropy, accuracy, s=9, color=colour, alpha=0.6, lw=0)
        grid = np.geomspace(entropy.min(), entropy.max(), 100)
        curve = -row["a"] * np.exp(grid) + row["b"]
        label = f"{size}: a = {row['a']:.3f}, b = {row['b']:.3f}"
        ax.plot(grid, curve, color=colour, lw=1.2, label=label)
    log_entropy_axis(ax)
    ax.set_ylabel("test accuracy (fraction)")
    ax.set_title("Paper: Qwen2.5 family (Fig. 1 right, digitised)")
    ax.set_ylim(0, 0.62)
    ax.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)
    return ax


def _two_axes(left: Axes, right: Axes, step: str) -> None:
    left.set_xlabel(step)
    left.set_ylabel("policy entropy H (nats)", color=ENTROPY_COLOUR)
    right.set_ylabel("accuracy (fraction)", color=ACCURACY_COLOUR)
    left.set_ylim(bottom=0)
    lines = [*left.get_lines(), *right.get_lines()]
    left.legend(lines, [line.get_label() for line in lines], frameon=False, loc="center right")
