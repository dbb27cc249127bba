"""Figure 2: how much of the entropy and of the gain the first steps take. Claims and drawing."""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published, style
from entropy_mech.paper.claims import Claim, Fact, at_least, mean_interval
from entropy_mech.paper.law_groups import LAST_VALIDATIONS, validated

# -- Claims --------------------------------------------------------------------------------------

DOMAINS = {"fig03": "maths", "fig04": "code"}
EARLY = (1 / 12, 1 / 3)  # of training: the paper's 200 and 800 of 2,400 gradient steps
MEASURES = {"entropy": "entropy spent", "gain": "gain made"}
_COLUMNS = {"entropy": "entropy_nats", "gain": "validation_accuracy"}
_GRID = tuple(np.linspace(0.0, 1.0, 61))


def by_domain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the column domain, by the figure a run belongs to; maths first."""
    if frame.empty:
        return frame
    domain = frame["run"].str.partition("_")[0].map(DOMAINS)
    return pd.concat(frame[domain == name].assign(domain=name) for name in DOMAINS.values())


def moves(frame: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
    """Return how far each run has moved by each share ``at`` of training, and in all.

    ``frame`` has run, seed, step, entropy_nats, validation_accuracy. At share t a run has done
    t x steps rollouts; between validations accuracy is interpolated, and entropy, which every
    rollout measures, between rollouts. The end is the mean from the third last validation on (in
    runs of less than six, over the later half), and stands at t = 1. Columns: run, seed, at,
    entropy (fallen, nats), gain (fraction), entropy_all, gain_all.
    """
    rows = []
    for (run, seed), part in frame.groupby(["run", "seed"], sort=False):
        part = part.sort_values("step")
        steps = part["step"].max() + 1
        late = part["step"] >= _late_from(validated(part)["step"])
        row = {"run": run, "seed": seed, "at": at}
        for name, column in _COLUMNS.items():
            known = part.dropna(subset=column)
            end = known.loc[late, column].mean()
            t = np.append(known.loc[~late, "step"] / steps, 1.0)
            values = np.append(known.loc[~late, column], end)
            sign = -1.0 if name == "entropy" else 1.0
            row[name] = sign * (np.interp(at, t, values) - known[column].iloc[0])
            row[f"{name}_all"] = sign * (end - known[column].iloc[0])
        rows.append(pd.DataFrame(row))
    return pd.concat(rows, ignore_index=True)


def shares(frame: pd.DataFrame, at: tuple[float, ...] = EARLY) -> pd.DataFrame:
    """Return, for each domain, seed and share ``at`` of training, the shares of both moves.

    A share is that of the course averaged over models: the sum of the models' moves so far over
    the sum of their whole moves. So a model that hardly moves weighs little, where the mean of
    models' own shares would be ruled by its noise. Columns: domain, seed, at, entropy, gain,
    models.
    """
    table = by_domain(frame).groupby("run")["domain"].first()
    each = moves(frame, np.asarray(at)).assign(domain=lambda f: f["run"].map(table))
    summed = each.groupby(["domain", "seed", "at"], sort=False)
    total = summed[["entropy", "gain", "entropy_all", "gain_all"]].sum()
    return pd.DataFrame(
        {
            "entropy": total["entropy"] / total["entropy_all"],
            "gain": total["gain"] / total["gain_all"],
            "models": summed["run"].nunique(),
        }
    ).reset_index()


def paper_shares() -> pd.DataFrame:
    """Return the printed shares of Fig. 2: at, entropy, gain (means of eleven runs)."""
    table = published.printed().query("place == 'fig02'").set_index("quantity")["value"]
    text = "share of the {} in the first {} of 2400 steps"
    columns = {
        name: [table[text.format(title, steps)] for steps in (200, 800)]
        for name, title in {"entropy": "entropy spent", "gain": "gain made"}.items()
    }
    return pd.DataFrame({"at": EARLY, **columns})


def published_shares() -> pd.DataFrame:
    """Return the shares of Fig. 1 left (one run, Qwen2.5-7B, digitised), as ``paper_shares``.

    Shares are of the curve's own length, about 2,500 steps; the authors smoothed it.
    """
    curves = dict(iter(published.load("fig01_left").groupby("series")))
    names = {"entropy": "training_entropy", "gain": "test_accuracy_pct"}
    return pd.DataFrame({"at": EARLY, **{k: _shares_of(curves[v]) for k, v in names.items()}})


def _shares_of(curve: pd.DataFrame) -> np.ndarray:
    first, end = curve["value"].iloc[0], curve["value"].tail(LAST_VALIDATIONS).mean()
    at = np.multiply(EARLY, curve["step"].max())
    return (np.interp(at, curve["step"], curve["value"]) - first) / (end - first)


def early_claims(frame: pd.DataFrame) -> list[Claim | Fact]:
    """Judge Fig. 2, for maths and for code; on an empty frame, the paper's own numbers."""
    if frame.empty:
        return _published_facts()
    table, paper, claims = shares(frame), paper_shares().set_index("at"), []
    bounds = {EARLY[0]: 0.5, EARLY[1]: 0.9}
    for (domain, at), part in table.groupby(["domain", "at"], sort=False):
        models = part["models"].max()
        for name, title in MEASURES.items():
            claims.append(
                Claim(
                    f"{domain.capitalize()}, {models} models: the first {_part(at)} of training "
                    f"has at least {100 * bounds[at]:.0f} % of the {title} (share)",
                    f"{paper.loc[at, name]:.2f} (mean of 11 runs, Fig. 2)",
                    mean_interval(part[name]),
                    at_least(bounds[at], contradicted_below=at),  # no faster than evenly
                )
            )
    return claims


def _published_facts() -> list[Fact]:
    printed, read = paper_shares(), published_shares()
    return [
        Fact(
            f"The first {_part(at)} of the run of Fig. 1 left has the printed share of the "
            f"{title}, within 0.1",
            f"{printed.loc[row, name]:.2f} (mean of 11 runs, Fig. 2)",
            f"{read.loc[row, name]:.2f} (Qwen2.5-7B, digitised)",
            abs(printed.loc[row, name] - read.loc[row, name]) <= 0.1,
        )
        for row, at in enumerate(EARLY)
        for name, title in MEASURES.items()
    ]


def _late_from(steps: pd.Series) -> int:
    """Return the step of the first validation that counts as the end."""
    count = max(1, min(LAST_VALIDATIONS, len(steps) // 2))
    return steps.iloc[-count]


def _part(at: float) -> str:
    return {EARLY[0]: "twelfth", EARLY[1]: "third"}[at]


# -- Drawing -------------------------------------------------------------------------------------

_PARTS = ("first 1/12", "1/12 to 1/3", "last 2/3")
_COLOURS = dict(zip(MEASURES.values(), (style.ENTROPY_COLOUR, style.ACCURACY_COLOUR), strict=True))


def early_figure(frame: pd.DataFrame) -> Figure:
    """Draw the shares of three parts of training and the whole course, a row a domain.

    Ours beside the paper's printed shares; on an empty frame the paper's stand beside those of the
    one run that could be digitised.
    """
    if frame.empty:
        run = partial(_bars, published_shares(), "Qwen2.5-7B of Fig. 1", "Paper: Fig. 2, 11 runs")
        return style.panels([[run]], width_in=7.5)
    rows = []
    for domain, part in by_domain(frame).groupby("domain", sort=False):
        title = f"{domain.capitalize()}: {part['model'].nunique()} models, {style.seeds_of(part)}"
        draws = partial(_bars, shares(part), "ours", title), partial(_courses, part, title)
        rows.append(draws)
    return style.panels(rows, row_height_in=3.9)


def _bars(table: pd.DataFrame, whose: str, title: str, ax: Axes) -> Axes:
    """Draw the share of each part of training: ``table``'s filled, the paper's hatched."""
    bars = pd.concat([_parts(paper_shares(), "paper"), _parts(table, whose)], ignore_index=True)
    order = [f"{measure}, {name}" for measure in _COLOURS for name in (whose, "paper")]
    colours = [colour for colour in _COLOURS.values() for _ in range(2)]
    sns.barplot(
        bars, x="part", y="share", hue="what", hue_order=order, palette=colours, saturation=1,
        errorbar=("pi", 100), err_kws={"lw": 1, "color": "k"}, ax=ax,
    )  # fmt: skip
    for theirs, colour in zip(ax.containers[1::2], _COLOURS.values(), strict=True):
        plt.setp(theirs, fill=False, edgecolor=colour, hatch="///")
        ax.bar_label(theirs, fmt="%.2f", fontsize="x-small", padding=1)
    ax.axhline(0.0, color="0.5", lw=0.8)
    ax.margins(y=0.12)
    ax.set(xlabel="part of training", ylabel="share of the whole move", title=title)
    ax.legend(ax.containers, order)
    return ax


def _courses(frame: pd.DataFrame, title: str, ax: Axes) -> Axes:
    """Draw both shares against the share of training done; the paper's shares as stars."""
    ours, paper = (_long(table) for table in (shares(frame, _GRID), paper_shares()))
    named = {"x": "at", "y": "share", "hue": "measure", "palette": _COLOURS, "ax": ax}
    sns.lineplot(ours, errorbar=("pi", 100), err_kws={"lw": 0}, **named)
    sns.scatterplot(paper, marker="*", s=170, legend=False, **named)
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":", label="evenly")
    ax.plot([], [], "*", color="0.4", ms=10, label="the paper's")
    ax.set_xticks([0, *EARLY, 1], labels=["0", "1/12", "1/3", "1"])
    ax.set(xlabel="share of training done", ylabel="share of the whole move", title=title)
    ax.legend(loc="lower right")
    return ax


def _long(table: pd.DataFrame) -> pd.DataFrame:
    """Return shares with a row a measure: the columns measure and share."""
    kept = [name for name in table if name not in (*MEASURES, "models")]
    return table.rename(columns=MEASURES).melt(kept, list(_COLOURS), "measure", "share")


def _parts(table: pd.DataFrame, whose: str) -> pd.DataFrame:
    """Turn shares up to 1/12 and 1/3 into those of the three parts, a row a part and measure."""
    table = table if "seed" in table else table.assign(seed=0)
    first, third = (table[table["at"] == at].set_index("seed")[list(MEASURES)] for at in EARLY)
    parts = dict(zip(_PARTS, (first, third - first, 1.0 - third), strict=True))
    shares = _long(pd.concat(parts, names=["part"]).reset_index())
    return shares.assign(what=shares["measure"] + f", {whose}")
