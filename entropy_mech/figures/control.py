"""Figure 11: entropy, response length and accuracy under the four methods."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from entropy_mech import published
from entropy_mech.figures.style import METHOD_COLOURS, band_over_seeds, smoothed
from entropy_mech.findings.control import METHODS

_COLUMNS = {
    "entropy_nats": ("policy entropy H (nats, log scale)", "entropy", 1.0),
    "response_length_mean": ("response length (tokens)", "response_length", 1.0),
    "validation_accuracy": ("accuracy (fraction)", "test_acc_pct", 0.01),
}
_WINDOW = 5


def curves(frame: pd.DataFrame, column: str, ax: Axes) -> Axes:
    """Draw one metric of all methods against rollout steps: mean and range over seeds.

    Entropy and length are running means of five rollouts; accuracy is as measured.
    """
    for run, label in METHODS.items():
        part = frame[frame["run"] == run]
        if column != "validation_accuracy":
            part = smoothed(part, column, _WINDOW)
        if len(part):
            band_over_seeds(part, column, ax, colour=METHOD_COLOURS[run], label=label)
    _dress(ax, column, "rollout step")
    return ax


def published_curves(column: str, ax: Axes) -> Axes:
    """Draw the paper's Fig. 11 for Qwen2.5-7B, digitised."""
    _, metric, scale = _COLUMNS[column]
    frame = published.load("fig11")
    frame = frame[(frame["model"] == "7B") & (frame["metric"] == metric)]
    for (run, label), name in zip(METHODS.items(), _published_names(), strict=True):
        part = frame[frame["method"] == name]
        ax.plot(part["step"], part["value"] * scale, color=METHOD_COLOURS[run], lw=1.3, label=label)
    _dress(ax, column, "gradient step")
    return ax


def four_methods(frame: pd.DataFrame, axes: Sequence[Sequence[Axes]]) -> None:
    """Draw our three panels in the first row of axes and the paper's in the second."""
    for ours, theirs, column in zip(axes[0], axes[1], _COLUMNS, strict=True):
        curves(frame, column, ours)
        published_curves(column, theirs)
    seeds = frame["seed"].nunique()
    axes[0][1].set_title(f"Ours: toy Qwen2, {seeds} seed{'s' if seeds > 1 else ''}")
    axes[1][1].set_title("Paper: Qwen2.5-7B (Fig. 11, digitised)")
    axes[0][0].legend(frameon=False, fontsize="small")


def _published_names() -> list[str]:
    return [name.replace("-", "_") for name in METHODS.values()]


def _dress(ax: Axes, column: str, step: str) -> None:
    ax.set(xlabel=step, ylabel=_COLUMNS[column][0])
    if column == "entropy_nats":
        ax.set_yscale("log")
