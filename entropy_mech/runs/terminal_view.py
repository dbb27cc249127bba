"""A run watched in a terminal: one line while it trains, a few when it has ended."""

from __future__ import annotations

import sys
from typing import TextIO

import pandas as pd

from entropy_mech.errors import UserError
from entropy_mech.runs.handle import RunHandle
from entropy_mech.runs.progress import ProgressLine
from entropy_mech.runs.watch import RunStatus, pause

_POLL_S = 0.5
_BARS = "▁▂▃▄▅▆▇█"
_BARS_WIDTH = 40
_SHOWN = {"entropy_nats": "entropy", "validation_accuracy": "accuracy"}


def follow_in_terminal(handle: RunHandle, stream: TextIO | None = None) -> RunStatus:
    """Show how far a run is until nobody trains it; return how it ended.

    An interrupt is the caller's: the run does not notice.

    Raises:
        UserError: nobody has ever started it.

    """
    stream = stream or sys.stdout
    line = ProgressLine(stream)
    status = handle.status
    if status.state == "new":
        raise UserError(f"{handle.name}: not started yet (entropy-mech train, or launch)")
    if status.in_work:
        line.note(str(status))
    while status.in_work:
        line.show(status.fraction, _words(status), status.left_s if status.left_s >= 0 else None)
        pause(_POLL_S)
        status = handle.status
    metrics = handle.metrics()
    for column, name in _SHOWN.items():
        if column in metrics:
            line.note(_history(name, metrics[column].dropna(), stream))
    if status.state != "failed":  # an error is the caller's to say, on the error stream
        line.note(f"{status} ({handle.run.path})")
    return status


def _words(status: RunStatus) -> str:
    if not status.done:
        return str(status).partition(", about ")[0]
    words = f"rollout {status.done}/{status.total}, entropy {status.entropy_nats:.3f} nats"
    return words if status.accuracy != status.accuracy else f"{words}, acc. {status.accuracy:.3f}"


def _history(name: str, values: pd.Series, stream: TextIO) -> str:
    """Return one line: first and last value, and the course between them where it can be shown."""
    if values.empty:
        return f"{name}: not measured yet"
    bars = sparkline(values)
    try:
        bars.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        bars = "to"
    return f"{name:8} {values.iloc[0]:.3f} {bars} {values.iloc[-1]:.3f}"


def sparkline(values: pd.Series, width: int = _BARS_WIDTH) -> str:
    """Return the course of a series as bars between its lowest and its highest value.

    >>> sparkline(pd.Series([0.0, 0.5, 1.0]))
    '▁▅█'
    """
    count = len(values)
    at = [values.iloc[i * count // min(width, count)] for i in range(min(width, count))]
    low, span = min(at), (max(at) - min(at)) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in at)
