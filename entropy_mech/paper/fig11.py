"""Figure 11: Clip-Cov and KL-Cov against GRPO and clip-higher. Claims and drawing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_ratios, over_replicates
from entropy_mech.paper.style import (
    METHOD_COLOURS,
    band_over_seeds,
    log_entropy_scale,
    ours,
    panels,
    seeds_of,
    smoothed,
)

# -- Claims --------------------------------------------------------------------------------------

METHODS = {
    "grpo": "GRPO",
    "clip_higher": "Clip-higher",
    "clip_cov": "Clip-Cov",
    "kl_cov": "KL-Cov",
}
SIZES = {"7b": "Qwen2.5-7B", "32b": "Qwen2.5-32B"}
OUTCOMES = {
    "entropy_nats": "entropy_nats",
    "response_length_mean": "length_tokens",
    "validation_accuracy": "accuracy",
    "validation_greedy_accuracy": "greedy_accuracy",
}
_RUN = r"^fig11_(7b|32b)_(\w+)$"
_LAST_SHARE = 1 / 6


def with_method(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs of Fig. 11 with their ``size`` (7b, 32b) and ``method``."""
    if frame.empty:
        return pd.DataFrame(columns=["run", "seed", "step", "size", "method", *OUTCOMES])
    parts = frame["run"].str.extract(_RUN)
    return frame.assign(size=parts[0], method=parts[1]).dropna(subset="method")


def of_method(frame: pd.DataFrame, method: str, *, size: str = "7b") -> pd.DataFrame:
    """Return the rows of one method's run; empty where there are none."""
    return frame if frame.empty else frame[frame["run"] == f"fig11_{size}_{method}"]


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
    means = means.fillna(last)
    return means.rename(columns=OUTCOMES).reset_index()


def against_grpo(frame: pd.DataFrame, size: str, method: str, column: str) -> pd.DataFrame:
    """Return a method's endings beside GRPO's of the same size and seed: columns ours, grpo.

    ``column`` is one of ``endings``'. Empty where there are not both runs.
    """
    wide = endings(frame).pivot(index="seed", columns="run", values=column)
    names = {"ours": f"fig11_{size}_{method}", "grpo": f"fig11_{size}_grpo"}
    wide = wide.reindex(columns=list(names.values())).dropna(axis="columns", how="all")
    if wide.shape[1] < len(names):
        return pd.DataFrame(columns=list(names))
    return pd.DataFrame({key: wide[run] for key, run in names.items()})


def published_ending(size: str, method: str, metric: str) -> float:
    """Return the mean of the readings in the last sixth of a curve of Fig. 11.

    ``metric``: ``entropy`` (nats), ``response_length`` (tokens), ``test_acc_pct`` (percent).
    """
    frame = published.load("fig11")
    chosen = (frame["model"] == size.upper()) & (frame["metric"] == metric)
    part = frame[chosen & (frame["method"] == METHODS[method].replace("-", "_"))]
    return float(part.loc[part["step"] >= (1 - _LAST_SHARE) * part["step"].max(), "value"].mean())


def entropy_claim(
    frame: pd.DataFrame, method: str, *, size: str = "7b", least: float = 2.0
) -> Claim | None:
    """Judge whether a method ends with at least ``least`` times GRPO's entropy.

    None where the frame has not both runs.
    """
    statement = f"{METHODS[method]} ends with at least {least:g} times GRPO's entropy (ratio)"
    return _ratio_claim(frame, size, method, "entropy_nats", "entropy", statement, least)


def accuracy_claim(frame: pd.DataFrame, method: str, *, size: str = "7b") -> Claim | None:
    """Judge whether a method ends with a higher accuracy than GRPO; None as above."""
    pair = against_grpo(frame, size, method, "accuracy")
    if pair.empty:
        return None
    gain = published_ending(size, method, "test_acc_pct")
    gain -= published_ending(size, "grpo", "test_acc_pct")
    return over_replicates(
        f"{SIZES[size]}: {METHODS[method]} ends with a higher accuracy than GRPO "
        "(difference, fraction)",
        f"{gain / 100:+.3f} (Fig. 11, digitised)",
        pair["ours"] - pair["grpo"],
        holds=(0.0, inf),
        contradicted=(-inf, 0.0),
    )


def length_claim(frame: pd.DataFrame, method: str, *, size: str = "7b") -> Claim | None:
    """Judge whether a method ends with longer responses than GRPO; None as above."""
    statement = f"{METHODS[method]} ends with longer responses than GRPO (ratio)"
    return _ratio_claim(frame, size, method, "length_tokens", "response_length", statement, 1.0)


def control_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 11, size by size and seed by seed against GRPO; the paper's curves if empty."""
    if frame.empty:
        return published_facts()
    asked: list[tuple[Callable[..., Claim | None], tuple[str, ...]]] = [
        (entropy_claim, ("clip_cov", "kl_cov", "clip_higher")),
        (accuracy_claim, ("clip_cov", "kl_cov")),
        (length_claim, ("clip_cov", "kl_cov")),
    ]
    claims = [
        judge(frame, method, size=size)
        for size in SIZES
        for judge, methods in asked
        for method in methods
    ]
    return [claim for claim in claims if claim is not None]


def published_facts() -> list[Fact]:
    """Return what the paper's own curves of Fig. 11 say, as digitised, at their ends."""
    facts = []
    for size, label in SIZES.items():
        end = {m: published_ending(size, m, "entropy") for m in METHODS}
        length = {m: published_ending(size, m, "response_length") for m in METHODS}
        accuracy = {m: published_ending(size, m, "test_acc_pct") for m in METHODS}
        ratio, own = end["kl_cov"] / end["grpo"], max(end["kl_cov"], end["clip_cov"])
        facts += [
            Fact(
                f"{label}: KL-Cov ends with more than 10 times GRPO's entropy",
                "over 10 times the plateau (section 4.4)",
                f"{ratio:.1f} times ({end['kl_cov']:.3f} and {end['grpo']:.3f} nats, digitised); "
                f"Clip-Cov {end['clip_cov'] / end['grpo']:.1f} times",
                ratio > 10,
            ),
            Fact(
                f"{label}: Clip-Cov or KL-Cov ends with more entropy than clip-higher",
                "not stated; Fig. 11 shows it",
                f"{own:.3f} and {end['clip_higher']:.3f} nats (digitised)",
                own > end["clip_higher"],
            ),
            Fact(
                f"{label}: both end with longer responses than GRPO",
                "longer responses (section 4.4)",
                _in_words({m: length[m] / length["grpo"] for m in ("clip_cov", "kl_cov")}, ".2f")
                + " times (digitised)",
                min(length["clip_cov"], length["kl_cov"]) > length["grpo"],
            ),
            Fact(
                f"{label}: both end with a higher accuracy than GRPO and clip-higher",
                "higher accuracy (section 4.4)",
                _in_words(accuracy, ".1f") + " % (digitised)",
                min(accuracy["clip_cov"], accuracy["kl_cov"])
                > max(accuracy["grpo"], accuracy["clip_higher"]),
            ),
        ]
    return facts


def _ratio_claim(
    frame: pd.DataFrame,
    size: str,
    method: str,
    column: str,
    metric: str,
    statement: str,
    least: float,
) -> Claim | None:
    pair = against_grpo(frame, size, method, column)
    if pair.empty:
        return None
    paper = published_ending(size, method, metric) / published_ending(size, "grpo", metric)
    return over_ratios(
        f"{SIZES[size]}: {statement}",
        f"{paper:.2f} (Fig. 11, digitised)",
        pair["ours"] / pair["grpo"],
        holds=(least, inf),
        contradicted=(-inf, 1.0),
    )


def _in_words(values: dict[str, float], spec: str) -> str:
    return ", ".join(f"{METHODS[method]} {value:{spec}}" for method, value in values.items())


# -- Drawing -------------------------------------------------------------------------------------

_COLUMNS = {
    "entropy_nats": ("policy entropy H (nats, log scale)", "entropy", 1.0),
    "response_length_mean": ("response length (tokens)", "response_length", 1.0),
    "validation_accuracy": ("accuracy (fraction)", "test_acc_pct", 0.01),
}
_WINDOW = 5


def control_figure(frame: pd.DataFrame) -> Figure:
    """Draw Fig. 11: a row a size, entropy, length and accuracy; the paper's rows below ours.

    ``frame`` is ``Report.metrics()``; where it is empty the paper's rows stand alone.
    """
    there = set(with_method(frame)["size"])
    sizes = [size for size in SIZES if size in there]
    rows = [[partial(curves, frame, column, size=size) for column in _COLUMNS] for size in sizes]
    rows += [
        [partial(published_curves, column, size=size) for column in _COLUMNS]
        for size in sizes or SIZES
    ]
    figure = panels(rows)
    for ax in figure.axes[:: len(_COLUMNS)]:
        ax.legend(frameon=False, fontsize="small")
    return figure


def entropy_figure(frame: pd.DataFrame, *, size: str = "7b") -> Figure:
    """Draw the entropy of the methods there are beside the paper's; the paper's alone if none."""
    draws = [partial(published_curves, "entropy_nats", size=size)]
    if len(frame):
        draws.insert(0, partial(curves, frame, "entropy_nats", size=size))
    figure = panels([draws], width_in=6.0 * len(draws), row_height_in=4.2)
    for ax in figure.axes:
        ax.legend(frameon=False, fontsize="small")
    return figure


def curves(frame: pd.DataFrame, column: str, ax: Axes, *, size: str = "7b") -> Axes:
    """Draw one metric of all methods against rollout steps: mean and range over seeds.

    Entropy and length are running means of five rollouts; accuracy is as measured.
    """
    frame = with_method(frame)
    frame = frame[frame["size"] == size]
    for method, label in METHODS.items():
        part = frame[frame["method"] == method]
        if column != "validation_accuracy":
            part = smoothed(part, column, _WINDOW)
        if len(part):
            band_over_seeds(part, column, ax, colour=METHOD_COLOURS[method], label=label)
    _dress(ax, column, "rollout step")
    ax.set_title(f"{ours(frame)}: {SIZES[size]}, {seeds_of(frame)}")
    return ax


def published_curves(column: str, ax: Axes, *, size: str = "7b") -> Axes:
    """Draw the paper's Fig. 11 for one size, digitised: a point a reading."""
    _, metric, scale = _COLUMNS[column]
    frame = published.load("fig11")
    frame = frame[(frame["model"] == size.upper()) & (frame["metric"] == metric)]
    for method, label in METHODS.items():
        part = frame[frame["method"] == label.replace("-", "_")]
        ax.plot(
            part["step"], part["value"] * scale, color=METHOD_COLOURS[method], lw=1.2, ls="--",
            marker="o", ms=2.5, label=label,
        )  # fmt: skip
    _dress(ax, column, "gradient step")
    ax.set_title(f"Paper: {SIZES[size]} (Fig. 11, digitised)")
    return ax


def _dress(ax: Axes, column: str, step: str) -> None:
    ax.set(xlabel=step, ylabel=_COLUMNS[column][0])
    if column == "entropy_nats":
        log_entropy_scale(ax)
