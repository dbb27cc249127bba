"""Figures 3, 4, 6, 13 and 14: the law by model, algorithm and training set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from entropy_mech.errors import UserError
from entropy_mech.law.fit import fit_law
from entropy_mech.paper import published, style
from entropy_mech.paper.claims import (
    MIN_REPLICATES,
    Claim,
    Fact,
    Range,
    at_least,
    at_most,
    mean_interval,
)
from entropy_mech.paper.published import BASE_MODELS, published_fits

# -- The law by group ----------------------------------------------------------------------------

# The groups of Figs. 6 and 13, in the paper's order; the run that both share is section 2's own.
ALGORITHMS = {
    "fig03_qwen2.5_7b": "GRPO",
    "fig06_rloo": "RLOO",
    "fig06_prime": "PRIME",
    "fig06_reinforce_pp": "REINFORCE++",
}
TRAINING_SETS = {
    "fig13_dapo_math": "DAPO-MATH",
    "fig13_gsm8k": "GSM8K",
    "fig03_qwen2.5_7b": "Eurus-RL-Data",
    "fig13_eurus_math_difficult": "Eurus-RL-Data-Difficult",
}
LAST_VALIDATIONS = 3  # the accuracy reached is their mean
_QUANTITIES = ("a", "b", "ceiling", "rmse", "r2")
# The accuracy that enters the law is that of the sampled policy, at temperature 1, whose entropy is
# measured; the paper's validation is mostly greedy, so that both are fitted.
_SAMPLED, _GREEDY = "validation_accuracy", "validation_greedy_accuracy"
Points = tuple[Sequence[float], Sequence[float]]


def by_model(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the columns group (the model's label) and family, in paper order."""
    if frame.empty:
        return frame
    parts = dict(iter(frame.groupby("model")))
    return pd.concat(
        parts[name].assign(group=model.label, family=model.family)
        for name, model in BASE_MODELS.items()
        if name in parts
    )


def by_run(frame: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame's runs that ``labels`` names, with their label as column group, in order."""
    if frame.empty:
        return frame
    return pd.concat(
        frame[frame["run"] == run].assign(group=label) for run, label in labels.items()
    )


def validated(frame: pd.DataFrame, accuracy: str = _SAMPLED) -> pd.DataFrame:
    """Return the steps with a validation: entropy and accuracy of one and the same policy."""
    return frame.dropna(subset=["entropy_nats", accuracy])


def law_fits(
    frame: pd.DataFrame, by: Sequence[str] = ("group",), *, accuracy: str = _SAMPLED
) -> pd.DataFrame:
    """Fit R = -a exp(H) + b (Eq. 6) to every run: a row for each of ``by`` and each seed.

    ``frame`` has seed, step, entropy_nats and the accuracy (a fraction, NaN between validations).
    Columns: a, b, ceiling, rmse, r2; reached (mean of the last validations); entropy_first and
    entropy_last (nats); points; note, which says why where a run could not be fitted (its numbers
    are then NaN) or the law has the wrong sign.
    """
    rows = []
    for key, part in validated(frame, accuracy).groupby([*by, "seed"], sort=False):
        entropy, scores = part["entropy_nats"], part[accuracy]
        row = dict(zip([*by, "seed"], key, strict=True)) | fit_or_note(entropy, scores)
        row["reached"] = scores.tail(LAST_VALIDATIONS).mean()
        row["entropy_first"] = entropy.iloc[0]
        row["entropy_last"] = entropy.tail(LAST_VALIDATIONS).mean()
        rows.append(row | {"points": len(part)})
    return pd.DataFrame(rows)


def fit_or_note(entropy: Sequence[float], scores: Sequence[float]) -> dict[str, Any]:
    """Return the fit's numbers and a note: empty, what is odd, or why there is no fit.

    >>> fit_or_note([0.2, 0.2, 0.2], [0.1, 0.2, 0.3])["note"]
    'no fit: entropy_nats = 0.2 everywhere: give a run in which entropy moves'
    """
    try:
        fit = fit_law(entropy, scores)
    except UserError as error:
        return dict.fromkeys(_QUANTITIES, np.nan) | {"note": f"no fit: {error}"}
    note = "accuracy is constant" if np.isnan(fit.r2) else ""
    if fit.a < 0:
        note = "a is negative: accuracy fell as entropy fell"
    return {name: getattr(fit, name) for name in _QUANTITIES} | {"note": note}


def forecast_errors(first: Points, later: Points, last_seen: float) -> dict[str, Any]:
    """Return what the law, fitted to first points and told later entropies, misses of later scores.

    Points are entropies and scores. Beside it what the last score seen, carried forward, misses:
    rmse, last_error, naive_rmse, naive_last_error (observed less predicted); a, b and note of the
    fit. NaN where there is none.
    """
    fit, (entropy, scores) = fit_or_note(*first), map(np.asarray, later)
    error = scores - fit["b"] + fit["a"] * np.exp(entropy)
    found = {name: fit[name] for name in ("a", "b", "note")}
    for prefix, missed in (("", error), ("naive_", scores - last_seen)):
        found[f"{prefix}rmse"] = float(np.sqrt(np.mean(missed**2)))
        found[f"{prefix}last_error"] = float(missed[-1])
    return found


def law_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each group's law for the reader, a row a group, and notes.

    Numbers are means over seeds with Student's 95 % interval in brackets.
    """
    if frame.empty:
        return pd.DataFrame()
    each, greedy = law_fits(frame).groupby("group", sort=False), {}
    entropy = each[["entropy_first", "entropy_last"]].mean().map("{:.3g}".format)
    if _GREEDY in frame:
        r2 = law_fits(frame, accuracy=_GREEDY).groupby("group", sort=False)["r2"]
        greedy = {"R^2, greedy": r2.agg(mean_interval).map(str)}
    return (
        each[["a", "b", "ceiling", "r2", "rmse"]]
        .agg(mean_interval)
        .map(str)
        .rename(columns={"ceiling": "ceiling b - a", "r2": "R^2", "rmse": "RMSE"})
        .assign(**greedy)
        .assign(**{"accuracy reached": each["reached"].mean().round(3)})
        .assign(**{"entropy (nats)": entropy.agg(" to ".join, axis="columns")})
        .assign(**{"points a run": each["points"].min(), "seeds": each["seed"].nunique()})
        .assign(note=each["note"].agg(lambda notes: "; ".join(sorted(set(notes) - {""}))))
    )


def law_claims(frame: pd.DataFrame, *, of: str, paper_r2: str, paper_ceiling: str) -> list[Claim]:
    """Judge whether the law holds over the groups of a figure.

    A group whose law cannot be fitted counts as R^2 = 0. ``of`` names the groups.
    """
    fits = law_fits(frame)
    r2, seeds, groups = fits["r2"].fillna(0.0), fits["seed"], fits["group"].nunique()
    off = (fits["ceiling"] - fits["reached"]).abs().fillna(inf)
    explained = at_least(0.9, contradicted_below=0.5)
    claims = [
        Claim(
            "R = -a exp(H) + b explains the runs, accuracy at temperature 1: median R^2 of "
            f"{groups} {of} at least 0.9",
            paper_r2,
            mean_interval(r2.groupby(seeds).median()),
            explained,
        ),
        Claim(
            f"R^2 is at least 0.9 in nine of ten {of} (share of {groups})",
            paper_r2,
            mean_interval((r2 >= 0.9).groupby(seeds).mean()),
            explained,
        ),
        Claim(
            f"The ceiling b - a is within 0.05 of the accuracy reached: median distance over {of}",
            paper_ceiling,
            mean_interval(off.groupby(seeds).median().replace(inf, np.nan)),
            at_most(0.05, contradicted_above=0.15),
        ),
    ]
    if _GREEDY in frame:
        greedy = law_fits(frame, accuracy=_GREEDY).fillna({"r2": 0.0}).groupby("seed")["r2"]
        text = f"The same with greedy accuracy: median R^2 of {groups} {of} at least 0.9"
        claims.insert(1, Claim(text, paper_r2, mean_interval(greedy.median()), explained))
    return claims


def unchecked(statement: str) -> list[Fact]:
    """Return the claim of a figure of which the paper gives nothing that could be checked."""
    return [Fact(statement, "curves alone, not digitised; no numbers printed", "no runs", None)]


# -- Base and instruct models (Figs. 3, 4, 14) ---------------------------------------------------

_PREDICTABLE = "predictable from a and b (section 2.4)"
_NOT_PRINTED = "not printed; curves not digitised"
_WORDS = {"paper_r2": _NOT_PRINTED, "paper_ceiling": _PREDICTABLE}


def maths_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 3 on ``by_model`` of its runs; on an empty frame, the digitised Qwen2.5 points."""
    if frame.empty:
        return _published_facts()
    median = published_fits()["r2"].median()
    return law_claims(
        frame,
        of="models",
        paper_r2=f"{median:.2f} (median of five Qwen2.5 sizes, Fig. 1 right, digitised, our fit)",
        paper_ceiling=f"{_distances().median():.3f} (the same points)",
    )


def code_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 4 on ``by_model`` of its runs."""
    if frame.empty:
        return unchecked("R = -a exp(H) + b explains eleven base models on code")
    return law_claims(frame, of="models", **_WORDS)


def instruct_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 14 on ``by_model`` of its runs."""
    if frame.empty:
        return unchecked("R = -a exp(H) + b explains three instruct models")
    return law_claims(frame, of="instruct models", **_WORDS)


def published_table() -> pd.DataFrame:
    """Return our fit of the five digitised sizes beside the coefficients that the authors drew."""
    table = published_fits().assign(distance=_distances())
    return table.rename(columns={"distance": "|ceiling - reached|"}).round(4)


def _distances() -> pd.Series:
    """The distance of each size's ceiling from the mean of its points of lowest entropy."""
    ceilings = published_fits()["ceiling"]
    reached = {s: published.scatter(s)[1].tail(LAST_VALIDATIONS).mean() for s in ceilings.index}
    return (ceilings - pd.Series(reached)).abs()


def _published_facts() -> list[Fact]:
    fits, distances = published_fits(), _distances()
    errors = fits[["a_error", "b_error"]].abs().max(axis="columns")
    return [
        Fact(
            "Least squares on the digitised points gives back a and b as drawn, within 3 %",
            "curves of Fig. 1 right",
            ", ".join(f"{size}: {100 * error:.1f} %" for size, error in errors.items()),
            errors.max() <= 0.03,
        ),
        Fact(
            "R = -a exp(H) + b explains the points: median R^2 of five sizes at least 0.9",
            "no R^2 printed",
            ", ".join(f"{size}: {r2:.3f}" for size, r2 in fits["r2"].items()),
            fits["r2"].median() >= 0.9,
        ),
        Fact(
            "The ceiling b - a is within 0.05 of the accuracy reached, median over five sizes",
            _PREDICTABLE,
            ", ".join(f"{size}: {distance:.3f}" for size, distance in distances.items()),
            distances.median() <= 0.05,
        ),
    ]


# -- One curve for several groups? (Figs. 6, 13) -------------------------------------------------
# Runs are the replicates, not their points: neighbouring validations of one run err together, and
# two seeds of one configuration differ by more than their points' scatter says. Groups are
# compared within seeds, because runs of one seed share problems and random streams.

_PERMUTATIONS = 9999


def shared_law_test(frame: pd.DataFrame, *, seed: int = 1) -> dict[str, Any]:
    """Test whether the groups' (a, b) differ by more than their seeds' do.

    ``frame`` has group, seed, step, entropy_nats, validation_accuracy. Each run gives one pair
    (a, b); the pairs are split into what groups, seeds and the rest explain (a two-way
    multivariate analysis of variance). Wilks' lambda is |rest| / |rest + groups|, and

        F = (1 / sqrt(lambda) - 1) (v - 1) / (groups - 1),  v = (groups - 1) (seeds - 1),

    is F-distributed with 2 (groups - 1) and 2 (v - 1) degrees of freedom if the pairs are normal,
    however a and b hang together; for two groups F = (1 / lambda - 1) (v - 1) / 2 with 2 and v - 1,
    which is Hotelling's paired test. (Sums of squares over all points are no substitute: a and b
    move together from run to run, and such a test rejects a true law three times too often.)
    ``p_permutation`` needs no normality: the groups' labels are permuted within each seed. It
    cannot be below 1 / (groups!)^(seeds - 1).

    Seeds without a fit for every group are left out. Returns groups, seeds, wilks_lambda, f, df1,
    df2, p_f, p_permutation; the last six are NaN where there are too few.
    """
    wide = law_fits(frame).pivot(index="seed", columns="group", values=["a", "b"]).dropna()
    pairs = np.stack([wide[name].to_numpy().T for name in ("a", "b")], axis=-1)
    groups, seeds = pairs.shape[:2]
    rest, root = (groups - 1) * (seeds - 1), min(groups - 1, 2)  # lambda's root that is an F
    df1, df2 = 2 * (groups - 1), root * (rest - 1)
    observed = f = p_f = p_permutation = np.nan
    if rest >= 2:
        within = pairs - pairs.mean(axis=0)
        stream = np.random.default_rng(seed)
        order = stream.random((_PERMUTATIONS, groups, seeds)).argsort(axis=1)
        permuted = np.take_along_axis(within[None], order[..., None], axis=1)
        observed, others = float(_wilks(within[None])[0]), _wilks(permuted)
        f = float((observed ** (-1 / root) - 1) * df2 / df1)
        p_f = float(stats.f.sf(f, df1, df2))
        p_permutation = float((1 + (others <= observed * (1 + 1e-9)).sum()) / (1 + len(others)))
    return {"groups": groups, "seeds": seeds, "wilks_lambda": observed, "f": f, "df1": df1,
            "df2": df2, "p_f": p_f, "p_permutation": p_permutation}  # fmt: skip


def sharing_cost(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, a row a seed, what one curve for all groups costs: rmse_shared, rmse_own, cost.

    Both are over all points of the seed, fractions; own means a curve a group. The cost is NaN for
    a seed in which a group has no fit.
    """
    fits = law_fits(frame)
    squares = (fits["rmse"] ** 2 * fits["points"]).groupby(fits["seed"]).sum(skipna=False)
    own = np.sqrt(squares / fits.groupby("seed")["points"].sum())
    shared = law_fits(frame, ()).set_index("seed")["rmse"]
    table = pd.DataFrame({"rmse_shared": shared, "rmse_own": own, "cost": shared - own})
    return table.reset_index()


def against_reference(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return how far each group's a and b are from the reference group's, seed by seed.

    Columns: group, seed, a, b: value / reference - 1 (NaN where either run has no fit).
    """
    fits = law_fits(frame).set_index(["group", "seed"])[["a", "b"]]
    shifts = fits / fits.loc[reference].reindex(fits.index, level="seed") - 1
    return shifts.drop(reference, level="group").reset_index()


def shared_law_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``shared_law_test`` and the mean cost of sharing as a one-row table."""
    if frame.empty:
        return pd.DataFrame()
    costs = sharing_cost(frame)[["rmse_shared", "rmse_own", "cost"]].mean()
    return pd.DataFrame([shared_law_test(frame) | costs.to_dict()])


def algorithm_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 6: four algorithms trace one curve."""
    if frame.empty:
        return unchecked("GRPO, RLOO, PRIME and REINFORCE++ share a and b")
    claims = [
        _p_value(
            frame,
            "One (a, b) a seed serves all algorithms: not rejected, p at least 0.05",
            shared=True,
        ),
        Claim(
            "A curve for each algorithm fits better by less than 0.01 (RMSE, fraction)",
            _NOT_PRINTED,
            mean_interval(sharing_cost(frame)["cost"]),
            at_most(0.01, contradicted_above=0.03),
        ),
    ]
    reference = frame["group"].iloc[0]  # GRPO, where it was chosen
    for group, part in against_reference(frame, reference).groupby("group", sort=False):
        claims += [_within_a_fifth(group, name, reference, part[name]) for name in ("a", "b")]
    return claims


def training_set_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 13: the law holds on each training set, with a and b of its own."""
    if frame.empty:
        return unchecked("The law holds on four training sets, with a and b of its own on each")
    return [
        *law_claims(frame, of="training sets", **_WORDS),
        _p_value(
            frame,
            "a and b depend on the training set: one curve is rejected, p below 0.05",
            shared=False,
        ),
        Claim(
            "A curve for each training set fits better by at least 0.01 (RMSE, fraction)",
            _NOT_PRINTED,
            mean_interval(sharing_cost(frame)["cost"]),
            at_least(0.01, contradicted_below=0.01),
        ),
    ]


def _p_value(frame: pd.DataFrame, statement: str, *, shared: bool) -> Fact:
    """Return the test as a fact; with too few seeds to judge by, without a verdict."""
    test = shared_law_test(frame)
    p = test["p_f"]
    ours = (
        f"p = {p:.2g} (F({test['df1']}, {test['df2']}) = {test['f']:.2f} of Wilks' lambda; labels "
        f"permuted within seeds: p = {test['p_permutation']:.2g}), {test['groups']} groups, "
        f"{test['seeds']} seeds"
    )
    tested = test["seeds"] >= MIN_REPLICATES and not np.isnan(p)
    return Fact(statement, _NOT_PRINTED, ours, (p >= 0.05) == shared if tested else None)


def _within_a_fifth(group: str, name: str, reference: str, shift: pd.Series) -> Claim:
    return Claim(
        f"{group}'s {name} is within 20 % of {reference}'s (value / {reference}'s - 1)",
        "the same curve (Fig. 6)",
        mean_interval(shift),
        Range(-0.2, 0.2, contradicted_below=-0.2, contradicted_above=0.2),
    )


def _wilks(within: np.ndarray) -> np.ndarray:
    """Return Wilks' lambda of ``(n, groups, seeds, 2)`` pairs, centred in each seed: ``(n,)``."""
    total = np.einsum("ngsi,ngsj->nij", within, within)
    means = within.mean(axis=2)
    between = within.shape[2] * np.einsum("ngi,ngj->nij", means, means)
    return np.maximum(np.linalg.det(total - between), 0.0) / np.linalg.det(total)


# -- Drawing -------------------------------------------------------------------------------------


def not_digitised() -> Figure:
    """Say why there is no picture without runs."""
    text = "The paper's curves of this figure were not digitised."
    return style.panels([[partial(style.note, text)]], width_in=7.5, row_height_in=1.5)


def law_panel(
    frame: pd.DataFrame, ax: Axes, *, title: str = "", label: str = "{group}: $R^2$ = {r2:.2f}"
) -> Axes:
    """Draw accuracy against entropy and the fitted law, one colour a group.

    ``frame``: group, seed, step, entropy_nats, validation_accuracy. Dots: every validation, one
    marker a seed. Line: the mean of the seeds' fitted curves, which is the curve of their mean a
    and b; band: from the lowest to the highest of them. ``label`` names a group and means of its
    fits.
    """
    palette, seeds = colours_of(frame), frame["seed"].unique()
    points = validated(frame)
    points = points.assign(entropy_nats=points["entropy_nats"].clip(lower=style.LOWEST_NATS))
    sns.scatterplot(
        points, x="entropy_nats", y="validation_accuracy", hue="group", palette=palette,
        style="seed", markers=dict(zip(seeds, style.SEED_MARKERS * len(seeds))), s=16, alpha=0.6,  # noqa: B905
        linewidth=0, legend=False, ax=ax,
    )  # fmt: skip
    for group, fits in law_fits(frame).groupby("group", sort=False):
        fits = fits.dropna(subset="a")
        text = label.format(group=group, **fits.mean(numeric_only=True))
        entropy = points.loc[points["group"] == group, "entropy_nats"]
        text = text if len(fits) else f"{group}: no fit"
        law_curve(entropy, fits["a"], fits["b"], ax, color=palette[group], label=text)
    style.log_entropy_axis(ax)
    ax.set(ylabel="validation accuracy (fraction)", title=title)
    ax.legend()
    return ax


def law_curve(
    entropy_nats: Sequence[float],
    a: float | Sequence[float],
    b: float | Sequence[float],
    ax: Axes,
    **line: Any,
) -> Axes:
    """Draw -a exp(H) + b over the range of entropies: the mean of the pairs (a, b) and its band."""
    grid = np.geomspace(np.min(entropy_nats), np.max(entropy_nats), 100)
    curves = np.ravel(b)[:, None] - np.outer(a, np.exp(grid))
    if not len(curves):
        curves = np.full((1, len(grid)), np.nan)  # no fit: a name in the legend
    if len(curves) > 1:
        band = curves.min(axis=0), curves.max(axis=0)
        ax.fill_between(grid, *band, color=line["color"], alpha=0.18, lw=0)
    ax.plot(grid, curves.mean(axis=0), **{"lw": 1.5, **line})
    return ax


def colours_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return a colour for each group, in the order of the frame."""
    groups = list(dict.fromkeys(frame["group"]))
    return dict(zip(groups, style.ORDINAL_COLOURS * len(groups)))  # noqa: B905


def families_figure(frame: pd.DataFrame, *, paper: Callable[[Axes], Axes] | None = None) -> Figure:
    """Draw ``law_panel`` of each family of base models, as in Figs. 3 and 4.

    ``frame`` is ``by_model``'s. ``paper`` draws the paper's panel beside ours, with the same axes;
    it stands alone where the frame is empty.
    """
    if frame.empty:
        return style.panels([[paper]], width_in=7.5, row_height_in=4) if paper else not_digitised()
    draws = [
        partial(law_panel, part, title=f"{style.ours(frame)}: {family}, {style.seeds_of(part)}")
        for family, part in frame.groupby("family", sort=False)
    ]
    draws += [paper] if paper else []
    columns = 3 if len(draws) == 3 else 2
    rows = [draws[i : i + columns] for i in range(0, len(draws), columns)]
    return style.panels(rows, row_height_in=4.2)


def groups_figure(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the law by group with a and b of each: Figs. 6, 13, 14. A note on an empty frame."""
    if frame.empty:
        return not_digitised()
    title = ": ".join(filter(None, (style.ours(frame), title)))
    draws = [
        partial(law_panel, frame, title=f"{title}, {style.seeds_of(frame)}"),
        partial(coefficient_panel, frame, "a"),
        partial(coefficient_panel, frame, "b"),
    ]
    figure = style.panels([draws], row_height_in=4.2)
    figure.axes[2].set_yticklabels([])  # the same groups, in the same order
    # Curves of several groups leave no corner free.
    below = {"bbox_to_anchor": (0.5, -0.16), "ncols": 2, "fontsize": "small", "frameon": False}
    sns.move_legend(figure.axes[0], "upper center", **below)
    return figure


def coefficient_panel(frame: pd.DataFrame, quantity: str, ax: Axes) -> Axes:
    """Draw one coefficient of each group: its mean with 95 % interval, and each seed's own.

    ``quantity``: a or b. Groups from top to bottom in the order of the frame.
    """
    named = {"x": quantity, "y": "group", "hue": "group", "palette": colours_of(frame), "ax": ax}
    fits = law_fits(frame)
    bars = {"errorbar": style.over_seeds, "err_kws": {"lw": 1.4}}
    sns.pointplot(fits, linestyle="none", ms=6, legend=False, **bars, **named)
    sns.stripplot(fits, size=4, linewidth=0.5, jitter=False, legend=False, zorder=3, **named)
    ax.margins(x=0.1)
    over = "95 % interval over seeds" if fits["seed"].nunique() > 1 else "one run each"
    ax.set(xlabel=f"{quantity} (accuracy, fraction); {over}", ylabel="")
    return ax
