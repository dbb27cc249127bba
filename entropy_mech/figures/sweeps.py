"""Figures 9, 10 and 12: entropy and accuracy over training as one setting is swept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.figures.style import (
    ACCURACY_COLOUR,
    ENTROPY_COLOUR,
    METHOD_COLOURS,
    ORDINAL_COLOURS,
    band_over_seeds,
    log_entropy_scale,
    ours,
    panels,
    seeds_of,
    smoothed,
)
from entropy_mech.findings.control import METHODS
from entropy_mech.findings.doses import DOSES, dose_sweep
from entropy_mech.findings.sweeps import SWEPT, printed_coefficients, sweep_endings

SYMBOLS = {"alpha": r"$\alpha$", "beta": r"$\beta$", "r": "$r$"}
_SAID = {
    "entropy_bonus": {
        0.0: "the baseline",
        0.0001: "does little",
        0.001: "does little",
        0.005: "holds the entropy, does not win",
        0.01: "the entropy explodes",
    },
    "reference_kl": {
        0.0: "the baseline",
        0.1: "entropy held, accuracy lost; the more, the larger $\\beta$",
    },
    "clip_cov": {0.0007: "the larger, the more entropy"},
    "kl_cov": {1.0: "the larger, the more entropy; steadier than Clip-Cov"},
}
_AXES = {
    "entropy_nats": "policy entropy H (nats, log scale)",
    "validation_accuracy": "accuracy (fraction)",
}
_WINDOW = 5
_BLACK = "#000000"


def sweep_figure(sweep: pd.DataFrame, setting: str) -> Figure:
    """Draw Fig. 9 or 10: entropy and accuracy against steps, and both ends by coefficient.

    Args:
        sweep: ``findings.sweeps.with_coefficient``'s; where it is empty the paper's printed
            statements are drawn, since its curves are not digitised.
        setting: ``entropy_bonus`` or ``reference_kl``.

    """
    place, symbol = SWEPT[setting]
    if sweep.empty:
        draw = partial(printed_statements, printed_coefficients(place, symbol), symbol, setting)
        return panels([[draw]], width_in=9.0, row_height_in=3.2)
    row = [partial(coefficient_curves, sweep, column, symbol) for column in _AXES]
    return panels([[*row, partial(ends_by_coefficient, sweep, symbol)]], row_height_in=4.2)


def dose_figure(frame: pd.DataFrame, settings: pd.DataFrame) -> Figure:
    """Draw Fig. 12: entropy against steps by Clip-Cov's r and by KL-Cov's beta, and the ends.

    ``frame`` and ``settings`` are ``Report.metrics()`` and ``loss_settings()``; without runs the
    paper's printed statements are drawn.
    """
    if frame.empty:
        draws = [
            partial(printed_statements, printed_coefficients("fig12", symbol), symbol, method)
            for method, (_, symbol, _) in DOSES.items()
        ]
        return panels([draws], row_height_in=3.2)
    sweeps = {method: dose_sweep(frame, settings, method) for method in DOSES}
    grpo = frame[frame["run"].str.endswith("_grpo")]
    curves = [partial(dose_curves, sweep, method, grpo) for method, sweep in sweeps.items()]
    ends = [
        partial(ends_by_coefficient, sweep, DOSES[method][1]) for method, sweep in sweeps.items()
    ]
    return panels([curves, ends], width_in=12, row_height_in=4.2)


def coefficient_curves(
    sweep: pd.DataFrame,
    column: str,
    symbol: str,
    ax: Axes,
    *,
    names: Mapping[float, str] | None = None,
) -> Axes:
    """Draw a metric against steps, a line a coefficient: mean and range over seeds.

    Entropy is a running mean of five rollouts. ``names`` says more of a coefficient.
    """
    for colour, (value, part) in zip(_colours(sweep), sweep.groupby("coefficient"), strict=True):
        label = f"{SYMBOLS[symbol]} = {value:g}{(names or {}).get(value, '')}"
        shown = smoothed(part, column, _WINDOW) if column == "entropy_nats" else part
        band_over_seeds(shown, column, ax, colour=colour, label=label)
    ax.set(xlabel="rollout step", ylabel=_AXES[column])
    if column == "entropy_nats":
        log_entropy_scale(ax)
    ax.set_title(f"{ours(sweep)}: Qwen2.5-7B, {seeds_of(sweep)}")
    ax.legend(frameon=False, fontsize="small")
    return ax


def dose_curves(sweep: pd.DataFrame, method: str, grpo: pd.DataFrame, ax: Axes) -> Axes:
    """Draw a method's entropy against steps by dose, and GRPO's as a dashed line."""
    paper = sweep.groupby("coefficient")["paper_dose"].first()
    names = {value: f" (paper: {dose:g})" for value, dose in paper.items() if value != dose}
    if len(grpo):
        mean = smoothed(grpo, "entropy_nats", _WINDOW).groupby("step")["entropy_nats"].mean()
        ax.plot(mean.index, mean, color=METHOD_COLOURS["grpo"], ls="--", lw=1.4, label="GRPO")
    coefficient_curves(sweep, "entropy_nats", DOSES[method][1], ax, names=names)
    ax.set_title(f"{ours(sweep)}: {METHODS[method]}, Qwen2.5-7B, {seeds_of(sweep)}")
    return ax


def ends_by_coefficient(sweep: pd.DataFrame, symbol: str, ax: Axes) -> Axes:
    """Draw entropy (left axis, log) and accuracy (right) at the end by coefficient, seed by seed.

    Coefficients stand at equal distances; lines join the means over seeds.
    """
    ends = sweep_endings(sweep)
    values = sorted(ends["coefficient"].unique())
    place = ends["coefficient"].map(values.index)
    right = ax.twinx()
    for axis, column, colour, marker in (
        (ax, "entropy_nats", ENTROPY_COLOUR, "o"),
        (right, "accuracy", ACCURACY_COLOUR, "s"),
    ):
        axis.scatter(place, ends[column], s=18, color=colour, marker=marker, alpha=0.6, lw=0)
        axis.plot(ends.groupby(place)[column].mean(), color=colour, lw=1.4)
    log_entropy_scale(ax)
    ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    ax.set_xlabel(SYMBOLS[symbol])
    ax.set_ylabel("entropy at the end (nats, log scale)", color=ENTROPY_COLOUR)
    right.set_ylabel("accuracy at the end (fraction)", color=ACCURACY_COLOUR)
    ax.set_title("The last sixth of training, seed by seed")
    return ax


def printed_statements(values: Sequence[float], symbol: str, of: str, ax: Axes) -> Axes:
    """Write what the paper prints of each coefficient; its curves are not digitised."""
    name = f", {METHODS[of]}" if of in METHODS else ""
    for i, value in enumerate(reversed(values)):
        ax.plot([0], [i], marker="o", color=_BLACK)
        ax.text(0.06, i, f"{SYMBOLS[symbol]} = {value:g}", va="center")
        ax.text(0.3, i, _SAID[of].get(value, ""), va="center")
    ax.set(xlim=(-0.06, 1.2), ylim=(-0.7, len(values) - 0.3))
    ax.set_axis_off()
    ax.set_title(f"Paper{name}: what is printed; the curves are not digitised", fontsize="medium")
    return ax


def _colours(sweep: pd.DataFrame) -> list[str]:
    """Black for 0, the baseline; then the palette in order."""
    values = sorted(sweep["coefficient"].unique())
    rest = list(ORDINAL_COLOURS)
    return [_BLACK if value == 0 else rest.pop(0) for value in values]
