"""The tabular theory of section 3 on a transformer: claims and drawing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from entropy_mech.paper import style
from entropy_mech.paper.claims import (
    Claim,
    Fact,
    at_least,
    correlation,
    correlation_interval,
    mean_interval,
)
from entropy_mech.paper.fig08_tab01 import published_covariance_and_fall, published_shape_fact

# -- Claims --------------------------------------------------------------------------------------

PREDICTIONS = {
    "first_order": "Lemma 1, logits as they moved",
    "second_order": "with the second order",
    "theorem1": "Theorem 1, as a table would move",
    "theorem2": "Theorem 2, as a table would move",
}
RUNS = {
    "fig08_on_policy": "AdamW",
    "lemma1_sgd": "SGD",
    "lemma1_small": "AdamW, a smaller model",
}
MAIN_RUN = "fig08_on_policy"
_ENTROPY_BINS_NATS = (0.0, 1e-3, 1e-2, 0.1, 0.5, np.inf)
_BIN_NAMES = ("0 to 0.001", "0.001 to 0.01", "0.01 to 0.1", "0.1 to 0.5", "0.5 and more")


def agreement(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return how well each prediction gives the exact change, prefix by prefix.

    ``frame`` is ``Report.lemma1()``'s: a row a distinct prefix and step. Prefixes count as often
    as they were visited. A row a group of ``by`` and prediction: ``correlation`` (weighted
    Pearson), ``gap``, the weighted sum of |exact - scale * prediction| over that of |exact|, with
    scale 1 for the two that are in nats and the best single scale for the tabular ones, whose
    step size is unknown; ``prefixes``. Empty where the frame is.
    """
    rows = []
    for key, part in [] if frame.empty else frame.groupby(by, sort=False, observed=True):
        exact, weight = part["exact"].to_numpy(), part["visits"].to_numpy()
        for name in PREDICTIONS:
            predicted = part[name].to_numpy()
            scale = 1.0 if name.endswith("_order") else _best_scale(predicted, exact, weight)
            missed = (weight * np.abs(exact - scale * predicted)).sum()
            gap = missed / (weight * np.abs(exact)).sum()
            row = (*key, name, correlation(predicted, exact, weight), gap, len(part))
            rows.append(row)
    return pd.DataFrame(rows, columns=[*by, "prediction", "correlation", "gap", "prefixes"])


def by_token_entropy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``agreement`` by run and by the entropy of the prefix before the step."""
    bins = pd.cut(
        frame["entropy_nats"], list(_ENTROPY_BINS_NATS), labels=_BIN_NAMES, include_lowest=True
    )
    return agreement(frame.assign(entropy_bin=bins.astype(str)), ["run", "entropy_bin"])


def batch_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return visit-weighted means over the prefixes of a step: run, seed, step, exact, ..."""
    names = ["exact", *PREDICTIONS]
    weighted = frame[names].mul(frame["visits"], axis=0)
    keys = [frame["run"], frame["seed"], frame["step"]]
    totals = weighted.groupby(keys, sort=False).sum()
    return totals.div(frame.groupby(keys, sort=False)["visits"].sum(), axis=0).reset_index()


def transformer_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge the theory on a transformer trained on-policy with AdamW, and with plain SGD.

    Where the frame is empty: the nearest that the paper has, Fig. 8's correlation of batch means.
    """
    if frame.empty:
        return [published_shape_fact()]
    means, moved = batch_means(frame), "Lemma 1 with the logits as they really moved"
    claims = [
        _correlation_claim(frame, MAIN_RUN, "first_order", 0.9, moved),
        _correlation_claim(
            frame, MAIN_RUN, "second_order", 0.9, "The same with the second-order term"
        ),
    ]
    for run in (MAIN_RUN, "lemma1_sgd"):
        for name in ("theorem1", "theorem2"):
            text = f"{RUNS[run]}: {PREDICTIONS[name]}"
            claims.append(_correlation_claim(frame, run, name, 0.5, text))
        part = means[means["run"] == run]
        same = np.sign(part["theorem1"]) == np.sign(part["exact"])
        claims.append(
            Claim(
                f"{RUNS[run]}: Theorem 1 has the sign of the batch's mean dH in at least 80 % of "
                "the checked steps (share)",
                "covariance and dH have one sign (section 3.3)",
                mean_interval(same.groupby(part["seed"]).mean()),
                at_least(0.8, contradicted_below=0.5),
            )
        )
    return claims


def _correlation_claim(frame: pd.DataFrame, run: str, name: str, least: float, text: str) -> Claim:
    table = agreement(frame[frame["run"] == run], ["seed"])
    return Claim(
        f"{text}, predicts dH prefix by prefix: correlation at least {least:g}",
        "derived for a table; not measured on a transformer",
        correlation_interval(table.loc[table["prediction"] == name, "correlation"]),
        at_least(least, contradicted_below=0.0),
    )


def _best_scale(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """The least-squares scale of ``x`` for ``y``, through the origin."""
    denominator = (weight * x * x).sum()
    return float((weight * x * y).sum() / denominator) if denominator > 0 else 0.0


# -- Drawing -------------------------------------------------------------------------------------

COLOURS = dict(zip(PREDICTIONS, ("#0072B2", "#56B4E9", "#D55E00", "#CC79A7"), strict=True))
_NAMES = ("first_order", "theorem1", "theorem2")


def one_step_figure(frame: pd.DataFrame) -> Figure:
    """Draw the first checked step of the first seed: Lemma 1, and Theorems 1 and 2 as tables.

    ``frame`` is ``Report.lemma1()``'s. Where it is empty: the paper's Fig. 8 left, which has no
    prefixes and is the nearest that it shows.
    """
    if frame.empty:
        return style.panels([[published_covariance_and_fall]], width_in=7.0, row_height_in=4.2)
    part = frame[frame["run"] == MAIN_RUN]
    part = part[part["seed"] == part["seed"].min()]
    part = part[part["step"] == part["step"].min()]
    draws = [partial(predicted_and_exact, part, name) for name in _NAMES]
    return style.panels([draws], row_height_in=4.4)


def training_figure(frame: pd.DataFrame) -> Figure:
    """Draw correlations over training by run, and the gap by the prefix's entropy."""
    if frame.empty:
        text = "The paper measured no transformer prefix by prefix: nothing of its own to show"
        return style.panels([[partial(style.note, text)]], width_in=7.0, row_height_in=1.0)
    draws = [partial(correlation_over_training, frame), partial(gap_by_entropy, frame)]
    return style.panels([draws], row_height_in=4.8)


def predicted_and_exact(frame: pd.DataFrame, prediction: str, ax: Axes) -> Axes:
    """Scatter the exact dH of each prefix against a prediction; the area is its visits.

    Tabular predictions are per unit of step size and are drawn with the best single scale.
    """
    tabular, weight = prediction.startswith("theorem"), frame["visits"].to_numpy()
    predicted, exact = frame[prediction].to_numpy(), frame["exact"].to_numpy()
    scale = _best_scale(predicted, exact, weight) if tabular else 1.0
    sns.scatterplot(
        x=scale * predicted, y=exact, size=2 + 3 * weight**0.5, sizes=(8, 60), legend=False,
        color=COLOURS[prediction], alpha=0.4, linewidth=0, ax=ax,
    )  # fmt: skip
    limit = 1.05 * np.abs(exact).max()
    ax.axline((0, 0), slope=1, color="0.4", lw=0.8)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    unit = f"$\\eta$ = {scale:.2g}, fitted" if tabular else "no fitted number"
    ax.set(xlabel=f"predicted $\\Delta H$ (nats); {unit}", ylabel=r"exact $\Delta H$ (nats)")
    ax.set_title(PREDICTIONS[prediction])
    return ax


def correlation_over_training(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each prediction's correlation with the exact change against steps, a style a run."""
    table = agreement(frame, ["run", "seed", "step"])
    table = table[table["prediction"].isin(_NAMES)]
    shown = table.assign(
        prediction=table["prediction"].map(PREDICTIONS), run=table["run"].map(RUNS)
    )
    palette = {PREDICTIONS[name]: COLOURS[name] for name in _NAMES}
    sns.lineplot(
        shown, x="step", y="correlation", hue="prediction", palette=palette, style="run",
        style_order=RUNS.values(), errorbar=None, ax=ax,
    )  # fmt: skip
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="rollout step", ylabel=r"correlation with exact $\Delta H$", ylim=(-1, 1.05))
    ax.set_title("Over training, mean over seeds")
    ax.legend(loc="lower left", ncols=2)
    return ax


def gap_by_entropy(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the relative gap of each prediction by the prefix's entropy, under AdamW.

    Entropy falls to the right, as in all figures.
    """
    table = by_token_entropy(frame[frame["run"] == MAIN_RUN])
    wide = table.pivot(index="prediction", columns="entropy_bin", values="gap")
    bins = [name for name in _BIN_NAMES[::-1] if name in wide]
    wide = wide.loc[list(PREDICTIONS), bins].rename(index=PREDICTIONS)
    sns.heatmap(
        wide, annot=True, fmt=".2f", vmin=0, vmax=1, cmap="rocket_r", linewidths=1, ax=ax,
        cbar_kws={"label": r"$\sum|\Delta H - \mathrm{predicted}|\ /\ \sum|\Delta H|$"},
    )  # fmt: skip
    ax.set(xlabel="entropy of the prefix before the step (nats)", ylabel="")
    ax.set_title("The gap by token entropy (1: no better than predicting 0)")
    return ax
