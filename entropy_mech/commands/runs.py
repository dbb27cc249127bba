"""``entropy-mech runs``: the runs in the store, and how far they are."""

from __future__ import annotations

import json
import time
from typing import Annotated

import pandas as pd

from entropy_mech.commands import switch, text
from entropy_mech.runs.status import STATES, list_runs
from entropy_mech.runs.store import RunStore, default_store

_WIDTH = 100
_SEPARATOR = "  "
# Columns that may be cut, and how far.
_NARROWEST = {"model": 6, "method": 12}


def runs(
    state: Annotated[str | None, text(f"only these: {', '.join(STATES)}", "STATE")] = None,
    name: Annotated[
        str | None, text("only runs whose id starts so, or whose method has it", "TEXT")
    ] = None,
    as_json: Annotated[bool, switch("all of it, for programs", "--json")] = False,
) -> int:
    """List the runs and how far they are, most recently changed first."""
    store = default_store()
    frame = list_runs(store, state=state, name=name)
    if as_json:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        print(json.dumps(records, indent=1))
        return 0
    print(_table(frame) if len(frame) else _nothing(store, state, name))
    for row in frame[frame["state"].isin(["failed", "damaged"])].itertuples():
        print(_cut(f"{row.id[:8]} {row.state}: {row.error}", _WIDTH))
    return 0


def _nothing(store: RunStore, state: str | None, name: str | None) -> str:
    count = len(list_runs(store))
    if count:
        asked = {"state": state, "name": name}
        said = ", ".join(f"{key} {value}" for key, value in asked.items() if value is not None)
        return f"none of the {count} runs in {store.root} has {said}"
    return f"no runs in {store.root}; make one with: entropy-mech train reproduce/runs/grpo.toml"


def _table(frame: pd.DataFrame) -> str:
    now = time.time()
    rows = [
        {
            "id": row.id[:8],
            "state": row.state,
            "method": f"{row.algorithm} {row.method}".strip(),
            "model": row.model,
            "seed": "" if pd.isna(row.seed) else f"{row.seed:.0f}",
            "steps": f"{row.steps_done}/{row.steps_total or '?'}",
            "left": _short(row.time_left_s),
            "entropy": _number(row.entropy_nats),
            "accuracy": _number(row.validation_accuracy),
            "moved": f"{_short(max(now - row.updated, 0))} ago",
        }
        for row in frame.itertuples()
    ]
    widths = _widths(rows)
    lines = [{name: name for name in rows[0]}, *rows]
    return "\n".join(
        _SEPARATOR.join(_cut(text, widths[name]).ljust(widths[name]) for name, text in row.items())
        .rstrip()
        for row in lines
    )  # fmt: skip


def _widths(rows: list[dict[str, str]]) -> dict[str, int]:
    """Return each column's width; those that may be cut give way until a line fits."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for name, narrowest in _NARROWEST.items():
        over = sum(widths.values()) + len(_SEPARATOR) * (len(widths) - 1) - _WIDTH
        widths[name] = max(min(widths[name], narrowest), widths[name] - max(over, 0))
    return widths


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _short(seconds: float) -> str:
    """Return a duration in its largest unit.

    >>> _short(59), _short(60), _short(7300), _short(200000), _short(float("nan"))
    ('59 s', '1 min', '2 h', '2 d', '')
    """
    if pd.isna(seconds):
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
