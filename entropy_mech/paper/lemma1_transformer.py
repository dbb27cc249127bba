"""The tabular theory of section 3 on a transformer: claims and drawing."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from entropy_mech.paper.claims import Claim, Fact, over_correlations, over_replicates
from entropy_mech.paper.fig08_tab01 import published_covariance_and_fall, published_shape_fact
from entropy_mech.paper.style import panels

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
            gap = (weight * np.abs(exact - scale * predicted)).sum()
            rows.append(
                {
                    **dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True)),
                    "prediction": name,
                    "correlation": _correlation(predicted, exact, weight),
                    "gap": gap / (weight * np.abs(exact)).sum(),
                    "prefixes": len(part),
                }
            )
    return pd.DataFrame(rows)


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


def batch_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how each prediction's batch mean goes with the exact one over steps: a row a run.

    Pearson's correlation over all checked steps and seeds. Empty where the frame is.
    """
    if frame.empty:
        return pd.DataFrame(columns=["run", *PREDICTIONS]).set_index("run")
    rows = {
        run: {name: part["exact"].corr(part[name]) for name in PREDICTIONS}
        for run, part in batch_means(frame).groupby("run", sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def transformer_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge the theory on a transformer trained on-policy with AdamW, and with plain SGD.

    Where the frame is empty: the nearest that the paper has, Fig. 8's correlation of batch means.
    """
    if frame.empty:
        return [published_shape_fact()]
    means = batch_means(frame)
    claims = [
        _correlation_claim(
            frame, MAIN_RUN, "first_order", 0.9, "Lemma 1 with the logits as they really moved"
        ),
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
            over_replicates(
                f"{RUNS[run]}: Theorem 1 has the sign of the batch's mean dH in at least 80 % of "
                "the checked steps (share)",
                "covariance and dH have one sign (section 3.3)",
                same.groupby(part["seed"]).mean(),
                holds=(0.8, inf),
                contradicted=(-inf, 0.5),
            )
        )
    return claims


def _correlation_claim(frame: pd.DataFrame, run: str, name: str, least: float, text: str) -> Claim:
    table = agreement(frame[frame["run"] == run], ["seed"])
    return over_correlations(
        f"{text}, predicts dH prefix by prefix: correlation at least {least:g}",
        "derived for a table; not measured on a transformer",
        table.loc[table["prediction"] == name, "correlation"],
        holds=(least, inf),
        contradicted=(-inf, 0.0),
    )


def _correlation(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    covariance = np.cov(x, y, aweights=weight, ddof=0)
    scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / scale) if scale > 0 else np.nan


def _best_scale(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """The least-squares scale of ``x`` for ``y``, through the origin."""
    denominator = (weight * x * x).sum()
    return float((weight * x * y).sum() / denominator) if denominator > 0 else 0.0


# -- Drawing -------------------------------------------------------------------------------------

COLOURS = dict(zip(PREDICTIONS, ("#0072B2", "#56B4E9", "#D55E00", "#CC79A7"), strict=True))
_STYLES = dict(zip(RUNS, ("-", "--", ":"), strict=True))


def one_step_figure(frame: pd.DataFrame) -> Figure:
    """Draw the first checked step of the first seed: Lemma 1, and Theorems 1 and 2 as tables.

    ``frame`` is ``Report.lemma1()``'s. Where it is empty: the paper's Fig. 8 left, which has no
    prefixes and is the nearest that it shows.
    """
    if frame.empty:
        return panels([[published_covariance_and_fall]], width_in=7.0, row_height_in=4.2)
    part = frame[frame["run"] == MAIN_RUN]
    part = part[part["seed"] == part["seed"].min()]
    part = part[part["step"] == part["step"].min()]
    names = ("first_order", "theorem1", "theorem2")
    return panels([[partial(predicted_and_exact, part, name) for name in names]], row_height_in=4.4)


def training_figure(frame: pd.DataFrame) -> Figure:
    """Draw correlations over training by run, and the gap by the prefix's entropy."""
    if frame.empty:
        return panels([[_nothing_published]], width_in=7.0, row_height_in=1.0)
    draws = [partial(correlation_over_training, frame), partial(gap_by_entropy, frame)]
    return panels([draws], row_height_in=4.8)


def predicted_and_exact(frame: pd.DataFrame, prediction: str, ax: Axes) -> Axes:
    """Scatter the exact dH of each prefix against a prediction; the area is its visits.

    Tabular predictions are per unit of step size and are drawn with the best single scale.
    """
    exact, predicted = frame["exact"].to_numpy(), frame[prediction].to_numpy()
    weight = frame["visits"].to_numpy()
    tabular = prediction.startswith("theorem")
    scale = (weight * predicted * exact).sum() / (weight * predicted**2).sum() if tabular else 1.0
    ax.scatter(
        scale * predicted, exact, s=2 + 3 * weight**0.5, color=COLOURS[prediction], alpha=0.35, lw=0
    )
    limit = 1.05 * np.abs(exact).max()
    ax.plot([-limit, limit], [-limit, limit], color="0.4", lw=0.8)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    unit = f"$\\eta$ = {scale:.2g}, fitted" if tabular else "no fitted number"
    ax.set_xlabel(f"predicted $\\Delta H$ (nats); {unit}")
    ax.set_ylabel(r"exact $\Delta H$ (nats)")
    ax.set_title(PREDICTIONS[prediction])
    return ax


def correlation_over_training(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each prediction's correlation with the exact change against steps, a style a run."""
    table = agreement(frame, ["run", "seed", "step"])
    means = table.groupby(["run", "prediction", "step"])["correlation"].mean()
    for run, style in _STYLES.items():
        for name in ("first_order", "theorem1", "theorem2"):
            if (run, name) in means.index.droplevel("step"):
                line = means.loc[run, name]
                ax.plot(line.index, line, color=COLOURS[name], ls=style, lw=1.4)
    for name in ("first_order", "theorem1", "theorem2"):
        ax.plot([], [], color=COLOURS[name], label=PREDICTIONS[name])
    for run, style in _STYLES.items():
        ax.plot([], [], color="0.2", ls=style, label=RUNS[run])
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="rollout step", ylabel=r"correlation with exact $\Delta H$", ylim=(-1, 1.05))
    ax.set_title("Over training, mean over seeds")
    ax.legend(frameon=False, fontsize="small", loc="lower left", ncols=2)
    return ax


def gap_by_entropy(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the relative gap of each prediction by the prefix's entropy, under AdamW."""
    table = by_token_entropy(frame[frame["run"] == MAIN_RUN])
    wide = table.pivot(index="entropy_bin", columns="prediction", values="gap")
    wide = wide.loc[sorted(wide.index, key=lambda text: float(text.split()[0]))]
    wide = wide[list(PREDICTIONS)].rename(columns=PREDICTIONS)
    wide.plot.bar(ax=ax, color=list(COLOURS.values()), width=0.8, rot=0)
    ax.axhline(1, color="0.4", lw=0.8)
    ax.set(xlabel="entropy of the prefix before the step (nats)")
    ax.set_ylabel(r"$\sum|\Delta H - \mathrm{predicted}|\ /\ \sum|\Delta H|$")
    ax.set_title("The gap by token entropy (1: no better than predicting 0)")
    ax.tick_params(axis="x", labelsize="small")
    ax.set_ylim(0, 1.4)  # room for the legend above the bars
    ax.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)
    return ax


def _nothing_published(ax: Axes) -> None:
    text = "The paper measured no transformer prefix by prefix: there is nothing of its own to show"
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
