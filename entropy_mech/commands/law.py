"""``entropy-mech law LOG``: the law of your own run."""

from __future__ import annotations

import argparse


def register(commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "law",
        help="fit R = -a exp(H) + b to the log of a run",
        description=(
            "Fit the law to the log of a run: coefficients, ceiling and forecasts with intervals, "
            "warnings where the law does not hold, and a figure. Reads CSV, JSONL, JSON, Parquet, "
            "console text, TensorBoard events and wandb exports; the columns of most training "
            "frameworks are known by name."
        ),
        epilog="example: entropy-mech law run.jsonl --performance val-core/math/acc/mean@1",
    )
    parser.add_argument("log", metavar="LOG", help="log file, or the folder of a run")
    parser.add_argument("--entropy", default="", metavar="COL", help="column of the entropy, nats")
    parser.add_argument("--performance", default="", metavar="COL", help="column of the accuracy")
    parser.add_argument("--step", default="", metavar="COL", help="column of the training step")
    parser.add_argument(
        "--run", dest="one_run", default="", metavar="NAME", help="one of several runs in LOG"
    )
    parser.add_argument(
        "--at", type=float, nargs="+", default=[], metavar="H", help="forecast at these entropies"
    )
    parser.add_argument(
        "--figure", default="", metavar="FILE", help="where to draw it (LOG's name with .law.png)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report and write the figure."""
    from entropy_mech.law.report import analyse_log, check_forecast_entropies

    report, _ = analyse_log(
        arguments.log,
        entropy=arguments.entropy,
        performance=arguments.performance,
        step=arguments.step,
        run=arguments.one_run,
        at_entropy_nats=check_forecast_entropies(arguments.at),
    )
    print(report.text())
    print(f"figure: {_draw(report, arguments.log, arguments.figure)}")
    return 0


def _draw(report, log: str, figure: str):
    from pathlib import Path

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from entropy_mech.errors import bad_value
    from entropy_mech.paper.law_of_run import law_of_run
    from entropy_mech.runs.store import atomic_write

    path = Path(figure) if figure else Path(f"{Path(log).stem or 'run'}.law.png")
    fig = Figure(figsize=(7.5, 4.8), layout="constrained")
    FigureCanvasAgg(fig)
    law_of_run(report, fig.subplots())
    try:
        with atomic_write(path) as temporary:
            fig.savefig(temporary, dpi=150)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise bad_value("--figure", str(path), f"cannot be written ({reason})") from None
    return path
