"""One softmax policy and one step of it: what each action does to the entropy, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from entropy_mech.figures.theory import QUADRANTS
from entropy_mech.theory.dynamics import UPDATES, entropy_change, natural_gradient_step, step_for
from entropy_mech.theory.quadrants import action_contributions
from entropy_mech.theory.softmax import log_softmax, softmax_policy
from entropy_mech.theory.theorems import theorem1, theorem2

_THEOREMS = {"policy_gradient": theorem1, "natural_gradient": theorem2}
_NAMES = {
    "policy_gradient": "policy gradient\n(Theorem 1)",
    "natural_gradient": "natural gradient\n(Theorem 2)",
}
_BEFORE = "0.65"
_COLOURS = {"policy_gradient": "#0072B2", "natural_gradient": "#E69F00"}
_FALLS, _RISES = "#D55E00", "#009E73"


def actions_of_step(
    logits: Sequence[float], advantages: Sequence[float], eta: float
) -> pd.DataFrame:
    """Return one row an action of one step.

    Columns: probability, advantage (less its mean), centred_logp (log pi + H, nats), quadrant (such
    as ``likely, reinforced``; an action at the very mean counts as rare, as suppressed), and for
    each update u: probability_u (after the step) and contribution_u (its share of the first-order
    dH, nats; the shares sum to the theorem).

    >>> frame = actions_of_step([0.0, np.log(3.0)], [0.0, 1.0], eta=0.5)
    >>> frame["probability"].round(9).tolist(), frame["quadrant"].tolist()
    ([0.25, 0.75], ['rare, suppressed', 'likely, reinforced'])
    """
    policy = softmax_policy(logits)
    columns = {
        "probability": policy.probs,
        "advantage": natural_gradient_step(logits, advantages, 1.0),
        "centred_logp": policy.centred_logp,
    }
    kinds = zip(columns["centred_logp"] > 0.0, columns["advantage"] > 0.0, strict=True)
    columns["quadrant"] = [QUADRANTS[bool(likely), bool(up)][0] for likely, up in kinds]
    for update in UPDATES:
        moved = np.asarray(logits, dtype=float) + step_for(update)(logits, advantages, eta)
        columns[f"probability_{update}"] = np.exp(log_softmax(moved))
        columns[f"contribution_{update}"] = action_contributions(
            logits, advantages, eta, update=update
        )
    return pd.DataFrame(columns).rename_axis("action")


def entropy_of_step(
    logits: Sequence[float], advantages: Sequence[float], eta: float
) -> pd.DataFrame:
    """Return dH in nats, a row an update: ``exact``, ``predicted`` (Theorems 1 and 2), ``error``.

    >>> frame = entropy_of_step([0.0, np.log(3.0)], [0.0, 4.0], eta=1.0)
    >>> (frame["predicted"] / np.log(3.0)).round(6).tolist()
    [-0.28125, -0.75]
    """
    rows = {}
    for update, theorem in _THEOREMS.items():
        step = step_for(update)(logits, advantages, eta)
        exact = float(entropy_change(logits, step).exact)
        predicted = float(theorem(logits, advantages, eta))
        rows[update] = {"exact": exact, "predicted": predicted, "error": exact - predicted}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("update")


def policy_figure(logits: Sequence[float], advantages: Sequence[float], eta: float) -> Figure:
    """Draw probabilities before and after, dH exact and predicted, and the actions' quadrants.

    The figure belongs to no pyplot window. Raises ``UserError`` for unequal lengths or values that
    are not finite.
    """
    frame = actions_of_step(logits, advantages, eta)
    figure = Figure(figsize=(11.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    probabilities(frame, left)
    changes(entropy_of_step(logits, advantages, eta), middle)
    quadrants_of_actions(frame, right)
    entropy = float(softmax_policy(logits).entropy_nats)
    left.set_title(rf"$\eta$ = {eta:g}; before, H = {entropy:.4f} nats")
    return figure


def probabilities(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw three bars an action: before, and after each update; ``actions_of_step``'s frame."""
    places = np.arange(len(frame))
    ax.bar(places - 0.27, frame["probability"], 0.26, color=_BEFORE, label="before")
    for offset, update in ((0.0, "policy_gradient"), (0.27, "natural_gradient")):
        name = _NAMES[update].split("\n")[0]
        ax.bar(places + offset, frame[f"probability_{update}"], 0.26, color=_COLOURS[update],
               label=f"after a {name} step")  # fmt: skip
    ax.set_xticks(places, labels=[f"{i}" for i in frame.index])
    ax.set(xlabel="action", ylabel=r"probability $\pi(a)$", ylim=(0, 1.25))
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return ax


def changes(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the exact dH beside the predicted one, by update; ``entropy_of_step``'s frame."""
    places = np.arange(len(frame))
    colours = [_COLOURS[update] for update in frame.index]
    for offset, column, hatch in ((-0.2, "exact", ""), (0.2, "predicted", "///")):
        bars = ax.bar(places + offset, frame[column], 0.36, color=colours, hatch=hatch,
                      edgecolor="white", label=column)  # fmt: skip
        ax.bar_label(bars, [f"{column}\n{v:+.5f}" for v in frame[column]], fontsize="small",
                     padding=3)  # fmt: skip
    ax.axhline(0.0, color="0.3", lw=0.8)
    ax.margins(y=0.28)
    ax.set_xticks(places, labels=[_NAMES[update] for update in frame.index])
    ax.set_ylabel(r"change of entropy $\Delta H$ (nats)")
    ax.set_title(r"exact, and $-\eta\,\mathrm{Cov}$")
    return ax


def quadrants_of_actions(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each action by log-probability and advantage, with its quadrant's effect on entropy."""
    ax.axhline(0.0, color="0.3", lw=0.8)
    ax.axvline(0.0, color="0.3", lw=0.8)
    product = frame["centred_logp"] * frame["advantage"]
    colours = np.select([product > 0, product < 0], [_FALLS, _RISES], "0.6")
    ax.scatter(frame["centred_logp"], frame["advantage"], s=260, c=colours, zorder=3)
    for action, row in frame.iterrows():
        ax.annotate(f"{action}", (row["centred_logp"], row["advantage"]), color="white",
                    ha="center", va="center", zorder=4, weight="bold")  # fmt: skip
    for set_limits, values in ((ax.set_xlim, "centred_logp"), (ax.set_ylim, "advantage")):
        reach = 1.6 * max(frame[values].abs().max(), 0.1)
        set_limits(-reach, reach)
    for what, effect, x, y, ha, va in QUADRANTS.values():
        ax.text(x, y, f"{what}:\n{effect}", ha=ha, va=va, transform=ax.transAxes,
                fontsize="small", color=_FALLS if effect.endswith("falls") else _RISES)  # fmt: skip
    ax.set_xlabel(r"$\log\pi(a) + H$ (nats): rare $\leftarrow 0 \rightarrow$ likely")
    ax.set_ylabel(r"advantage $A(a) - \mathbb{E}_\pi[A]$")
    return ax
