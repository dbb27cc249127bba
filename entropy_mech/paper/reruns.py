"""Who else ran Clip-Cov and KL-Cov, and what they measured. The ledger, its claims and drawing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropy_mech.paper import published, style
from entropy_mech.paper.claims import Fact
from entropy_mech.paper.fig11 import METHODS as NAMES

# -- The ledger ----------------------------------------------------------------------------------

PAPER = "the paper"
METHODS = ("clip_cov", "kl_cov")
_SAME = ["source", "model", "protocol", "metric"]  # scores are compared within these alone


def ledger() -> pd.DataFrame:
    """Return every score, a row each; the paper's own (the printed Avg. of Table 2) come first.

    Columns: source, arxiv, origin (``own runs``, ``second hand``: read elsewhere than in its
    source, ``copied``: the paper's digits), model, parameters_billion, protocol, metric
    (``mean score``, ``one benchmark``, ``diversity``: pass@k at large k), baseline (which of a
    source's GRPO runs), method (``own``: the source's), score (points), note.

    >>> ledger().groupby("origin")["source"].nunique().to_dict()
    {'copied': 1, 'own runs': 8, 'second hand': 1, 'the paper': 1}
    """
    path = Path(__file__).parent / "data" / "reruns.csv"
    others = pd.read_csv(path, dtype={"arxiv": str})
    texts = others.columns.difference(["parameters_billion", "score"])
    others[texts] = others[texts].fillna("")
    return pd.concat([_papers_rows(), others], ignore_index=True)


def _papers_rows() -> pd.DataFrame:
    table = published.table2().reset_index()
    return pd.DataFrame(
        {
            "source": PAPER,
            "arxiv": "2505.22617",
            "origin": PAPER,
            "model": "Qwen2.5-" + table["model"],
            "parameters_billion": table["model"].str.removesuffix("B").astype(float),
            "protocol": "7 benchmarks",
            "metric": "mean score",
            "baseline": "",
            "method": table["method"].str.lower(),
            "score": table["printed_average"],
            "note": "printed average of Table 2",
        }
    )


def margins(table: pd.DataFrame, over: str) -> pd.DataFrame:
    """Return points of Clip-Cov and KL-Cov over a method of the same source, model and protocol.

    A source with two GRPO runs gives two margins. Columns: those of the ledger, margin, and
    ``label``, what a row of a picture is called.

    >>> margins(ledger(), "grpo").query("source == 'the paper'")["margin"].round(1).tolist()
    [1.8, 2.0, 4.5, 6.4]
    """
    base = table.loc[table["method"] == over, [*_SAME, "baseline", "score"]]
    ours = table[table["method"].isin(METHODS)].drop(columns="baseline")
    both = ours.merge(base, on=_SAME, suffixes=("", "_over"))
    both = both.dropna(subset=["score", "score_over"])
    named = both["metric"] != "mean score"
    what = both["protocol"].str.partition(",")[0].where(named, "")
    extra = [" ".join(filter(None, pair)) for pair in zip(what, both["baseline"], strict=True)]
    label = both["source"] + ": " + both["model"]
    label += [f" ({text})" if text else "" for text in extra]
    return both.assign(margin=both["score"] - both["score_over"], label=label)


def rerun_margins(table: pd.DataFrame, over: str, method: str) -> pd.DataFrame:
    """Return the margins in mean score of one method that are not the paper's."""
    mean_scores = table[(table["metric"] == "mean score") & (table["source"] != PAPER)]
    return margins(mean_scores, over).query("method == @method")


# -- Claims --------------------------------------------------------------------------------------

_CLOSE = 5.0  # points on one of the AIME's 30 problems, within which a score is the same again


def rerun_facts(table: pd.DataFrame) -> list[Fact]:
    """Say what reproduces (scores, diversity) and what does not (margins, Clip-Cov's safety)."""
    kl = rerun_margins(table, "grpo", "kl_cov")
    large = kl.loc[kl["parameters_billion"] == 32, "margin"]
    return [
        _scores_again(table, "kl_cov"),
        _scores_again(table, "grpo"),
        _above(kl, 2.0, "KL-Cov's margin over GRPO reproduces: 2.0 points or more",
               "+2.0 at 7B, +6.4 at 32B (abstract)"),
        Fact("At 32B, where the paper gains most, KL-Cov's margin over GRPO is half of the paper's "
             "or more",
             "+6.4",
             f"{large.min():+.1f} and {large.max():+.1f} (over on-policy and off-policy GRPO)",
             bool(large.min() >= 3.2)),
        _above(kl, 0.0, "KL-Cov beats GRPO", "+2.0 and +6.4"),
        _above(rerun_margins(table, "clip_higher", "kl_cov"), 0.0,
               "KL-Cov beats clip-higher", "+1.8 and +5.0"),
        _above(rerun_margins(table, "grpo", "clip_cov"), 0.0,
               "Clip-Cov beats GRPO", "+1.8 and +4.5"),
        _pair(table, 1.7, "untrained", "Clip-Cov at 1.7B ends above the untrained model"),
        _pair(table, 14, "grpo", "Clip-Cov at 14B ends above GRPO (second hand)"),
        _diversity(table),
        _own_methods(table),
    ]  # fmt: skip


def _scores_again(table: pd.DataFrame, method: str) -> Fact:
    rows = table[(table["source"] == "Lp-Reg") & (table["metric"] == "one benchmark")]
    rows = rows[rows["method"] == method]
    paper = published.table2().loc[("32B", NAMES[method].replace("-", "_")), ["AIME24", "AIME25"]]
    again = rows.set_index(rows["protocol"].str.partition(",")[0])["score"][paper.index]
    return Fact(
        f"{NAMES[method]} at 32B scores the same again: AIME24 and AIME25 within {_CLOSE:.0f} "
        "points",
        " and ".join(f"{value:.1f}" for value in paper),
        " and ".join(f"{value:.1f}" for value in again) + " (Lp-Reg)",
        bool((again - paper).abs().max() <= _CLOSE),
    )


def _above(found: pd.DataFrame, least: float, statement: str, paper: str) -> Fact:
    margin, sources = found["margin"], found["source"].str.partition(" (")[0].nunique()
    count = int((margin >= least).sum() if least else (margin > 0).sum())
    return Fact(
        f"{statement} in every re-run (points)",
        paper,
        f"in {count} of {len(margin)} comparisons of {sources} sources; median "
        f"{margin.median():+.1f}, from {margin.min():+.1f} to {margin.max():+.1f}",
        count == len(margin),
    )


def _pair(table: pd.DataFrame, parameters_billion: float, over: str, statement: str) -> Fact:
    row = margins(table[table["parameters_billion"] == parameters_billion], over)
    row = row[(row["method"] == "clip_cov") & (row["metric"] == "mean score")].iloc[0]
    return Fact(
        statement,
        "not run at this size",
        f"{row['score']:.1f} against {row['score_over']:.1f} ({row['source']}, {row['model']})",
        bool(row["margin"] > 0),
    )


def _diversity(table: pd.DataFrame) -> Fact:
    found = margins(table[table["metric"] == "diversity"], "grpo")
    numbers = ", ".join(
        f"{NAMES[row.method]} {row.margin:+.1f} ({row.protocol}, {row.source})"
        for row in found.itertuples()
    )
    return Fact(
        "Diversity reproduces: pass@k at large k above GRPO's in every re-run that has it (points)",
        "entropy more than ten times GRPO's (section 4.4)",
        numbers,
        bool((found["margin"] > 0).all()),
    )


def _own_methods(table: pd.DataFrame) -> Fact:
    """Every re-run is the baseline of somebody's new method: the reader should know."""
    groups = table[table["metric"] != "diversity"].groupby(_SAME, sort=False)
    wins = [
        scores["own"] > max(scores.get(method, 0.0) for method in METHODS)
        for _, part in groups
        if "own" in (scores := dict(zip(part["method"], part["score"], strict=True)))
    ]
    return Fact(
        "The methods are baselines: each source has one of its own, and it ends above both",
        "-",
        f"in {sum(wins)} of {len(wins)} comparisons",
        all(wins),
    )


# -- Drawing -------------------------------------------------------------------------------------


def forest_figure(table: pd.DataFrame) -> Figure:
    """Draw the margins over GRPO and over clip-higher, a row a comparison."""
    scores = table[table["metric"] != "diversity"]
    draws = [
        partial(forest, margins(scores, over), title=f"Margin over {NAMES[over]}")
        for over in ("grpo", "clip_higher")
    ]
    return style.panels([draws], width_in=14, row_height_in=5.2)


def again_figure(table: pd.DataFrame) -> Figure:
    """Draw what reproduces: diversity over GRPO's, and KL-Cov's scores at 32B."""
    found = margins(table[table["metric"] == "diversity"], "grpo")
    diversity = partial(forest, found, title="Diversity: pass@k over GRPO's")
    return style.panels([[diversity, partial(scores_at_32b, table)]], width_in=14)


def forest(found: pd.DataFrame, ax: Axes, *, title: str) -> Axes:
    """Draw margins, a row a comparison; open markers were not read in their source."""
    labels = list(dict.fromkeys(found["label"]))
    for method in METHODS:
        part, colour = found[found["method"] == method], style.METHOD_COLOURS[method]
        hollow = part["origin"] == "second hand"
        for rows, face, name in ((part[~hollow], colour, NAMES[method]), (part[hollow], "w", None)):
            ax.scatter(rows["margin"], [labels.index(label) for label in rows["label"]], s=46,
                       marker="s" if method == "kl_cov" else "o", zorder=3, linewidths=1.5,
                       edgecolors=colour, facecolors=face, label=name)  # fmt: skip
    if (found["origin"] == "second hand").any():
        ax.scatter([], [], marker="o", facecolors="white", edgecolors="0.3", label="second hand")
    paper = sum(label.startswith(PAPER) for label in labels)
    ax.axhspan(-0.5, paper - 0.5, color="0.92", zorder=0)
    ax.axvline(0.0, color="0.4", lw=1)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlabel="margin (percentage points)", title=title)
    ax.legend(loc="best")
    return ax


def scores_at_32b(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the paper's AIME scores at 32B beside those of the re-run."""
    again = table[(table["source"] == "Lp-Reg") & (table["metric"] == "one benchmark")]
    again = again.assign(benchmark=again["protocol"].str.partition(",")[0])
    paper = published.table2().loc["32B", ["AIME24", "AIME25"]].reset_index()
    paper = paper.melt("method", var_name="benchmark", value_name="score")
    paper = paper.assign(method=paper["method"].str.lower(), source=PAPER)
    both = pd.concat([paper, again])[["source", "method", "benchmark", "score"]]
    both = both[both["method"].isin(["grpo", "kl_cov"])]
    both["what"] = both["method"].map(NAMES) + ", " + both["source"]
    colours = {"GRPO": style.METHOD_COLOURS["grpo"], "KL-Cov": style.METHOD_COLOURS["kl_cov"]}
    order = [f"{name}, {source}" for name in colours for source in (PAPER, "Lp-Reg")]
    palette = {what: colours[what.partition(",")[0]] for what in order}
    sns.barplot(both, x="benchmark", y="score", hue="what", hue_order=order, palette=palette, ax=ax)
    again = [bar for bars in ax.containers[1::2] for bar in bars]
    plt.setp([*again, *ax.get_legend().legend_handles[1::2]], alpha=0.45)
    ax.set(xlabel="", ylabel="score (%)", ylim=(0, 55), title="Qwen2.5-32B: the same scores again?")
    ax.get_legend().set_title(None)
    return ax
