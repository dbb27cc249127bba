"""Figures 9, 10 and 12: one setting swept over otherwise equal runs. Claims and drawing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import nan

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published, style
from entropy_mech.paper.claims import (
    Claim,
    Fact,
    Range,
    at_least,
    at_most,
    mean_interval,
    ratio_interval,
)
from entropy_mech.paper.fig11 import LABELS, TENFOLD, at_papers_dose, endings
from entropy_mech.paper.law_groups import not_digitised

# -- Entropy bonus and reference KL (Figs. 9, 10) ------------------------------------------------
# A sweep is a frame of metrics with the column ``coefficient``. Its reference is the run of the
# smallest coefficient, 0 in both figures.

_MODEL = "Qwen2.5-7B"  # of all figures here
_STRONG = 0.8  # a rank correlation that five coefficients reach with one neighbouring pair swapped
SWEPT = {"entropy_bonus": ("fig09", "alpha"), "reference_kl": ("fig10", "beta")}


def with_coefficient(frame: pd.DataFrame, settings: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the metrics of the runs that have the setting ``column``, as ``coefficient``.

    ``settings`` is ``Report.loss_settings()``'s. Empty where ``frame`` is.
    """
    if frame.empty:
        return pd.DataFrame(columns=["run", "seed", "step", "coefficient"])
    found = frame["run"].map(settings.set_index("run")[column])
    return frame.assign(coefficient=found.astype(float)).dropna(subset="coefficient")


def sweep_endings(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return the last sixth of each run beside that of the reference of the same seed.

    Columns: coefficient, seed, entropy_nats, accuracy, length_tokens, entropy_ratio and
    accuracy_gain (against the reference), growth (entropy at the end over that at the start).
    """
    names = ["coefficient", "seed", "entropy_nats", "accuracy", "length_tokens"]
    if sweep.empty:
        return pd.DataFrame(columns=[*names, "entropy_ratio", "accuracy_gain", "growth"])
    runs = sweep.sort_values("step").groupby(["run", "seed"])
    first = runs[["coefficient", "entropy_nats"]].first()
    first = first.rename(columns={"entropy_nats": "start"})
    ends = endings(sweep).join(first, on=["run", "seed"])
    reference = ends[ends["coefficient"] == ends["coefficient"].min()].set_index("seed")
    table = ends[names].assign(
        entropy_ratio=ends["entropy_nats"] / ends["seed"].map(reference["entropy_nats"]),
        accuracy_gain=ends["accuracy"] - ends["seed"].map(reference["accuracy"]),
        growth=ends["entropy_nats"] / ends["start"],
    )
    return table.sort_values(["coefficient", "seed"], ignore_index=True)


def rank_correlations(sweep: pd.DataFrame, column: str) -> pd.Series:
    """Return Spearman's correlation of coefficient and an ending, by seed.

    ``column`` is one of ``sweep_endings``'. NaN with fewer than three coefficients.
    """
    runs = sweep_endings(sweep).groupby("seed")[["coefficient", column]]
    table = runs.corr("spearman", min_periods=3)[column]
    return table.xs("coefficient", level=1)


def monotone_claim(
    sweep: pd.DataFrame, column: str, statement: str, paper: str, *, sign: int = 1
) -> Claim:
    """Judge whether an ending rises (``sign`` 1) or falls (-1) with the coefficient."""
    if sign > 0:
        bound, judged_by = f"least {_STRONG}", at_least(_STRONG, contradicted_below=0.0)
    else:
        bound, judged_by = f"most -{_STRONG}", at_most(-_STRONG, contradicted_above=0.0)
    interval = mean_interval(rank_correlations(sweep, column))
    return Claim(f"{statement}: rank correlation at {bound}", paper, interval, judged_by)


def bonus_claims(sweep: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 9, an entropy bonus; what is printed, where there are no runs."""
    if sweep.empty:
        return [coefficients_fact(*SWEPT["entropy_bonus"], settings["entropy_bonus"])]
    ends = sweep_endings(sweep)
    least, held, most = (_of(ends, alpha) for alpha in (0.0001, 0.005, 0.01))
    return [
        monotone_claim(
            sweep, "entropy_nats", "The larger alpha, the more entropy at the end", "Fig. 9"
        ),
        Claim(
            "alpha = 0.0001 does little: entropy at the end within a factor of 1.5 of alpha = 0's "
            "(ratio)",
            "little (section 4.1)",
            ratio_interval(least["entropy_ratio"]),
            Range(1 / 1.5, 1.5, contradicted_above=1.5),
        ),
        _held_claim("alpha", 0.005, held),
        Claim(
            "... and does not win: less than 0.01 more accuracy than alpha = 0 (difference)",
            "does not win (section 4.1)",
            mean_interval(held["accuracy_gain"]),
            at_most(0.01, contradicted_above=0.01),
        ),
        Claim(
            "alpha = 0.01 explodes: more entropy at the end than before training (ratio)",
            "explodes (section 4.1)",
            ratio_interval(most["growth"]),
            at_least(1.0, contradicted_below=1.0),
        ),
    ]


def reference_claims(sweep: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 10, a reference KL; what is printed, where there are no runs."""
    if sweep.empty:
        return [coefficients_fact(*SWEPT["reference_kl"], settings["reference_kl"])]
    ends = sweep_endings(sweep)
    strongest = ends["coefficient"].max()
    largest = _of(ends, strongest)
    text = "The larger beta, the {} at the end"
    return [
        monotone_claim(sweep, "entropy_nats", text.format("more entropy"), "section 4.1"),
        monotone_claim(sweep, "accuracy", text.format("less accuracy"), "section 4.1", sign=-1),
        _held_claim("beta", strongest, largest),
        Claim(
            f"beta = {strongest:g} ends with less accuracy than beta = 0 (difference, fraction)",
            "loses accuracy (section 4.1)",
            mean_interval(largest["accuracy_gain"]),
            at_most(0.0, contradicted_above=0.0),
        ),
    ]


def _held_claim(symbol: str, coefficient: float, ends: pd.DataFrame) -> Claim:
    return Claim(
        f"{symbol} = {coefficient:g} holds the entropy: at least twice {symbol} = 0's at the end "
        "(ratio)",
        "holds it (section 4.1)",
        ratio_interval(ends["entropy_ratio"]),
        at_least(2.0, contradicted_below=1.0),
    )


def coefficients_fact(place: str, symbol: str, declared: Sequence[float]) -> Fact:
    """Compare the values that run files declare with those that the paper prints for a figure."""
    table = published.printed()
    printed = (table["place"] == place) & (table["quantity"] == f"{symbol} tried")
    paper = sorted(table.loc[printed, "value"].tolist())
    ours = sorted(set(pd.Series(declared).dropna().astype(float)))
    return Fact(
        f"The paper profile's runs try the {symbol} of the paper's figure (the figure's curves are "
        "not digitised, so nothing else of it can be checked here)",
        ", ".join(f"{value:g}" for value in paper),
        ", ".join(f"{value:g}" for value in ours),
        ours == paper,
    )


def _of(ends: pd.DataFrame, coefficient: float) -> pd.DataFrame:
    """The rows of a coefficient; where it was not run, one of NaN, which gives no verdict."""
    found = ends[ends["coefficient"] == coefficient]
    return found if len(found) else pd.DataFrame({name: [nan] for name in ends})


# -- Clip-Cov's share and KL-Cov's coefficient (Fig. 12) -----------------------------------------

# The setting that is swept, and what the paper calls it.
DOSES = {"clip_cov": ("clip_fraction", "r"), "kl_cov": ("penalty_coefficient", "beta")}
# The paper's doses, then ten times as many tokens: runs of the toy alone.
DOSE_SETS = (*DOSES, *TENFOLD)


def dose_sweep(frame: pd.DataFrame, settings: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the metrics of a set of doses, with the setting that is swept as ``coefficient``.

    ``settings`` is ``Report.loss_settings()``'s; ``method`` one of ``DOSE_SETS``. A beta of 0
    penalises no token, so that its run belongs to both of KL-Cov's sets.
    """
    plain = at_papers_dose(method)
    sweep = with_coefficient(frame, settings, DOSES[plain][0])
    tenfold = sweep["run"].str.endswith("_x10") == (method != plain)
    return sweep[tenfold | (sweep["coefficient"] == 0)] if tenfold.any() else sweep[tenfold]


def fluctuations(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return how unsteady the entropy is in the second half of training, a row a run and seed.

    ``fluctuation``: the standard deviation of ln H about its own straight line over steps. It
    includes the noise of measuring H on one rollout. Columns: coefficient, seed, fluctuation.
    """
    late = sweep[sweep["step"] >= sweep["step"].max() / 2] if len(sweep) else sweep
    rows = [(*key, _about_a_line(part)) for key, part in late.groupby(["coefficient", "seed"])]
    return pd.DataFrame(rows, columns=["coefficient", "seed", "fluctuation"])


def dose_endings(frame: pd.DataFrame, settings: pd.DataFrame) -> pd.DataFrame:
    """Return ``sweep_endings`` of both methods with what Fig. 12 is about, a row a run and seed.

    More columns: method, fluctuation, and touched_fraction (of the trained tokens, mean over
    training: Clip-Cov's band can hold fewer than r asks for, and then a larger r changes nothing).
    """
    tables, keys = [], ["coefficient", "seed"]
    for method in DOSE_SETS:
        sweep = dose_sweep(frame, settings, method)
        if len(sweep):
            touched = sweep.groupby(keys)["selected_fraction"].mean().rename("touched_fraction")
            table = sweep_endings(sweep).merge(fluctuations(sweep), on=keys)
            tables.append(table.join(touched, on=keys).assign(method=LABELS[method]))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def dose_claims(frame: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 12; what is printed, where there are no runs."""
    if frame.empty:
        return [coefficients_fact("fig12", name, settings[key]) for key, name in DOSES.values()]
    sweeps = {method: dose_sweep(frame, settings, method) for method in DOSE_SETS}
    sweeps = {method: sweep for method, sweep in sweeps.items() if len(sweep)}
    pairs = [("clip_cov", "kl_cov", ""), ("clip_cov_x10", "kl_cov_x10", ", 10 x")]
    pairs = [pair for pair in pairs if {*pair[:2]} <= {*sweeps}]
    return [
        *(_treatment_claim(sweeps[clip_cov], LABELS[clip_cov]) for clip_cov, *_ in pairs),
        *(claim for method in sweeps for claim in _more_claims(sweeps[method], method)),
        *(_steadiness_claim(sweeps[one], sweeps[two], name) for one, two, name in pairs),
    ]


def _more_claims(sweep: pd.DataFrame, method: str) -> list[Claim]:
    ends, (_, name) = sweep_endings(sweep), DOSES[at_papers_dose(method)]
    text = f"{LABELS[method]}: the larger {name}, the more entropy at the end"
    return [
        monotone_claim(sweep, "entropy_nats", text, "Fig. 12"),
        Claim(
            f"{LABELS[method]}: the largest dose ends with more entropy than the smallest (ratio)",
            "more (Fig. 12)",
            ratio_interval(_of(ends, ends["coefficient"].max())["entropy_ratio"]),
            at_least(1.0, contradicted_below=1.0),
        ),
    ]


def _treatment_claim(sweep: pd.DataFrame, label: str) -> Claim:
    """Whether a larger r is a larger dose at all: its band may be empty before r is used up."""
    touched = sweep.groupby(["seed", "coefficient"])["selected_fraction"].mean().unstack()
    return Claim(
        f"{label}: the largest r touches at least 1.1 times the tokens that the smallest does, so "
        "that there is a dose to compare (ratio, over training)",
        "not printed; r itself grows by 3.5",
        ratio_interval(touched[touched.columns.max()] / touched[touched.columns.min()]),
        at_least(1.1),
    )


def _steadiness_claim(clip_cov: pd.DataFrame, kl_cov: pd.DataFrame, name: str) -> Claim:
    """Compare the methods where they act: over the doses above 0, seed by seed."""
    one, two = (
        fluctuations(sweep).query("coefficient > 0").groupby("seed")["fluctuation"].mean()
        for sweep in (clip_cov, kl_cov)
    )
    return Claim(
        f"KL-Cov is the steadier{name}: the fluctuation of ln H under Clip-Cov over that under "
        "KL-Cov, second half of training, mean over doses (ratio)",
        "KL-Cov more stable (section 4.5)",
        ratio_interval(one / two),
        at_least(1.0, contradicted_below=1.0),
    )


def _about_a_line(part: pd.DataFrame) -> float:
    if len(part) < 4:
        return nan
    log_entropy = np.log(part["entropy_nats"].to_numpy(float))
    _, (squares,), *_ = np.polyfit(part["step"].to_numpy(float), log_entropy, 1, full=True)
    return float(np.sqrt(squares / (len(part) - 2)))


# -- Drawing -------------------------------------------------------------------------------------

SYMBOLS = {"alpha": r"$\alpha$", "beta": r"$\beta$", "r": "$r$"}
_AXES = {
    "entropy_nats": "policy entropy H (nats, log scale)",
    "validation_accuracy": "accuracy (fraction)",
}


def sweep_figure(sweep: pd.DataFrame, setting: str) -> Figure:
    """Draw Fig. 9 or 10: entropy and accuracy against steps, and both ends by coefficient.

    Args:
        sweep: ``with_coefficient``'s; where it is empty a note says that there is nothing to draw.
        setting: ``entropy_bonus`` or ``reference_kl``.

    """
    if sweep.empty:
        return not_digitised()
    symbol = SWEPT[setting][1]
    title = f"{style.ours(sweep, _MODEL)}, {style.seeds_of(sweep)}"
    row = [partial(coefficient_curves, sweep, name, symbol, title=title) for name in _AXES]
    return style.panels([[*row, partial(ends_by_coefficient, sweep, symbol)]], row_height_in=4.2)


def dose_figure(frame: pd.DataFrame, settings: pd.DataFrame) -> Figure:
    """Draw Fig. 12: entropy against steps by Clip-Cov's r and by KL-Cov's beta, and the ends.

    ``frame`` and ``settings`` are ``Report.metrics()`` and ``loss_settings()``; without runs a
    note is drawn. GRPO is a dashed line.
    """
    if frame.empty:
        return not_digitised()
    grpo, rows = frame[frame["run"].str.endswith("_grpo")], []
    for methods in (tuple(DOSES), tuple(TENFOLD)):
        sweeps = {method: dose_sweep(frame, settings, method) for method in methods}
        curves, ends = [], []
        for method, sweep in sweeps.items():
            if len(sweep):
                symbol = DOSES[at_papers_dose(method)][1]
                title = f"{style.ours(frame, _MODEL)}, {LABELS[method]}, {style.seeds_of(sweep)}"
                named = {"column": "entropy_nats", "symbol": symbol, "title": title}
                curves.append(partial(coefficient_curves, sweep, **named, grpo=grpo))
                ends.append(partial(ends_by_coefficient, sweep, symbol))
        rows += [curves, ends] if curves else []
    if not rows:
        return style.panels([[partial(style.note, "no run with a dose yet")]], row_height_in=1.5)
    return style.panels(rows, width_in=12, row_height_in=4.2)


def coefficient_curves(
    sweep: pd.DataFrame,
    column: str,
    symbol: str,
    ax: Axes,
    *,
    title: str = "",
    grpo: pd.DataFrame | None = None,
) -> Axes:
    """Draw a metric against rollout steps, a colour a coefficient; entropy is smoothed."""
    window, named = style.SMOOTHED_OVER if column == "entropy_nats" else 1, {"y": column, "ax": ax}
    names = {v: f"{SYMBOLS[symbol]} = {v:g}" for v in sorted(sweep["coefficient"].unique())}
    if grpo is not None and len(grpo):
        black = {"color": "k", "ls": "--", "errorbar": None, "label": "GRPO"}
        style.curves_over_seeds(style.smoothed(grpo, column, window), **named, **black)
    shown = style.smoothed(sweep, column, window)
    shown = shown.assign(name=shown["coefficient"].map(names))
    palette = {"hue_order": list(names.values()), "palette": _palette(names)}
    style.curves_over_seeds(shown, hue="name", **palette, **named)
    ax.set(xlabel="rollout step", ylabel=_AXES[column], title=title)
    if column == "entropy_nats":
        style.log_entropy_scale(ax)
    ax.legend()
    return ax


def ends_by_coefficient(sweep: pd.DataFrame, symbol: str, ax: Axes) -> Axes:
    """Draw entropy (left axis, log) and accuracy (right) at the end by coefficient.

    Coefficients stand at equal distances: means over seeds with 95 % intervals, and each seed.
    """
    ends, right = sweep_endings(sweep), ax.twinx()
    place = ends["coefficient"].rank(method="dense") - 1
    for axis, column, name, colour, aside in (
        (ax, "entropy_nats", "entropy at the end (nats, log scale)", style.ENTROPY_COLOUR, -0.08),
        (right, "accuracy", "accuracy at the end (fraction)", style.ACCURACY_COLOUR, 0.08),
    ):
        # A little aside of each other, so that neither interval hides the other one.
        named = {"x": place + aside, "y": ends[column], "color": colour, "ax": axis}
        named["native_scale"] = True
        sns.stripplot(jitter=False, alpha=0.5, size=4, **named)
        sns.pointplot(errorbar=style.over_seeds, lw=1.4, **named)
        axis.set_ylabel(name, color=colour)
    values = sorted(ends["coefficient"].unique())
    ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    style.log_entropy_scale(ax)
    right.grid(False)
    ax.set(xlabel=SYMBOLS[symbol], title="The last sixth of training, 95 % over seeds")
    return ax


def _palette(names: dict[float, str]) -> dict[str, str]:
    """Black for 0, the baseline; then the palette in order."""
    rest = iter(style.ORDINAL_COLOURS)
    return {name: next(rest) if value else "#000000" for value, name in names.items()}
