"""Figure 1 and Eq. 6: entropy is spent early, and performance follows it. Claims and drawing."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.law.fit import fit_law
from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_replicates
from entropy_mech.paper.fig02 import moves, published_shares
from entropy_mech.paper.law_groups import LAST_VALIDATIONS, fit_or_note, law_fits, validated
from entropy_mech.paper.published import published_fits
from entropy_mech.paper.style import (
    ACCURACY_COLOUR,
    ENTROPY_COLOUR,
    LOWEST_NATS,
    ORDINAL_COLOURS,
    SEED_MARKERS,
    band_over_seeds,
    log_entropy_axis,
    panels,
    seeds_of,
)

# -- Claims --------------------------------------------------------------------------------------

_ACCURACIES = {"sampled": "validation_accuracy", "greedy": "validation_greedy_accuracy"}
_LAST_ROLLOUTS = 10


def law_by_run(frame: pd.DataFrame) -> pd.DataFrame:
    """Fit the law to each run, for sampled and, where it was measured, for greedy validation.

    One row a run, seed and protocol, with the columns of ``law_groups.law_fits``.
    """
    tables = [
        law_fits(frame, ("run",), accuracy=column).assign(validation=protocol)
        for protocol, column in _ACCURACIES.items()
        if column in frame
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def law_of_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``law_by_run`` for the reader; on an empty frame, the fits of the paper's points."""
    if frame.empty:
        return published_fits().round(4)
    columns = ["seed", "validation", "a", "b", "ceiling", "r2", "rmse", "reached", "points", "note"]
    return law_by_run(frame)[["run", *columns]].round(3)


def spent(frame: pd.DataFrame, *, at: float) -> pd.DataFrame:
    """Return how much of each run's whole move in entropy and accuracy the first ``at`` made.

    ``at`` is a share of the rollouts; ``early_steps.moves`` says what counts as the end. Columns:
    run, seed, entropy_share, accuracy_share, and the whole moves themselves.
    """
    if frame.empty:
        return pd.DataFrame()
    table = moves(frame, np.array([at]))
    return pd.DataFrame(
        {
            "run": table["run"],
            "seed": table["seed"],
            "entropy_move": -table["entropy_all"],
            "entropy_share": table["entropy"] / table["entropy_all"],
            "accuracy_move": table["gain_all"],
            "accuracy_share": table["gain"] / table["gain_all"],
        }
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
    claims = [
        over_replicates(
            "Policy entropy falls by at least 80 %: 1 - H(end) / H(start)",
            f"{paper_fall:.2f} (Qwen2.5-7B, Fig. 1 left, digitised)",
            entropy_fall(frame),
            holds=(0.8, inf),
            contradicted=(-inf, 0.0),
        ),
        over_replicates(
            "Validation accuracy rises by at least 0.4, sampled at temperature 1 (fraction)",
            f"{paper_gain:+.2f} (same; greedy and averaged benchmarks)",
            early["accuracy_move"],
            holds=(0.4, inf),
            contradicted=(-inf, 0.0),
        ),
        _law_explains(
            "R = -a exp(H) + b explains the runs: R^2 at least 0.95, sampled validation",
            f"{paper_r2:.3f} (7B points of Fig. 1 right, digitised, our fit)",
            sampled,
        ),
        over_replicates(
            "The law's ceiling b - a lies within 0.05 of the accuracy reached (difference)",
            "predictable from a and b (section 2.4)",
            sampled["ceiling"].to_numpy() - sampled["reached"].to_numpy(),
            holds=(-0.05, 0.05),
        ),
        _first_third("the entropy's fall", "0.94", early["entropy_share"]),
        _first_third("the accuracy's rise", "0.93", early["accuracy_share"]),
    ]
    if "greedy" in laws.groups:
        greedy = _law_explains(
            "The same with greedy validation: R^2 at least 0.95",
            "the paper's validation is mostly greedy",
            laws.get_group("greedy"),
        )
        claims.insert(3, greedy)
    return claims


def _law_explains(statement: str, paper: str, fits: pd.DataFrame) -> Claim:
    return over_replicates(
        statement, paper, fits["r2"], holds=(0.95, inf), contradicted=(-inf, 0.5)
    )


def _first_third(what: str, paper: str, share: pd.Series) -> Claim:
    return over_replicates(
        f"The first third of training makes at least 90 % of {what} (share)",
        f"{paper} (mean of 11 runs, Fig. 2)",
        share,
        holds=(0.9, inf),
        contradicted=(-inf, 1 / 3),
    )


def _published_facts() -> list[Fact]:
    """What the digitised curves of Fig. 1 say of its claims."""
    fall, gain = _published_moves()
    third, fit = published_shares().iloc[-1], published_fits().loc["7B"]
    error = max(abs(fit["a_error"]), abs(fit["b_error"]))
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
            bool(third[["entropy", "gain"]].min() >= 0.9),
        ),
        Fact(
            "R = -a exp(H) + b explains the 7B points: R^2 at least 0.95",
            "not printed",
            f"{fit['r2']:.3f} ({fit['points']:.0f} points of Fig. 1 right, digitised, our fit)",
            bool(fit["r2"] >= 0.95),
        ),
        Fact(
            "The fit gives back the authors' a and b of 7B within 1 %",
            f"a = {fit['a_drawn']:.4f}, b = {fit['b_drawn']:.4f} (as drawn)",
            f"a = {fit['a']:.4f}, b = {fit['b']:.4f}",
            bool(error <= 0.01),
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
    ours = [partial(entropy_and_accuracy, frame), partial(law, frame)]
    paper = [published_entropy_and_accuracy, published_law]
    return panels([paper] if frame.empty else [ours, paper], width_in=12, row_height_in=4.2)


def entropy_and_accuracy(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw entropy (left axis) and validation accuracy (right axis) against rollout steps.

    ``frame``: step, seed, entropy_nats, validation_accuracy. Line: mean over seeds; band: from
    the lowest to the highest seed.
    """
    right = ax.twinx()
    band_over_seeds(frame, "entropy_nats", ax, colour=ENTROPY_COLOUR, label="entropy")
    band_over_seeds(
        frame, "validation_accuracy", right, colour=ACCURACY_COLOUR, label="validation accuracy"
    )
    _two_axes(ax, right, "rollout step")
    right.set_ylim(0, 1)
    ax.set_title(f"Ours: GRPO, {seeds_of(frame)}")
    return ax


def published_entropy_and_accuracy(ax: Axes) -> Axes:
    """Draw the paper's Fig. 1 left, digitised, with the axes of ``entropy_and_accuracy``."""
    series = dict(iter(published.load("fig01_left").groupby("series")))
    right = ax.twinx()
    entropy, accuracy = series["training_entropy"], series["test_accuracy_pct"]
    ax.plot(entropy["step"], entropy["value"], color=ENTROPY_COLOUR, lw=1.6, label="entropy")
    right.plot(
        accuracy["step"], accuracy["value"] / 100, color=ACCURACY_COLOUR, lw=1.6,
        label="test accuracy",
    )  # fmt: skip
    _two_axes(ax, right, "gradient step")
    right.set_ylim(0.15, 0.45)
    ax.set_title("Paper: Qwen2.5-7B (Fig. 1 left, digitised)")
    return ax


def law(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw performance against entropy with each seed's fit of R = -a exp(H) + b."""
    points = validated(frame)
    for i, (seed, part) in enumerate(points.groupby("seed")):
        colour = ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)]
        entropy, accuracy = part["entropy_nats"], part["validation_accuracy"]
        ax.scatter(
            entropy, accuracy, s=16, color=colour, alpha=0.75,
            marker=SEED_MARKERS[i % len(SEED_MARKERS)], lw=0,
        )  # fmt: skip
        fit = fit_or_note(entropy, accuracy)
        grid = np.geomspace(max(entropy.min(), LOWEST_NATS), max(entropy.max(), LOWEST_NATS), 100)
        label = f"seed {seed}: no fit"
        if not np.isnan(fit["a"]):
            label = (
                f"seed {seed}: a = {fit['a']:.2f}, b = {fit['b']:.2f}, "
                f"ceiling {fit['ceiling']:.2f}, $R^2$ = {fit['r2']:.3f}"
            )
        ax.plot(grid, -fit["a"] * np.exp(grid) + fit["b"], color=colour, lw=1.4, label=label)
    log_entropy_axis(ax)
    ax.set_ylabel("validation accuracy (fraction)")
    ax.set_title("Ours: $R = -a\\,e^{H} + b$")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def published_law(ax: Axes) -> Axes:
    """Draw the paper's Fig. 1 right, digitised: points of five sizes and the curves as drawn."""
    coefficients = published.curve_coefficients()
    for colour, (size, row) in zip(ORDINAL_COLOURS, coefficients.iterrows(), strict=True):
        entropy, accuracy = published.scatter(size)
        ax.scatter(entropy, accuracy, s=9, color=colour, alpha=0.6, lw=0)
        grid = np.geomspace(entropy.min(), entropy.max(), 100)
        curve = -row["a"] * np.exp(grid) + row["b"]
        label = f"{size}: a = {row['a']:.3f}, b = {row['b']:.3f}"
        ax.plot(grid, curve, color=colour, lw=1.2, label=label)
    log_entropy_axis(ax)
    ax.set_ylabel("test accuracy (fraction)")
    ax.set_title("Paper: Qwen2.5 family (Fig. 1 right, digitised)")
    ax.set_ylim(0, 0.62)
    ax.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)
    return ax


def _two_axes(left: Axes, right: Axes, step: str) -> None:
    left.set_xlabel(step)
    left.set_ylabel("policy entropy H (nats)", color=ENTROPY_COLOUR)
    right.set_ylabel("accuracy (fraction)", color=ACCURACY_COLOUR)
    left.set_ylim(bottom=0)
    lines = [*left.get_lines(), *right.get_lines()]
    left.legend(lines, [line.get_label() for line in lines], frameon=False, loc="center right")
