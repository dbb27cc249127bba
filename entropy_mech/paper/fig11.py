"""Figure 11: Clip-Cov and KL-Cov against GRPO and clip-higher. Claims and drawing."""

from __future__ import annotations

from functools import partial

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published, style
from entropy_mech.paper.claims import (
    Claim,
    Fact,
    at_least,
    half_of_difference,
    half_of_ratio,
    mean_interval,
    ratio_interval,
)

# -- Claims --------------------------------------------------------------------------------------

METHODS = {
    "grpo": "GRPO",
    "clip_higher": "Clip-higher",
    "clip_cov": "Clip-Cov",
    "kl_cov": "KL-Cov",
}
PRINTED_METHODS = {label.replace("-", "_"): method for method, label in METHODS.items()}
# With ten times the paper's fraction of tokens: runs of the toy alone.
TENFOLD = {"clip_cov_x10": "Clip-Cov, 10 x", "kl_cov_x10": "KL-Cov, 10 x"}
LABELS = METHODS | TENFOLD
SIZES = {"7b": "Qwen2.5-7B", "32b": "Qwen2.5-32B"}
OUTCOMES = {
    "entropy_nats": "entropy_nats",
    "response_length_mean": "length_tokens",
    "validation_accuracy": "accuracy",
    "validation_greedy_accuracy": "greedy_accuracy",
}
_RUN = r"^fig11_(?P<size>7b|32b)_(?P<method>\w+)$"
_LAST_SHARE = 1 / 6


def at_papers_dose(method: str) -> str:
    """Return the method without its tenfold dose.

    >>> at_papers_dose("kl_cov_x10"), at_papers_dose("grpo")
    ('kl_cov', 'grpo')
    """
    return method.removesuffix("_x10")


def with_method(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs of Fig. 11 with their ``size`` (7b, 32b) and ``method``."""
    if frame.empty:
        return frame.assign(size=[], method=[])
    return frame.assign(**frame["run"].str.extract(_RUN)).dropna(subset="method")


def endings(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the means over each run's last sixth: entropy, response length, accuracy.

    Accuracy is that of the last validation where a run is so short that none lies there.
    """
    if frame.empty:
        return pd.DataFrame(columns=["run", "seed", *OUTCOMES.values()])
    last_step = frame.groupby(["run", "seed"])["step"].transform("max")
    first_of_end = ((1 - _LAST_SHARE) * (last_step + 1)).clip(upper=last_step)
    end = frame[frame["step"] >= first_of_end]
    means = end.groupby(["run", "seed"], sort=False)[list(OUTCOMES)].mean()
    last = frame.sort_values("step").groupby(["run", "seed"])[list(OUTCOMES)].last()  # not NaN
    return means.fillna(last).rename(columns=OUTCOMES).reset_index()


def _against_grpo(ends: pd.DataFrame, size: str, method: str, column: str) -> pd.DataFrame:
    """Return a method's endings beside GRPO's of the same size and seed: columns ours, grpo.

    ``ends`` are ``endings``, ``column`` one of theirs. Seeds without both runs are left out.
    """
    wide = ends.pivot(index="seed", columns="run", values=column)
    runs = {f"fig11_{size}_{method}": "ours", f"fig11_{size}_grpo": "grpo"}
    wide = wide.reindex(columns=list(runs)).rename(columns=runs)
    return wide.dropna()


def published_ending(size: str, method: str, metric: str) -> float:
    """Return the mean of the readings in the last sixth of a curve of Fig. 11.

    A tenfold dose has the curve of the paper's own dose.

    ``metric``: ``entropy`` (nats), ``response_length`` (tokens), ``test_acc_pct`` (percent).
    """
    method = at_papers_dose(method)
    part = published_curves(size, metric).query("method == @method")
    return float(part.loc[part["step"] >= (1 - _LAST_SHARE) * part["step"].max(), "value"].mean())


def published_curves(size: str, metric: str) -> pd.DataFrame:
    """Return the readings of a panel of Fig. 11; methods are named as in ``METHODS``."""
    frame = published.load("fig11")
    frame = frame[(frame["model"] == size.upper()) & (frame["metric"] == metric)]
    return frame.assign(method=frame["method"].map(PRINTED_METHODS))


def control_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 11, size by size and seed by seed against GRPO; the paper's curves if empty."""
    if frame.empty:
        return published_facts()
    ends, covariance = endings(frame), ("clip_cov", "kl_cov", *TENFOLD)
    return [
        judge(pair, size, method)
        for size in SIZES
        for judge, column, methods in (
            (_entropy_claim, "entropy_nats", (*covariance, "clip_higher")),
            (_accuracy_claim, "accuracy", covariance),
            (_length_claim, "length_tokens", covariance),
        )
        for method in methods
        if len(pair := _against_grpo(ends, size, method, column))
    ]


def _entropy_claim(pair: pd.DataFrame, size: str, method: str) -> Claim:
    """Judge whether a method ends with at least twice GRPO's entropy."""
    return Claim(
        f"{SIZES[size]}: {LABELS[method]} ends with at least 2 times GRPO's entropy (ratio)",
        f"{_papers_ratio(size, method, 'entropy'):.2f} (Fig. 11, digitised)",
        ratio_interval(pair["ours"] / pair["grpo"]),
        at_least(2.0, contradicted_below=1.0),
    )


def _length_claim(pair: pd.DataFrame, size: str, method: str) -> Claim:
    """Judge whether a method's responses end longer than GRPO's."""
    papers = _papers_ratio(size, method, "response_length")
    judged_by = half_of_ratio(papers)
    return Claim(
        f"{SIZES[size]}: {LABELS[method]} ends with responses at least {judged_by.least:.2f} times "
        "as long as GRPO's, half the paper's effect on a log scale (ratio)",
        f"{papers:.2f} (Fig. 11, digitised)",
        ratio_interval(pair["ours"] / pair["grpo"]),
        judged_by,
    )


def _accuracy_claim(pair: pd.DataFrame, size: str, method: str) -> Claim:
    """Judge whether a method ends with a higher accuracy than GRPO."""
    theirs, grpo = (published_ending(size, name, "test_acc_pct") for name in (method, "grpo"))
    papers = (theirs - grpo) / 100
    judged_by, room = half_of_difference(papers), 1 - pair["grpo"].mean()
    no_room = f"; here GRPO leaves room for {room:.3f}" if room < judged_by.least else ""
    return Claim(
        f"{SIZES[size]}: {LABELS[method]} ends with an accuracy at least {judged_by.least:.3f} "
        "above GRPO's, half the paper's effect (difference, fraction)",
        f"{papers:+.3f} (Fig. 11, digitised{no_room})",
        mean_interval(pair["ours"] - pair["grpo"]),
        judged_by,
    )


def _papers_ratio(size: str, method: str, metric: str) -> float:
    theirs, grpo = (published_ending(size, name, metric) for name in (method, "grpo"))
    return theirs / grpo


def published_facts() -> list[Fact]:
    """Return what the paper's own curves of Fig. 11 say, as digitised, at their ends."""
    return [fact for size in SIZES for fact in _published_facts(size, SIZES[size])]


def _published_facts(size: str, label: str) -> list[Fact]:
    end, length, accuracy = (
        pd.Series({method: published_ending(size, method, metric) for method in METHODS})
        for metric in ("entropy", "response_length", "test_acc_pct")
    )
    ours, others = ["clip_cov", "kl_cov"], ["grpo", "clip_higher"]
    more, longer = end / end["grpo"], (length / length["grpo"])[ours]
    return [
        Fact(
            f"{label}: KL-Cov ends with more than 10 times GRPO's entropy",
            "over 10 times the plateau (section 4.4)",
            f"{more['kl_cov']:.1f} times ({end['kl_cov']:.3f} and {end['grpo']:.3f} nats, "
            f"digitised); Clip-Cov {more['clip_cov']:.1f} times",
            more["kl_cov"] > 10,
        ),
        Fact(
            f"{label}: Clip-Cov or KL-Cov ends with more entropy than clip-higher",
            "not stated; Fig. 11 shows it",
            f"{end[ours].max():.3f} and {end['clip_higher']:.3f} nats (digitised)",
            end[ours].max() > end["clip_higher"],
        ),
        Fact(
            f"{label}: both end with longer responses than GRPO",
            "longer responses (section 4.4)",
            f"{_in_words(longer, '.2f')} times (digitised)",
            longer.min() > 1,
        ),
        Fact(
            f"{label}: both end with a higher accuracy than GRPO and clip-higher",
            "higher accuracy (section 4.4)",
            f"{_in_words(accuracy, '.1f')} % (digitised)",
            accuracy[ours].min() > accuracy[others].max(),
        ),
    ]


def _in_words(values: pd.Series, spec: str) -> str:
    return ", ".join(f"{METHODS[method]} {value:{spec}}" for method, value in values.items())


# -- Drawing -------------------------------------------------------------------------------------

_COLUMNS = {  # of a run: the axis, the paper's name, and its scale
    "entropy_nats": ("policy entropy H (nats, log scale)", "entropy", 1.0),
    "response_length_mean": ("response length (tokens)", "response_length", 1.0),
    "validation_accuracy": ("accuracy (fraction)", "test_acc_pct", 0.01),
}
_PALETTE = {label: style.METHOD_COLOURS[method] for method, label in LABELS.items()}


def control_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 11: a row a size, entropy, length and accuracy; the paper's rows below ours.

    ``frame`` is ``Report.metrics()``; where it is empty the paper's rows stand alone.
    """
    there = set(with_method(frame)["size"])
    sizes = [size for size in SIZES if size in there]
    rows = [[partial(curves, frame, column, size=size) for column in _COLUMNS] for size in sizes]
    rows += [
        [partial(paper_curves, column, size=size) for column in _COLUMNS] for size in sizes or SIZES
    ]
    return style.panels(rows)


def entropy_figure(frame: pd.DataFrame, *, size: str = "7b") -> Figure:
    """Draw the entropy of the methods there are beside the paper's; the paper's alone if none."""
    draws = [partial(paper_curves, "entropy_nats", size=size)]
    if len(frame):
        draws.insert(0, partial(curves, frame, "entropy_nats", size=size))
    return style.panels([draws], width_in=6.0 * len(draws), row_height_in=4.2)


def curves(frame: pd.DataFrame, column: str, ax: Axes, *, size: str = "7b") -> Axes:
    """Draw one metric of all methods against rollout steps: mean and range over seeds.

    Entropy and length are running means of five rollouts; accuracy is as measured.
    """
    part = with_method(frame).query("size == @size")
    if column != "validation_accuracy":
        part = style.smoothed(part, column)
    title = f"{style.ours(part, SIZES[size])}, {style.seeds_of(part)}"
    part = part.assign(method=part["method"].map(LABELS))
    order = [label for label in _PALETTE if label in set(part["method"])]
    named = {"y": column, "hue": "method", "hue_order": order, "palette": _PALETTE, "ax": ax}
    style.curves_over_seeds(part, **named)
    return _dress(ax, column, "rollout step", title)


def paper_curves(column: str, ax: Axes, *, size: str = "7b") -> Axes:
    """Draw the paper's Fig. 11 for one size, digitised: a point a reading."""
    _, metric, scale = _COLUMNS[column]
    frame = published_curves(size, metric)
    frame = frame.assign(value=frame["value"] * scale, method=frame["method"].map(METHODS))
    sns.lineplot(
        frame, x="step", y="value", hue="method", hue_order=[*METHODS.values()],
        palette=_PALETTE, ls="--", lw=1.2, marker="o", ms=3, mew=0, ax=ax,
    )  # fmt: skip
    return _dress(ax, column, "gradient step", f"Paper: {SIZES[size]} (Fig. 11, digitised)")


def _dress(ax: Axes, column: str, step: str, title: str) -> Axes:
    ax.set(xlabel=step, ylabel=_COLUMNS[column][0], title=title)
    if column == "entropy_nats":
        style.log_entropy_scale(ax)
        ax.legend()
    else:
        ax.get_legend().remove()  # the entropy's panel names the colours
    return ax
