"""Figure 1 and Eq. 6: entropy is spent early, and performance follows it. Claims and drawing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.law.fit import fit_law
from entropy_mech.paper import published, style
from entropy_mech.paper.claims import Claim, Fact, Range, at_least, mean_interval
from entropy_mech.paper.fig02 import moves, published_shares
from entropy_mech.paper.law_groups import LAST_VALIDATIONS, law_curve, law_fits, law_panel
from entropy_mech.paper.published import published_fits

# -- Claims --------------------------------------------------------------------------------------

_ACCURACIES = {"sampled": "validation_accuracy", "greedy": "validation_greedy_accuracy"}
_LAST_ROLLOUTS = 10


def law_by_run(frame: pd.DataFrame) -> pd.DataFrame:
    """Fit the law to each run, for sampled and, where it was measured, for greedy validation.

    One row a run, seed and protocol, with the columns of ``law_groups.law_fits``; on an empty
    frame, the fits of the paper's points.
    """
    if frame.empty:
        return published_fits()
    tables = [
        law_fits(frame, ("run",), accuracy=column).assign(validation=protocol)
        for protocol, column in _ACCURACIES.items()
        if column in frame
    ]
    return pd.concat(tables, ignore_index=True)


def spent(frame: pd.DataFrame, *, at: float) -> pd.DataFrame:
    """Return how much of each run's whole move in entropy and accuracy the first ``at`` made.

    ``at`` is a share of the rollouts; ``fig02.moves`` says what counts as the end. Columns: run,
    seed, entropy_share, accuracy_share, and the whole moves themselves.
    """
    if frame.empty:
        return pd.DataFrame()
    table = moves(frame, np.array([at]))
    return table[["run", "seed"]].assign(
        entropy_move=-table["entropy_all"],
        entropy_share=table["entropy"] / table["entropy_all"],
        accuracy_move=table["gain_all"],
        accuracy_share=table["gain"] / table["gain_all"],
    )


def entropy_fall(frame: pd.DataFrame) -> pd.Series:
    """Return 1 - H(end) / H(start) by seed: mean of the last ten rollouts against the first."""
    by_seed = frame.groupby("seed")["entropy_nats"]
    last = by_seed.apply(lambda h: h.tail(_LAST_ROLLOUTS).mean())
    return 1 - last / by_seed.first()


def collapse_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 1 on runs of one configuration and several seeds; on none, the paper's own."""
    if frame.empty:
        return _published_facts()
    laws = law_by_run(frame).groupby("validation")
    sampled, early = laws.get_group("sampled"), spent(frame, at=1 / 3)
    paper_fall, paper_gain = _published_moves()
    paper_r2 = fit_law(*published.scatter("7B")).r2
    explained = at_least(0.95, contradicted_below=0.5)
    claims = [
        Claim(
            "Policy entropy falls by at least 80 %: 1 - H(end) / H(start)",
            f"{paper_fall:.2f} (Qwen2.5-7B, Fig. 1 left, digitised)",
            mean_interval(entropy_fall(frame)),
            at_least(0.8, contradicted_below=0.0),
        ),
        Claim(
            "Validation accuracy rises by at least 0.4, sampled at temperature 1 (fraction)",
            f"{paper_gain:+.2f} (same; greedy and averaged benchmarks)",
            mean_interval(early["accuracy_move"]),
            at_least(0.4, contradicted_below=0.0),
        ),
        Claim(
            "R = -a exp(H) + b explains the runs: R^2 at least 0.95, sampled validation",
            f"{paper_r2:.3f} (7B points of Fig. 1 right, digitised, our fit)",
            mean_interval(sampled["r2"]),
            explained,
        ),
        Claim(
            "The law's ceiling b - a lies within 0.05 of the accuracy reached (difference)",
            "predictable from a and b (section 2.4)",
            mean_interval(sampled["ceiling"] - sampled["reached"]),
            Range(-0.05, 0.05),
        ),
        _first_third("the entropy's fall", "0.94", early["entropy_share"]),
        _first_third("the accuracy's rise", "0.93", early["accuracy_share"]),
    ]
    if "greedy" in laws.groups:
        text = "The same with greedy validation: R^2 at least 0.95"
        greedy = mean_interval(laws.get_group("greedy")["r2"])
        paper = "the paper's validation is mostly greedy"
        claims.insert(3, Claim(text, paper, greedy, explained))
    return claims


def _first_third(what: str, paper: str, share: pd.Series) -> Claim:
    return Claim(
        f"The first third of training makes at least 90 % of {what} (share)",
        f"{paper} (mean of 11 runs, Fig. 2)",
        mean_interval(share),
        at_least(0.9, contradicted_below=1 / 3),
    )


def _published_facts() -> list[Fact]:
    """What the digitised curves of Fig. 1 say of its claims."""
    fall, gain = _published_moves()
    third, fit = published_shares().iloc[-1], published_fits().loc["7B"]
    where = "Qwen2.5-7B, Fig. 1 left, digitised"
    return [
        Fact(
            "Policy entropy falls by at least 80 %: 1 - H(end) / H(start)",
            "entropy is exhausted",
            f"{fall:.2f} ({where})",
            fall >= 0.8,
        ),
        Fact(
            "The first third of training makes at least 90 % of both moves (shares)",
            "over 95 % early (section 2.3); 0.94 and 0.93 (mean of 11 runs, Fig. 2)",
            f"entropy {third['entropy']:.2f}, accuracy {third['gain']:.2f} ({where}); "
            f"accuracy rises by {gain:.2f}",
            third[["entropy", "gain"]].min() >= 0.9,
        ),
        Fact(
            "R = -a exp(H) + b explains the 7B points: R^2 at least 0.95",
            "not printed",
            f"{fit['r2']:.3f} ({fit['points']:.0f} points of Fig. 1 right, digitised, our fit)",
            fit["r2"] >= 0.95,
        ),
        Fact(
            "The fit gives back the authors' a and b of 7B within 1 %",
            f"a = {fit['a_drawn']:.4f}, b = {fit['b_drawn']:.4f} (as drawn)",
            f"a = {fit['a']:.4f}, b = {fit['b']:.4f}",
            fit[["a_error", "b_error"]].abs().max() <= 0.01,
        ),
    ]


def _published_moves() -> tuple[float, float]:
    """The fall of entropy and the gain in accuracy (fraction) of Fig. 1 left."""
    series = published.load("fig01_left").groupby("series")["value"]
    first, last = series.first(), series.apply(lambda v: v.tail(LAST_VALIDATIONS).mean())
    fall = 1 - last["training_entropy"] / first["training_entropy"]
    gain = (last["test_accuracy_pct"] - first["test_accuracy_pct"]) / 100
    return float(fall), float(np.round(gain, 4))


# -- Drawing -------------------------------------------------------------------------------------


def collapse_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 1: ours above the paper's, digitised, which stands alone on an empty frame."""
    rows = [[published_entropy_and_accuracy, published_law]]
    if len(frame):
        title = f"{style.ours(frame)}: GRPO, {style.seeds_of(frame)}"
        rows.insert(0, [partial(entropy_and_accuracy, frame, title=title), partial(law, frame)])
    return style.panels(rows, width_in=12, row_height_in=4.2)


def entropy_and_accuracy(
    frame: pd.DataFrame, ax: Axes, *, title: str = "", step: str = "rollout step"
) -> Axes:
    """Draw entropy (left axis) and validation accuracy (right axis) against steps.

    ``frame``: step, entropy_nats, validation_accuracy. Line: mean over seeds; band: from the
    lowest to the highest seed.
    """
    entropy = ("entropy_nats", "entropy", "policy entropy H (nats)", style.ENTROPY_COLOUR)
    accuracy = ("validation_accuracy", "accuracy", "accuracy (fraction)", style.ACCURACY_COLOUR)
    style.two_curves(frame, ax, entropy, accuracy, loc="center right")
    ax.set(xlabel=step, title=title)
    ax.set_ylim(bottom=0)
    return ax


def published_entropy_and_accuracy(ax: Axes) -> Axes:
    """Draw the paper's Fig. 1 left, digitised."""
    run = published.published_run()
    run = run.assign(validation_accuracy=run["performance"] / 100)
    title = "Paper: Qwen2.5-7B (Fig. 1 left, digitised)"
    return entropy_and_accuracy(run, ax, title=title, step="gradient step")


def law(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw performance against entropy with each seed's fit of R = -a exp(H) + b.

    Of more seeds than there are colours the mean curve and the band of all of them.
    """
    groups, count = "seed " + frame["seed"].astype(str), frame["seed"].nunique()
    if count > len(style.ORDINAL_COLOURS):
        groups = f"mean of {count} seeds"
    seeds = frame.assign(group=groups)
    label = "{group}: a = {a:.2f}, b = {b:.2f}, ceiling {ceiling:.2f}, $R^2$ = {r2:.3f}"
    law_panel(seeds, ax, title=f"{style.ours(frame)}: $R = -a\\,e^{{H}} + b$", label=label)
    ax.legend(loc="lower right")
    return ax


def published_law(ax: Axes) -> Axes:
    """Draw the paper's Fig. 1 right, digitised: points of five sizes and the curves as drawn."""
    points = published.load("fig01_right").query("kind == 'point'")
    points = points.assign(accuracy=points["accuracy_pct"] / 100)
    palette = dict(zip(published.SIZES, style.ORDINAL_COLOURS, strict=True))
    sns.scatterplot(
        points, x="entropy_nats", y="accuracy", hue="model", palette=palette, s=12, alpha=0.6,
        linewidth=0, legend=False, ax=ax,
    )  # fmt: skip
    for size, row in published.curve_coefficients().iterrows():
        entropy = points.loc[points["model"] == size, "entropy_nats"]
        label = f"{size}: a = {row['a']:.3f}, b = {row['b']:.3f}"
        law_curve(entropy, row["a"], row["b"], ax, color=palette[size], label=label)
    style.log_entropy_axis(ax)
    ax.set(ylabel="test accuracy (fraction)", ylim=(0, 0.62))
    ax.set_title("Paper: Qwen2.5 family (Fig. 1 right, digitised)")
    ax.legend(loc="upper left", ncols=2)
    return ax
