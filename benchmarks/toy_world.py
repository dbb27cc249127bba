"""What the toy world is asked to do, measured on the kept runs: python benchmarks/toy_world.py.

Prints the tables of docs/toy-world.md. Intervals are Student's 95 % over seeds: the base models are
one each, as the paper's are, and the seeds are of the problems drawn and the answers sampled.
"""

from __future__ import annotations

import pandas as pd

from entropy_mech.law.fit import fit_law, straight_line
from entropy_mech.paper.claims import mean_interval, ratio_interval
from entropy_mech.paper.fig08_tab01 import covariance_tail
from entropy_mech.paper.law_groups import LAST_VALIDATIONS
from entropy_mech.paper.published import model_of_run
from entropy_mech.reproduction import open_report

LAST_ROLLOUTS = 5
COLUMNS = ("R at the start", "R at the end", "H at the start", "H at the end", "fold", "a", "b",
           "R^2 of exp(H)", "R^2 of a line", "gain of the last third", "seconds")  # fmt: skip


def main() -> None:
    """Print one table for maths, one for code, and the tail of the covariance."""
    for target in ("fig03", "fig04"):
        report = open_report(target, profile="kept")
        seconds = {
            (name, run.config.seed): run.manifest()["wall_time_s"]
            for name, run in zip(report.names, report.runs, strict=True)
        }
        rows = [
            _row(key, part.sort_values("step"), seconds[key])
            for key, part in report.metrics().groupby(["run", "seed"], sort=False)
        ]
        print(f"\n{report.target.title}\n\n{_table(pd.DataFrame(rows))}")
    tail = covariance_tail(open_report("tab01", profile="kept").tokens(0))
    print(f"\nCovariance at the first step, by seed\n\n{tail.to_string()}")


def _row(key: tuple[str, int], run: pd.DataFrame, seconds: float) -> dict[str, object]:
    points = run.dropna(subset="validation_accuracy")
    h, r = points["entropy_nats"].to_numpy(), points["validation_accuracy"].to_numpy()
    law = fit_law(h, r)
    end_h = run["entropy_nats"].tail(LAST_ROLLOUTS).mean()
    end_r = r[-LAST_VALIDATIONS:].mean()
    two_thirds = r[len(r) * 2 // 3 - LAST_VALIDATIONS : len(r) * 2 // 3].mean()
    values = (r[0], end_r, h[0], end_h, h[0] / end_h, law.a, law.b, law.r2,
              straight_line(h, r)[3], end_r - two_thirds, seconds)  # fmt: skip
    return {"run": key[0], **dict(zip(COLUMNS, values, strict=True))}


def _table(rows: pd.DataFrame) -> str:
    lines = ["| stands for | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for run, part in rows.groupby("run", sort=False):
        cells = [str((ratio_interval if c == "fold" else mean_interval)(part[c])) for c in COLUMNS]
        lines.append(f"| {model_of_run(run).label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
