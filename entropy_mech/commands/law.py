"""``entropy-mech law LOG``: the law of your own run."""

from __future__ import annotations

from typing import Annotated

import typer

from entropy_mech.commands import number


def _column(of: str):
    return typer.Option(metavar="COL", help=f"column of the {of}")


def law(
    log: Annotated[str, typer.Argument(help="log file, or the folder of a run")],
    entropy: Annotated[str, _column("entropy, nats")] = "",
    performance: Annotated[str, _column("accuracy")] = "",
    step: Annotated[str, _column("training step")] = "",
    run: Annotated[str, typer.Option(metavar="NAME", help="one of several runs in LOG")] = "",
    at: Annotated[list[float] | None, number("forecast at these entropies", "H...")] = None,
    figure: Annotated[
        str, typer.Option(metavar="FILE", help="where to draw it (LOG's name with .law.png)")
    ] = "",
) -> int:
    """Fit the law to the log of a run.

    Coefficients, ceiling and forecasts with intervals, warnings where the law does not hold, and a
    figure. Reads CSV, JSONL, JSON, Parquet, console text, TensorBoard events and wandb exports; the
    columns of most training frameworks are known by name.
    """
    from entropy_mech.law.report import analyse_log

    report, _ = analyse_log(
        log,
        entropy=entropy,
        performance=performance,
        step=step,
        run=run,
        at_entropy_nats=at or None,
    )
    print(report.text())
    print(f"figure: {_draw(report, log, figure)}")
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
