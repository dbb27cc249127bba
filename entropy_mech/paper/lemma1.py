"""Lemma 1, its theorems, what lies beyond them, and both on a transformer: claims, drawing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from entropy_mech.law.fit import extrapolate_largest
from entropy_mech.paper import published, style
from entropy_mech.paper.claims import (
    Claim,
    Fact,
    Interval,
    Range,
    at_least,
    correlation,
    correlation_interval,
    mean_interval,
)
from entropy_mech.paper.fig08_tab01 import published_covariance_and_fall, published_shape_fact
from entropy_mech.paper.published import published_fits, published_forms
from entropy_mech.theory.lemma1 import bound_violations, error_slopes

# -- Claims of Lemma 1 ---------------------------------------------------------------------------

_TOLERANCE = {"first_order": 0.05, "second_order": 0.1}
_PAPER = {
    "first_order": "2: first order (Lemma 1)",
    "second_order": "3: what follows where the second order is exact (not in the paper)",
}
_Z_95 = 1.96


def lemma1_claims(frames: dict[str, pd.DataFrame]) -> list[Claim]:
    """Judge Lemma 1 on ``verify_lemma1`` frames, by the name of the update that they hold.

    The slope of the log error against log eta is 2 for the first order and 3 with the second; the
    replicates are random policies, not seeds.
    """
    claims = []
    for update, frame in frames.items():
        for name, row in error_slopes(frame).iterrows():
            slope, margin, n = row["slope"], _Z_95 * row["standard_error"], int(row["policies"])
            target, off = row["expected"], _TOLERANCE[name]
            claims.append(
                Claim(
                    f"{update}: |exact - {name.replace('_', ' ')}| grows as eta^{target:g} "
                    f"(slope within {off:g})",
                    _PAPER[name],
                    Interval(slope, slope - margin, slope + margin, n),
                    Range(target - off, target + off, contradicted_below=target - 0.5),
                    of="policies",
                )
            )
        broken, policies = float(bound_violations(frame).sum()), frame["policy"].nunique()
        claims.append(
            Claim(
                f"{update}: the a-priori error bounds are exceeded by none of {2 * len(frame):,} "
                "errors",
                "no bound in the paper",
                Interval(broken, broken, broken, policies),
                Range(0.0, 0.0),
                of="policies",
            )
        )
    return claims


# -- Claims beyond the paper ---------------------------------------------------------------------


def law_facts() -> list[Fact]:
    """Return what the digitised points of Fig. 1 right support (Eq. 6, sections 2.4 and 2.5)."""
    errors = published_fits()[["a_error", "b_error"]].abs().max(axis="columns")
    forms, sizes = published_forms(), extrapolate_largest(published.curve_coefficients())
    two = forms["delta_aicc"].unstack("form")[["exponential", "linear", "logarithm"]]
    best, rates = two.idxmin(axis="columns"), forms["c"].unstack("form")["free_rate"]
    small, large = best[["0.5B", "1.5B"]], best[["3B", "7B", "32B"]]
    worst = errors.drop("0.5B").max()
    rows = [
        ("The points give back the drawn a and b within 1 %, 1.5B to 32B",
         f"{100 * worst:.2f} % at most", worst <= 0.01),
        ("And within 3 % at 0.5B", f"{100 * errors['0.5B']:.2f} % at most", errors["0.5B"] <= 0.03),
        ("Exp(H) is the best two-parameter form from 3B up (AICc)",
         ", ".join(f"{s}: {form}" for s, form in large.items()), all(large == "exponential")),
        ("And at 0.5B and 1.5B",
         ", ".join(f"{s}: {form}" for s, form in small.items()), all(small == "exponential")),
        ("The rate in exp(c H) is 1",
         ", ".join(f"{s}: {c:.2f}" for s, c in rates.items()), all((rates - 1.0).abs() < 0.25)),
        ("The four smaller sizes predict 32B within 2 points",
         ", ".join(f"{q} {100 * miss:+.1f}" for q, miss in sizes["miss"].items()),
         all(sizes["miss"].abs() <= 0.02)),
    ]  # fmt: skip
    return [Fact(claim, "not said", measured, holds) for claim, measured, holds in rows]


def visitation_facts(summary: pd.DataFrame) -> list[Fact]:
    """Return whether Lemma 1's own term is the larger one at each family's longest horizon.

    ``summary`` is ``theory.visitation_summary``'s.
    """
    longest = summary.sort_values("horizon").groupby("family", sort=False).tail(1)
    return [
        Fact(
            f"{row.family}, {row.horizon} tokens: Lemma 1's term outweighs the change of "
            "the visited states that it leaves out",
            "the state distribution is held fixed (section 3.1)",
            f"visitation / Lemma 1 = {row.ratio:.2g}; wrong sign in "
            f"{100 * row.wrong_sign_fraction:.0f} % of policies",
            row.ratio < 1.0,
        )
        for row in longest.itertuples()
    ]


# -- Drawing -------------------------------------------------------------------------------------

_ORDERS = {
    "first_order": ("first order (Lemma 1)", 2, "C0", "o"),
    "second_order": ("with the second-order term", 3, "C3", "s"),
}
QUADRANTS = {  # (likely, positive): what it is, what it does
    (True, True): ("likely, reinforced", "entropy falls", 0.98, 0.97, "right", "top"),
    (True, False): ("likely, suppressed", "entropy rises", 0.98, 0.03, "right", "bottom"),
    (False, True): ("rare, reinforced", "entropy rises", 0.02, 0.97, "left", "top"),
    (False, False): ("rare, suppressed", "entropy falls", 0.02, 0.03, "left", "bottom"),
}


def errors_figure(frames: dict[str, pd.DataFrame]) -> Figure:
    """Draw ``error_against_eta`` of each update's ``verify_lemma1`` frame, side by side."""
    draws = [partial(error_against_eta, frame, title=name) for name, frame in frames.items()]
    return style.panels([draws], width_in=6.5 * len(draws), row_height_in=4.8, sharey=True)


def error_against_eta(frame: pd.DataFrame, ax: Axes, *, title: str = "") -> Axes:
    """Draw the error of Lemma 1 and of the second order against eta, log-log.

    ``frame`` is ``verify_lemma1``'s. Line: median over policies; band: the middle 95 %; dotted: the
    median of the a-priori bound; grey: exact powers of eta for the eye.
    """
    for name, (label, power, colour, marker) in _ORDERS.items():
        named = {"x": "eta", "estimator": "median", "color": colour, "ax": ax}
        sns.lineplot(
            frame, y=f"{name}_error", errorbar=("pi", 95), marker=marker, label=f"error, {label}",
            err_kws={"lw": 0, "alpha": 0.15}, **named,
        )  # fmt: skip
        bound = {"errorbar": None, "ls": ":", "label": "its a-priori bound"}
        sns.lineplot(frame, y=f"{name}_bound", **bound, **named)
        _power_of_eta(frame.groupby("eta")[f"{name}_error"].median(), power, ax)
    # Last: on a logarithmic axis seaborn would take the medians of logarithms.
    ax.set(xscale="log", yscale="log", xlabel=r"step size $\eta$")
    ax.set(ylabel=r"$|$exact $\Delta H$ $-$ estimate$|$ (nats)")
    ax.set_title(title)
    ax.margins(x=0.12)
    ax.legend(title="median; band: middle 95 % of policies", title_fontsize="small")
    return ax


def _power_of_eta(medians: pd.Series, power: int, ax: Axes) -> None:
    """Draw an exact power of eta below the medians."""
    etas, middle = medians.index.to_numpy(), len(medians) // 2
    guide = 0.2 * medians.iloc[middle] * (etas / etas[middle]) ** power
    ax.plot(etas, guide, color="0.6", lw=1)
    ax.annotate(rf"$\propto\eta^{power}$", (etas[-1], guide[-1]), (3, -4), color="0.4",
                textcoords="offset points", va="top")  # fmt: skip


def quadrants_figure(frame: pd.DataFrame) -> Figure:
    """Draw ``quadrants`` by itself."""
    return style.panels([[partial(quadrants, frame)]], width_in=7.5, row_height_in=4.8)


def quadrants(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw actions by log-probability and advantage, coloured by what each adds to dH.

    ``frame`` has one row an action: centred_logp (nats), advantage (less its mean) and
    contribution (nats per unit of eta), as ``theory.sample_actions`` gives them.
    """
    values = frame["contribution"].to_numpy()
    size = np.abs(values).max() or 1.0
    norm = SymLogNorm(linthresh=size * 1e-3, vmin=-size, vmax=size)
    points = ax.scatter(
        frame["centred_logp"], frame["advantage"], c=values, s=9, cmap="RdBu", lw=0, norm=norm
    )
    ax.axhline(0.0, color="0.3", lw=0.8)
    ax.axvline(0.0, color="0.3", lw=0.8)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    likely, positive = frame["centred_logp"] > 0.0, frame["advantage"] > 0.0
    for (is_likely, is_positive), (what, effect, x, y, ha, va) in QUADRANTS.items():
        total = (
            values[(likely == is_likely) & (positive == is_positive)].sum()
            / frame.attrs["policies"]
        )
        ax.text(
            x, y, f"{what}: {effect}\n{total:+.3f} nats/$\\eta$ a policy", ha=ha, va=va,
            transform=ax.transAxes, fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 2},
        )  # fmt: skip
    ax.set_xlabel(r"$\log\pi(a) + H$ (nats): rare $\leftarrow 0 \rightarrow$ likely")
    ax.set_ylabel(r"advantage $A(a) - \mathbb{E}_\pi[A]$")
    bar = ax.figure.colorbar(points, ax=ax, label=r"share of $\Delta H/\eta$ (nats)")
    ticks = [-size, -size * 1e-2, 0.0, size * 1e-2, size]
    bar.set_ticks(ticks, labels=[f"{tick:.1g}" for tick in ticks])
    return ax


_MARKED = {"markers": True, "dashes": False}
_FAMILIES = {
    "fork": "fork: the first token decides the rest",
    "token_tree": "token tree, random",
    "mixing": "MDP that forgets its state",
}


def visitation_figure(summary: pd.DataFrame) -> Figure:
    """Draw ``visitation_ratio`` by itself."""
    return style.panels([[partial(visitation_ratio, summary)]], width_in=7, row_height_in=4.5)


def visitation_ratio(summary: pd.DataFrame, ax: Axes) -> Axes:
    """Draw how large the term is that Lemma 1 leaves out; ``summary`` as ``visitation_summary``."""
    shown = summary.assign(family=summary["family"].replace(_FAMILIES))
    sns.lineplot(shown, x="horizon", y="ratio", hue="family", style="family", **_MARKED, ax=ax)
    ax.axhline(1.0, color="0.6", lw=1, ls="--")
    ax.annotate(
        "as large as Lemma 1's term", (summary["horizon"].max(), 1.0), (0, 3), color="0.4",
        fontsize="small", textcoords="offset points", ha="right",
    )  # fmt: skip
    ax.set_ylim(bottom=0.0)
    ax.set(xlabel="horizon (tokens a response)", ylabel="visitation term / policy term (rms)")
    ax.legend()
    return ax


def groups_figure(scales: pd.DataFrame, sampled: pd.DataFrame) -> Figure:
    """Draw ``group_scales`` and ``noise_changes`` side by side."""
    draws = [partial(group_scales, scales), partial(noise_changes, sampled)]
    return style.panels([draws], width_in=12, row_height_in=4.5)


def group_scales(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the factor GRPO puts on Theorem 1's step; ``frame`` as ``scale_by_success``."""
    shown = frame.assign(group="K = " + frame["group_size"].astype(str))
    named = {"x": "success_probability", "y": "scale", "hue": "group", "palette": "crest"}
    sns.lineplot(shown.sort_values("group_size"), **named, ax=ax)
    success = np.sort(frame["success_probability"].unique())
    limit = r"$K\to\infty$: $1/\sqrt{p(1-p)}$"
    ax.plot(success, (success * (1 - success)) ** -0.5, color="k", ls=":", lw=1, label=limit)
    ax.set(xlabel="success probability p of the prompt", ylim=(0, 6))
    ax.set_ylabel(r"scale s: $\mathbb{E}[\Delta z] = s\,\eta\,\pi\,(r-p)$")
    ax.legend(ncols=2, loc="upper center")
    return ax


def noise_changes(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw what sampling adds to Theorem 1; ``frame`` as ``sampled_against_expected``."""
    named = {"x": "group_size", "y": "noise_change", "hue": "estimator", "style": "estimator"}
    sns.lineplot(frame, **named, **_MARKED, ax=ax)
    ax.axhline(0.0, color="0.6", lw=1)
    ax.set_xscale("log", base=2)
    sizes = sorted(frame["group_size"].unique())
    ax.set_xticks(sizes, labels=[str(size) for size in sizes])
    ax.set(xlabel="group size K", ylabel=r"$\mathbb{E}[\Delta H]$ $-$ Theorem 1 (nats)")
    ax.legend()
    return ax


# -- On a transformer: claims --------------------------------------------------------------------

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


# -- On a transformer: drawing -------------------------------------------------------------------

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
