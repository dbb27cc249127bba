"""Figures 9, 10 and 12: one setting swept over otherwise equal runs. Claims and drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_ratios, over_replicates
from entropy_mech.paper.fig11 import METHODS, endings
from entropy_mech.paper.style import (
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

# -- Entropy bonus and reference KL (Figs. 9, 10) ------------------------------------------------
# A sweep is a frame of metrics with the column ``coefficient``. Its reference is the run of the
# smallest coefficient, 0 in both figures.

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
    ends = endings(sweep)
    ends["coefficient"] = ends["run"].map(sweep.groupby("run")["coefficient"].first())
    start = sweep.sort_values("step").groupby(["run", "seed"])["entropy_nats"].first()
    start = start.reindex(pd.MultiIndex.from_frame(ends[["run", "seed"]])).to_numpy()
    reference = ends[ends["coefficient"] == ends["coefficient"].min()].set_index("seed")
    table = ends[names].assign(
        entropy_ratio=ends["entropy_nats"] / ends["seed"].map(reference["entropy_nats"]),
        accuracy_gain=ends["accuracy"] - ends["seed"].map(reference["accuracy"]),
        growth=ends["entropy_nats"] / start,
    )
    return table.sort_values(["coefficient", "seed"], ignore_index=True)


def sweep_table(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return a row a coefficient: means over seeds, and 95 % intervals of what is compared.

    Columns: coefficient, seeds, entropy_nats, entropy_ratio (geometric mean) with its _low and
    _high, accuracy, accuracy_gain with its _low and _high, growth.
    """
    rows = []
    for coefficient, part in sweep_endings(sweep).groupby("coefficient"):
        ratio = over_ratios("", "", part["entropy_ratio"], holds=(0, 1))
        gain = over_replicates("", "", part["accuracy_gain"], holds=(0, 1))
        rows.append(
            {
                "coefficient": coefficient,
                "seeds": len(part),
                "entropy_nats": part["entropy_nats"].mean(),
                "entropy_ratio": ratio.estimate,
                "entropy_ratio_low": ratio.low,
                "entropy_ratio_high": ratio.high,
                "accuracy": part["accuracy"].mean(),
                "accuracy_gain": gain.estimate,
                "accuracy_gain_low": gain.low,
                "accuracy_gain_high": gain.high,
                "growth": part["growth"].mean(),
            }
        )
    return pd.DataFrame(rows)


def rank_correlations(sweep: pd.DataFrame, column: str) -> pd.Series:
    """Return Spearman's correlation of coefficient and an ending, by seed.

    ``column`` is one of ``sweep_endings``'. NaN with fewer than three coefficients.
    """
    found = {
        seed: stats.spearmanr(part["coefficient"], part[column]).statistic
        if len(part) > 2 and part[column].nunique() > 1
        else float("nan")
        for seed, part in sweep_endings(sweep).groupby("seed")
    }
    return pd.Series(found, dtype=float)


def monotone_claim(
    sweep: pd.DataFrame, column: str, statement: str, paper: str, *, sign: int = 1
) -> Claim:
    """Judge whether an ending rises (``sign`` 1) or falls (-1) with the coefficient."""
    strong, opposite = (_STRONG, inf), (-inf, 0.0)
    if sign < 0:
        strong, opposite = (-inf, -_STRONG), (0.0, inf)
    bound = f"at {'least' if sign > 0 else 'most'} {sign * _STRONG:g}"
    return over_replicates(
        f"{statement}: rank correlation {bound}",
        paper,
        rank_correlations(sweep, column),
        holds=strong,
        contradicted=opposite,
    )


def bonus_claims(sweep: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 9, an entropy bonus; what is printed, where there are no runs."""
    if sweep.empty:
        return printed_facts("entropy_bonus", settings)
    ends = sweep_endings(sweep).set_index("coefficient")
    least, held, most = (_of(ends, alpha) for alpha in (0.0001, 0.005, 0.01))
    return [
        monotone_claim(
            sweep, "entropy_nats", "The larger alpha, the more entropy at the end", "Fig. 9"
        ),
        over_ratios(
            "alpha = 0.0001 does little: entropy at the end within a factor of 1.5 of alpha = 0's "
            "(ratio)",
            "little (section 4.1)",
            least["entropy_ratio"],
            holds=(1 / 1.5, 1.5),
            contradicted=(1.5, inf),
        ),
        _held_claim("alpha", 0.005, held),
        over_replicates(
            "... and does not win: less than 0.01 more accuracy than alpha = 0 (difference)",
            "does not win (section 4.1)",
            held["accuracy_gain"],
            holds=(-inf, 0.01),
            contradicted=(0.01, inf),
        ),
        over_ratios(
            "alpha = 0.01 explodes: more entropy at the end than before training (ratio)",
            "explodes (section 4.1)",
            most["growth"],
            holds=(1.0, inf),
            contradicted=(-inf, 1.0),
        ),
    ]


def reference_claims(sweep: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 10, a reference KL; what is printed, where there are no runs."""
    if sweep.empty:
        return printed_facts("reference_kl", settings)
    ends = sweep_endings(sweep).set_index("coefficient")
    strongest = ends.index.max()
    largest = _of(ends, strongest)
    return [
        monotone_claim(
            sweep, "entropy_nats", "The larger beta, the more entropy at the end", "section 4.1"
        ),
        monotone_claim(
            sweep,
            "accuracy",
            "The larger beta, the less accuracy at the end",
            "section 4.1",
            sign=-1,
        ),
        _held_claim("beta", strongest, largest),
        over_replicates(
            f"beta = {strongest:g} ends with less accuracy than beta = 0 (difference, fraction)",
            "loses accuracy (section 4.1)",
            largest["accuracy_gain"],
            holds=(-inf, 0.0),
            contradicted=(0.0, inf),
        ),
    ]


def _held_claim(symbol: str, coefficient: float, ends: pd.DataFrame) -> Claim:
    return over_ratios(
        f"{symbol} = {coefficient:g} holds the entropy: at least twice {symbol} = 0's at the end "
        "(ratio)",
        "holds it (section 4.1)",
        ends["entropy_ratio"],
        holds=(2.0, inf),
        contradicted=(-inf, 1.0),
    )


def printed_facts(column: str, settings: pd.DataFrame) -> list[Fact]:
    """Return what can be said without runs: our files for GPUs try the paper's coefficients."""
    place, symbol = SWEPT[column]
    return [coefficients_fact(place, symbol, settings[column])]


def coefficients_fact(place: str, symbol: str, declared: Sequence[float]) -> Fact:
    """Compare the values that run files declare with those that the paper prints for a figure."""
    paper = printed_coefficients(place, symbol)
    ours = sorted(set(pd.Series(declared).dropna().astype(float)))
    return Fact(
        f"The paper profile's runs try the {symbol} of the paper's figure (the figure's curves are "
        "not digitised, so nothing else of it can be checked here)",
        ", ".join(f"{value:g}" for value in paper),
        ", ".join(f"{value:g}" for value in ours),
        ours == paper,
    )


def printed_coefficients(place: str, symbol: str) -> list[float]:
    """Return the values of a coefficient that the paper prints for a figure, in order."""
    table = published.printed()
    chosen = (table["place"] == place) & (table["quantity"] == f"{symbol} tried")
    return sorted(table.loc[chosen, "value"].tolist())


def _of(ends: pd.DataFrame, coefficient: float) -> pd.DataFrame:
    """The rows of a coefficient; where it was not run, one of NaN, which gives no verdict."""
    found = ends.loc[ends.index == coefficient]
    return found if len(found) else pd.DataFrame({name: [float("nan")] for name in ends})


# -- Clip-Cov's share and KL-Cov's coefficient (Fig. 12) -----------------------------------------

# The setting that is swept, what the paper calls it, and its value in section 4.3.
DOSES = {
    "clip_cov": ("clip_fraction", "r", 2e-4),
    "kl_cov": ("penalty_coefficient", "beta", 1.0),
}
_PAPER_DOSE = r"^fig12_\w+?_([\d.e-]+)$"


def dose_sweep(frame: pd.DataFrame, settings: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the metrics of a method's runs with ``coefficient``, ours, and ``paper_dose``.

    ``settings`` is ``Report.loss_settings()``'s. A toy rollout has so few tokens that Clip-Cov's
    fractions are larger here; ``paper_dose`` is the paper's fraction that a run stands for.
    """
    column, _, standard = DOSES[method]
    sweep = with_coefficient(frame, settings, column)
    if sweep.empty:
        return sweep.assign(paper_dose=[])
    paper = sweep["run"].str.extract(_PAPER_DOSE)[0].astype(float).fillna(standard)
    return sweep.assign(paper_dose=paper)


def fluctuations(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return how unsteady the entropy is in the second half of training, a row a run and seed.

    ``fluctuation``: the standard deviation of ln H about its own straight line over steps. It
    includes the noise of measuring H on one rollout. Columns: coefficient, seed, fluctuation.
    """
    late = sweep[sweep["step"] >= sweep["step"].max() / 2] if len(sweep) else sweep
    rows = [
        {"coefficient": coefficient, "seed": seed, "fluctuation": _about_a_line(part)}
        for (coefficient, seed), part in late.groupby(["coefficient", "seed"])
    ]
    return pd.DataFrame(rows, columns=["coefficient", "seed", "fluctuation"])


def dose_table(frame: pd.DataFrame, settings: pd.DataFrame) -> pd.DataFrame:
    """Return a row a method and dose: the end, its spread over seeds, the fluctuation.

    Columns: method, coefficient, paper_dose, seeds, touched_fraction (of the trained tokens, mean
    over training: Clip-Cov's band can hold fewer than r asks for, and then a larger r changes
    nothing), entropy_nats (mean), spread_over_seeds (standard deviation of ln H at the end),
    fluctuation (mean), accuracy (mean).
    """
    tables = []
    for method, label in METHODS.items():
        if method not in DOSES or (sweep := dose_sweep(frame, settings, method)).empty:
            continue
        by_dose = sweep_endings(sweep).groupby("coefficient")
        tables.append(
            pd.DataFrame(
                {
                    "method": label,
                    "paper_dose": sweep.groupby("coefficient")["paper_dose"].first(),
                    "seeds": by_dose["seed"].nunique(),
                    "touched_fraction": sweep.groupby("coefficient")["selected_fraction"].mean(),
                    "entropy_nats": by_dose["entropy_nats"].mean(),
                    "spread_over_seeds": by_dose["entropy_nats"].agg(lambda h: np.log(h).std()),
                    "fluctuation": fluctuations(sweep).groupby("coefficient")["fluctuation"].mean(),
                    "accuracy": by_dose["accuracy"].mean(),
                }
            ).reset_index()
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def dose_claims(frame: pd.DataFrame, settings: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 12; what is printed, where there are no runs."""
    if frame.empty:
        return [
            coefficients_fact("fig12", symbol, settings[column])
            for column, symbol, _ in DOSES.values()
        ]
    claims: list[Claim | Fact] = []
    sweeps = {method: dose_sweep(frame, settings, method) for method in DOSES}
    for method, sweep in sweeps.items():
        name = f"{METHODS[method]}: the larger {DOSES[method][1]}"
        ends = sweep_endings(sweep)
        largest = ends[ends["coefficient"] == ends["coefficient"].max()]
        claims += [
            monotone_claim(
                sweep, "entropy_nats", f"{name}, the more entropy at the end", "Fig. 12"
            ),
            over_ratios(
                f"{METHODS[method]}: the largest dose ends with more entropy than the smallest "
                "(ratio)",
                "more (Fig. 12)",
                largest["entropy_ratio"],
                holds=(1.0, inf),
                contradicted=(-inf, 1.0),
            ),
        ]
    return [_treatment_claim(sweeps["clip_cov"]), *claims, _steadiness_claim(sweeps)]


def _treatment_claim(sweep: pd.DataFrame) -> Claim:
    """Whether a larger r is a larger dose at all: its band may be empty before r is used up."""
    touched = sweep.groupby(["seed", "coefficient"])["selected_fraction"].mean().unstack()
    return over_ratios(
        "Clip-Cov: the largest r touches at least 1.1 times the tokens that the smallest does, so "
        "that there is a dose to compare (ratio, over training)",
        "not printed; r itself grows by 3.5",
        touched[touched.columns.max()] / touched[touched.columns.min()],
        holds=(1.1, inf),
    )


def _steadiness_claim(sweeps: dict[str, pd.DataFrame]) -> Claim:
    """Compare the methods where they act: over the doses above 0, seed by seed."""
    means = {
        method: table[table["coefficient"] > 0].groupby("seed")["fluctuation"].mean()
        for method, table in ((m, fluctuations(sweep)) for m, sweep in sweeps.items())
    }
    return over_ratios(
        "KL-Cov is the steadier: the fluctuation of ln H under Clip-Cov over that under KL-Cov, "
        "second half of training, mean over doses (ratio)",
        "KL-Cov more stable (section 4.5)",
        means["clip_cov"] / means["kl_cov"],
        holds=(1.0, inf),
        contradicted=(-inf, 1.0),
    )


def _about_a_line(part: pd.DataFrame) -> float:
    if len(part) < 4:
        return np.nan
    step, log_entropy = part["step"].to_numpy(float), np.log(part["entropy_nats"].to_numpy(float))
    rest = log_entropy - np.polyval(np.polyfit(step, log_entropy, 1), step)
    return float(np.sqrt((rest**2).sum() / (len(part) - 2)))


# -- Drawing -------------------------------------------------------------------------------------

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
