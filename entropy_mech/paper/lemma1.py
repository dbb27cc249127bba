"""Lemma 1, its theorems and what lies beyond them: claims and drawing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from entropy_mech.law.fit import extrapolate_largest
from entropy_mech.paper import published, style
from entropy_mech.paper.claims import Claim, Fact, Interval, Range
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
