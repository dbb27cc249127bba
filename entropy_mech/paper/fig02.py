"""Figure 2: how much of the entropy and of the gain the first steps take. Claims and drawing."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published
from entropy_mech.paper.claims import Claim, Fact, over_replicates
from entropy_mech.paper.law_groups import LAST_VALIDATIONS, validated
from entropy_mech.paper.models import BASE_MODELS
from entropy_mech.paper.style import ACCURACY_COLOUR, ENTROPY_COLOUR, panels, seeds_of

# -- Claims --------------------------------------------------------------------------------------

DOMAINS = {"fig03": "maths", "fig04": "code"}
EARLY = (1 / 12, 1 / 3)  # of training: the paper's 200 and 800 of 2,400 gradient steps
MEASURES = {"entropy": "entropy spent", "gain": "gain made"}
_COLUMNS = {"entropy": "entropy_nats", "gain": "validation_accuracy"}
_GRID = np.linspace(0.0, 1.0, 61)
_LEAST_MOVE = 0.02  # nats, and accuracy: below it a model's own share is noise over noise


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


def courses(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``shares`` on a fine grid from 0 to 1, for drawing."""
    return shares(frame, tuple(_GRID)) if len(frame) else pd.DataFrame()


def shares_by_model(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each model's own moves and shares, means over seeds; a tiny move has no share."""
    if frame.empty:
        return pd.DataFrame()
    labels = by_domain(frame).groupby("run")[["domain", "model"]].first()
    means = moves(frame, np.array(EARLY)).groupby(["run", "at"], sort=False).mean().reset_index()
    rows = {}
    for row in means.itertuples():
        entry = rows.setdefault(
            row.run,
            {"domain": labels.loc[row.run, "domain"],
             "model": BASE_MODELS[labels.loc[row.run, "model"]].label,
             "entropy spent (nats)": row.entropy_all, "gain (fraction)": row.gain_all,
             "note": ""},
        )  # fmt: skip
        for name, title in MEASURES.items():
            move, whole = getattr(row, name), getattr(row, f"{name}_all")
            entry[f"{title}, first {_part(row.at)}"] = (
                move / whole if whole > _LEAST_MOVE else np.nan
            )
            if whole <= _LEAST_MOVE and title not in entry["note"]:
                entry["note"] += f"{title}: moved less than {_LEAST_MOVE} or backwards. "
    table = pd.DataFrame(rows.values())
    return table[[*(c for c in table if c != "note"), "note"]]


def paper_shares() -> pd.DataFrame:
    """Return the printed shares of Fig. 2: at, entropy, gain (means of eleven runs)."""
    table = published.printed().query("place == 'fig02'").set_index("quantity")["value"]
    rows = []
    for at, steps in zip(EARLY, (200, 800), strict=True):
        rows.append(
            {
                "at": at,
                "entropy": table[f"share of the entropy spent in the first {steps} of 2400 steps"],
                "gain": table[f"share of the gain made in the first {steps} of 2400 steps"],
            }
        )
    return pd.DataFrame(rows)


def published_shares() -> pd.DataFrame:
    """Return the shares of Fig. 1 left (one run, Qwen2.5-7B, digitised), as ``paper_shares``.

    Shares are of the curve's own length, about 2,500 steps; the authors smoothed it.
    """
    rows = {at: {"at": at} for at in EARLY}
    series = published.load("fig01_left").groupby("series")
    names = {"training_entropy": "entropy", "test_accuracy_pct": "gain"}
    for series_name, name in names.items():
        part = series.get_group(series_name).sort_values("step")
        first, end = part["value"].iloc[0], part["value"].tail(LAST_VALIDATIONS).mean()
        for at in EARLY:
            value = np.interp(at * part["step"].max(), part["step"], part["value"])
            rows[at][name] = float((value - first) / (end - first))
    return pd.DataFrame(rows.values())


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
                over_replicates(
                    f"{domain.capitalize()}, {models} models: the first {_part(at)} of training "
                    f"has at least {100 * bounds[at]:.0f} % of the {title} (share)",
                    f"{paper.loc[at, name]:.2f} (mean of 11 runs, Fig. 2)",
                    part[name],
                    holds=(bounds[at], inf),
                    contradicted=(-inf, at),  # no faster than evenly
                )
            )
    return claims


def _published_facts() -> list[Fact]:
    printed, read = paper_shares(), published_shares()
    facts = []
    for (_, paper), (_, ours) in zip(printed.iterrows(), read.iterrows(), strict=True):
        for name, title in MEASURES.items():
            facts.append(
                Fact(
                    f"The first {_part(paper['at'])} of the run of Fig. 1 left has the printed "
                    f"share of the {title}, within 0.1",
                    f"{paper[name]:.2f} (mean of 11 runs, Fig. 2)",
                    f"{ours[name]:.2f} (Qwen2.5-7B, digitised)",
                    abs(paper[name] - ours[name]) <= 0.1,
                )
            )
    return facts


def _late_from(steps: pd.Series) -> int:
    """Return the step of the first validation that counts as the end."""
    count = max(1, min(LAST_VALIDATIONS, len(steps) // 2))
    return steps.iloc[-count]


def _part(at: float) -> str:
    return {EARLY[0]: "twelfth", EARLY[1]: "third"}[at]


# -- Drawing -------------------------------------------------------------------------------------

_COLOURS = {"entropy": ENTROPY_COLOUR, "gain": ACCURACY_COLOUR}
_PARTS = ("first 1/12", "1/12 to 1/3", "last 2/3")
_WIDTH = 0.2


def early_figure(frame: pd.DataFrame) -> Figure:
    """Draw the shares of three parts of training and the whole course, a row a domain.

    Ours beside the paper's printed shares; on an empty frame the paper's stand beside those of the
    one run that could be digitised.
    """
    if frame.empty:
        return panels([[partial(_bars, None, "Paper: Fig. 2, mean of 11 runs")]], width_in=7.5)
    frame = by_domain(frame)
    rows = []
    for domain, part in frame.groupby("domain", sort=False):
        title = f"{domain.capitalize()}: {part['model'].nunique()} models, {seeds_of(part)}"
        rows.append([partial(_bars, part, title), partial(_courses, part, title)])
    return panels(rows, row_height_in=3.9)


def _bars(frame: pd.DataFrame | None, title: str, ax: Axes) -> Axes:
    """Draw bars of each part's share: ours filled, the paper's hatched, side by side."""
    x, paper = np.arange(len(_PARTS)), _parts(paper_shares())
    for i, (name, label) in enumerate(MEASURES.items()):
        colour, left = _COLOURS[name], x + (2 * i - 1.5) * _WIDTH
        theirs = {"fill": False, "edgecolor": colour, "hatch": "///", "label": f"{label}, paper"}
        if frame is None:
            run = {"color": colour, "alpha": 0.75, "label": f"{label}, Qwen2.5-7B of Fig. 1"}
            ax.bar(left, _parts(published_shares())[name], _WIDTH, **run)
        else:
            seeds = [_parts(part)[name] for _, part in shares(frame).groupby("seed")]
            mean, low, high = (f(seeds, axis=0) for f in (np.mean, np.min, np.max))
            ax.bar(left, mean, _WIDTH, color=colour, label=f"{label}, ours")
            ax.vlines(left, low, high, color="k", lw=1)
        bars = ax.bar(left + _WIDTH, paper[name], _WIDTH, **theirs)
        ax.bar_label(bars, [f"{v:.2f}" for v in paper[name]], fontsize="x-small", padding=1)
    ax.axhline(0.0, color="0.5", lw=0.8)
    ax.margins(y=0.12)
    ax.set_xticks(x, labels=_PARTS)
    ax.set(xlabel="part of training", ylabel="share of the whole move", title=title)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _courses(frame: pd.DataFrame, title: str, ax: Axes) -> Axes:
    """Draw both shares against the share of training done; the paper's shares as stars."""
    table, paper = courses(frame), paper_shares()
    for name, label in MEASURES.items():
        by_share = table.groupby("at")[name]
        mean, colour = by_share.mean(), _COLOURS[name]
        ax.fill_between(mean.index, by_share.min(), by_share.max(), color=colour, alpha=0.18, lw=0)
        ax.plot(mean.index, mean, color=colour, lw=1.6, label=f"{label}, ours")
        ax.plot(paper["at"], paper[name], "*", ms=11, mfc="none", mec=colour,
                label=f"{label}, paper")  # fmt: skip
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":", label="evenly")
    ax.set_xticks([0, *EARLY, 1], labels=["0", "1/12", "1/3", "1"])
    ax.set(xlabel="share of training done", ylabel="share of the whole move", title=title)
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def _parts(table: pd.DataFrame) -> pd.DataFrame:
    """Turn shares up to 1/12 and 1/3 into those of the three parts, in order."""
    table = table.sort_values("at")[list(MEASURES)].reset_index(drop=True)
    table.loc[len(table)] = 1.0
    return table.diff().fillna(table.iloc[[0]])
