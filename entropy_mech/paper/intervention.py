"""Ceiling or trace: entropy raised again late in training, and what performance does then."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import style
from entropy_mech.paper.claims import Claim, Fact, Range, at_most, mean_interval
from entropy_mech.paper.fig11 import OUTCOMES
from entropy_mech.paper.law_groups import law_curve, law_fits, validated

# -- What was measured ---------------------------------------------------------------------------

SPENT, CONTROL, BONUS = "fig11_7b_grpo", "intervention_none", "intervention_bonus"
# How the entropy was raised: the run that goes on from there, and its name.
MEANS = {
    "intervention_temperature": "temperature",
    "intervention_mixture": "mixture with the base model",
    "intervention_after_bonus": "entropy bonus",
}
_POINT = ["entropy_nats", "validation_accuracy", "validation_greedy_accuracy"]
_NAMES = [OUTCOMES[column] for column in _POINT]
_LAST_SHARE = 1 / 4


def first_training(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the validations of the run as it spent its entropy."""
    return validated(frame[frame["run"] == SPENT])


def since_the_raise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the validations of the runs that go on with GRPO, the control's among them."""
    return validated(frame[frame["run"].isin([*MEANS, CONTROL])])


def at_same_entropy(frame: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return the points with what their seed's first training had at their entropy.

    Columns ``first_training``, its accuracy, interpolated in log(H) between its validations and
    constant beyond them, and ``law``, the fitted law's. The law has a form; the first has none, so
    that what is judged by it does not hang on whether the form fits.
    """
    spent = first_training(frame).sort_values("entropy_nats")
    laws = law_fits(spent, ()).set_index("seed")
    a, b = points["seed"].map(laws["a"]), points["seed"].map(laws["b"])
    spent = spent.assign(log_h=_log(spent["entropy_nats"]))
    curves = {seed: (part["log_h"], part[_POINT[1]]) for seed, part in spent.groupby("seed")}
    places = zip(points["seed"], _log(points["entropy_nats"]), strict=True)
    first = [np.interp(log_h, *curves[seed]) for seed, log_h in places]
    return points.assign(first_training=first, law=b - a * np.exp(points["entropy_nats"]))


def _log(entropy_nats: pd.Series) -> pd.Series:
    return np.log(entropy_nats.clip(lower=style.LOWEST_NATS))


def raised(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what the raised entropy did before any further GRPO: a row a means and seed.

    Columns run, seed, entropy_nats, accuracy, greedy_accuracy; entropy_before, accuracy_before,
    greedy_before of the same policy as it was; ``at_same_entropy``'s; and fall_share, the fall of
    accuracy that was seen over the one to the first training's accuracy at that entropy: 1 where
    entropy alone says what accuracy is, 0 where accuracy does not move.
    """
    first = validated(frame).groupby(["run", "seed"])[_POINT].first().reset_index()
    first = first.rename(columns=OUTCOMES)
    before = first[first["run"] == CONTROL].set_index("seed")[_NAMES]
    before.columns = ["entropy_before", "accuracy_before", "greedy_before"]
    rows = at_same_entropy(frame, first[first["run"].isin(MEANS)].join(before, on="seed"))
    fall = rows["accuracy_before"] - rows["accuracy"]
    return rows.assign(fall_share=fall / (rows["accuracy_before"] - rows["first_training"]))


def way_back(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points of GRPO after the raise, with ``at_same_entropy``'s columns.

    ``off_curve``: accuracy less that of the first training at the same entropy.
    """
    points = at_same_entropy(frame, since_the_raise(frame))
    return points.assign(off_curve=points["validation_accuracy"] - points["first_training"])


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the last quarter of GRPO after the raise, and those less the control's.

    Columns run, seed, entropy_nats, accuracy, greedy_accuracy, and each with _gain.
    """
    points = since_the_raise(frame)
    last = points.groupby("run")["step"].transform("max")
    late = points[points["step"] >= (1 - _LAST_SHARE) * last]
    table = late.groupby(["run", "seed"])[_POINT].mean().reset_index()
    table = table.rename(columns=OUTCOMES)
    control = table[table["run"] == CONTROL].set_index("seed")[_NAMES]
    gains = table[_NAMES] - table[["seed"]].join(control, on="seed")[_NAMES]
    return table.join(gains.add_suffix("_gain"))


# -- Claims --------------------------------------------------------------------------------------

_MARGIN = 0.02  # accuracy: about a standard error of one validation


def intervention_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge, of the raise, the way back and the end, what holds if entropy fixes accuracy."""
    if frame.empty:
        return [
            Fact(
                "Performance follows the law when entropy is raised again late in training",
                "not tested",
                "there are no runs in this profile",
                None,
            )
        ]
    first, end, back = raised(frame), ends(frame), way_back(frame)
    claims: list[Claim | Fact] = []
    for run, name in MEANS.items():
        at, after = first[first["run"] == run], end[end["run"] == run]
        on_way = back[(back["run"] == run) & (back["step"] > 0)].groupby("seed")["off_curve"].mean()
        claims += [
            Claim(
                f"Raised by {name}: accuracy falls to what it was at this entropy in the first "
                "training (fall seen over that fall)",
                "1, if the law is a ceiling",
                mean_interval(at["fall_share"]),
                Range(0.75, 1.25, contradicted_below=0.0),
            ),
            Claim(
                f"Raised by {name}: on the way back accuracy is what it was at the same entropy in "
                f"the first training, within {_MARGIN:g} (mean difference, fraction)",
                "0, if the law is a ceiling",
                mean_interval(on_way),
                Range(-_MARGIN, _MARGIN),
            ),
            Claim(
                f"Raised by {name}: GRPO ends where it ends without the raise, within {_MARGIN:g} "
                "(difference, fraction)",
                "0, if the law is a ceiling",
                mean_interval(after["accuracy_gain"]),
                Range(-_MARGIN, _MARGIN),
            ),
            Claim(
                f"Raised by {name}: the new entropy is spent again (end less the control's, nats)",
                "0",
                mean_interval(after["entropy_nats_gain"]),
                at_most(0.02),
            ),
        ]
    return claims


# -- Drawing -------------------------------------------------------------------------------------

_LABELS = {CONTROL: "not raised (control)"} | MEANS
_PALETTE = dict(zip(_LABELS.values(), ("#000000", "#E69F00", "#0072B2", "#009E73"), strict=True))


def intervention_figure(frame: pd.DataFrame) -> Figure:
    """Draw entropy and accuracy after the raise, and accuracy against entropy beside the law."""
    if frame.empty:
        return style.panels([[partial(style.note, "no runs in this profile")]])
    draws = [
        partial(after_raise, frame, "entropy_nats", "policy entropy H (nats)"),
        partial(after_raise, frame, "validation_accuracy", "accuracy (fraction)"),
        partial(against_law, frame),
    ]
    return style.panels([draws], width_in=16.0, row_height_in=4.6)


def after_raise(frame: pd.DataFrame, column: str, label: str, ax: Axes) -> Axes:
    """Draw a metric against rollouts since the raise: mean and range over seeds."""
    part = since_the_raise(frame)
    part = part.assign(start=part["run"].map(_LABELS))
    order = [name for name in _PALETTE if name in set(part["start"])]
    style.curves_over_seeds(
        part, y=column, hue="start", hue_order=order, palette=_PALETTE, ax=ax, marker="o", ms=4
    )
    ax.set(xlabel="rollouts since the raise", ylabel=label)
    ax.set_title(f"{style.ours(frame)}: {style.seeds_of(frame)}")
    ax.legend(
        title="entropy raised by", loc="upper right" if "entropy" in column else "lower right"
    )
    return ax


def against_law(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw accuracy against entropy: the first training with its law, then each way back."""
    spent = first_training(frame)
    ax.plot(
        spent["entropy_nats"], spent["validation_accuracy"], ".", color="0.7", ms=5,
        label="first training",
    )  # fmt: skip
    law = law_fits(spent, ())[["a", "b"]].mean()
    seen = spent["entropy_nats"].clip(lower=style.LOWEST_NATS)
    law_curve(seen, law["a"], law["b"], ax, color="0.4", label="its law, mean over seeds")
    bonus = validated(frame[frame["run"] == BONUS]).groupby("step")[_POINT].mean()
    ax.plot(
        bonus["entropy_nats"], bonus["validation_accuracy"], ":", color="#009E73",
        label="while the bonus acts",
    )  # fmt: skip
    back = way_back(frame)
    for run, name in MEANS.items():
        mean = back[back["run"] == run].groupby("step")[_POINT].mean()
        sns.lineplot(
            mean, x="entropy_nats", y="validation_accuracy", sort=False, estimator=None,
            color=_PALETTE[name], marker="o", ms=4, label=name, ax=ax,
        )  # fmt: skip
        ax.plot(*mean.iloc[0, :2], marker="*", ms=13, color=_PALETTE[name])
    style.log_entropy_axis(ax).set_ylabel("accuracy (fraction)")
    ax.set_title("Stars: at once after the raise (means over seeds)")
    ax.legend()
    return ax
