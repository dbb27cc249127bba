"""What the toy world is asked to do, measured on the kept runs: python benchmarks/toy_world.py.

Prints the tables under "What it does" in docs/toy-world.md. Intervals are Student's 95 % over
seeds: the base models are one each, as the paper's are, and the seeds are of the problems drawn and
the answers sampled.
"""

from __future__ import annotations

import math

import pandas as pd

from entropy_mech.law.fit import fit_law, straight_line
from entropy_mech.paper.claims import Interval, mean_interval, ratio_interval
from entropy_mech.paper.fig08_tab01 import covariance_tail
from entropy_mech.paper.law_groups import LAST_VALIDATIONS
from entropy_mech.paper.published import model_of_run
from entropy_mech.reproduction import open_report

LAST_ROLLOUTS = 5
AT_NATS = 0.2  # an entropy that all sizes pass
QWEN = [f"Qwen2.5-{size}" for size in ("0.5B", "1.5B", "3B", "7B", "32B")]
ENDS = ("R, start", "R, end", "H, start", "H, end", "H, start over end")
LAW = ("a", "b", "R at 0.2 nats", "R^2", "R^2 of a line", "last third's gain")


def main() -> None:
    """Print the conditions, then two tables for maths and two for code."""
    tables = {subject: measured(target) for subject, target in
              (("Maths", "fig03"), ("Code", "fig04"))}  # fmt: skip
    print(_lines(("asked", "measured"), conditions(tables["Maths"], tables["Code"])))
    for subject, runs in tables.items():
        for columns in (ENDS, LAW):
            cells = [
                (model, *(_plus_minus(_interval(part, column)) for column in columns))
                for model, part in runs.groupby("model", sort=False)
            ]
            print(f"\n{subject}, {runs['seed'].nunique()} seeds\n")
            print(_lines(("stands for", *columns), cells))


def measured(target: str) -> pd.DataFrame:
    """Return one row a kept run of a target: its ends, its law, its seconds."""
    report = open_report(target, profile="kept")
    seconds = {
        (name, run.config.seed): run.manifest()["wall_time_s"]
        for name, run in zip(report.names, report.runs, strict=True)
    }
    runs = report.metrics().groupby(["run", "seed"], sort=False)
    return pd.DataFrame([_row(key, run.sort_values("step"), seconds[key]) for key, run in runs])


def _row(key: tuple[str, int], run: pd.DataFrame, seconds: float) -> dict[str, object]:
    points = run.dropna(subset="validation_accuracy")
    h, r = points["entropy_nats"].to_numpy(), points["validation_accuracy"].to_numpy()
    law = fit_law(h, r)
    end_h = run["entropy_nats"].tail(LAST_ROLLOUTS).mean()
    end_r = r[-LAST_VALIDATIONS:].mean()
    two_thirds = r[len(r) * 2 // 3 - LAST_VALIDATIONS : len(r) * 2 // 3].mean()
    at = law.b - law.a * math.exp(AT_NATS)
    ends = dict(zip(ENDS, (r[0], end_r, h[0], end_h, h[0] / end_h), strict=True))
    line = straight_line(h, r)[3]
    fitted = dict(zip(LAW, (law.a, law.b, at, law.r2, line, end_r - two_thirds), strict=True))
    return {"model": model_of_run(key[0]).label, "seed": key[1], "seconds": seconds} | ends | fitted


def conditions(maths: pd.DataFrame, code: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what was asked of the world beside what the kept runs show."""
    tail = covariance_tail(open_report("tab01", profile="kept").tokens(0)).pivot(
        index="seed", columns="top_fraction", values="mean_covariance"
    )
    both = pd.concat([maths.assign(subject="maths"), code.assign(subject="code")])
    means = both.groupby(["model", "subject"])[list(ENDS)].mean()
    seven = maths.query("model == 'Qwen2.5-7B'")
    steps = "the five Qwen2.5 stand-ins in order, each step above two standard errors: "
    return [
        *((steps + column, _steps(maths, column)) for column in (ENDS[0], ENDS[1], LAW[2])),
        ("no model of the eleven stays at chance",
         f"lowest accuracy at the end {means[ENDS[1]].min():.3f}, at the start "
         f"{means[ENDS[0]].min():.3f}"),
        ("7B: entropy falls tenfold", f"{ratio_interval(seven[ENDS[4]])} times"),
        ("7B: the last third gains little", f"{mean_interval(seven[LAW[5]])}"),
        ("the top 0.2 % of tokens have 100 times the mean covariance at the first step",
         f"{ratio_interval(tail[0.002] / tail[1.0])} times, {len(tail)} seeds"),
        ("entropy starts at 0.3 nats or more",
         f"lowest of the {len(means)} means {means[ENDS[2]].min():.3f}"),
        ("a full run takes two minutes of one core at most",
         f"median {both['seconds'].median():.0f} s of {len(both)} runs"),
    ]  # fmt: skip


def _steps(runs: pd.DataFrame, column: str) -> str:
    """Return the differences between neighbouring sizes, seed by seed, and in standard errors."""
    steps = runs.pivot(index="seed", columns="model", values=column)[QWEN].diff(axis=1)[QWEN[1:]]
    return ", ".join(f"{s.mean():+.3f} ({s.mean() / s.sem():.1f})" for _, s in steps.items())


def _interval(part: pd.DataFrame, column: str) -> Interval:
    return (ratio_interval if column == ENDS[4] else mean_interval)(part[column])


def _plus_minus(found: Interval) -> str:
    if found.high - found.estimate > 1.001 * (found.estimate - found.low):  # of a ratio
        return f"{found.estimate:.1f} [{found.low:.1f}, {found.high:.1f}]"
    return f"{found.estimate:.3f} +- {found.high - found.estimate:.3f}"


def _lines(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rows = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
