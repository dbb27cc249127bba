"""Import what was trained elsewhere in place of a run: a run's folder, or a framework's log.

What was imported says so: the manifest's ``imported`` names the place, the kind and the columns.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from entropy_mech.config.files import identity, make_config
from entropy_mech.errors import UserError, bad_value
from entropy_mech.law.log import RunLog, read_log
from entropy_mech.law.report import performance_unit
from entropy_mech.runs.store import (
    MetricsFile,
    Run,
    atomic_write,
    folder_lock,
    now,
    read_json,
    write_json,
)


def import_run(
    run: Run,
    source: Path,
    *,
    entropy: str = "",
    performance: str = "",
    step: str = "",
    one_run: str = "",
    replace: bool = False,
) -> list[str]:
    """Store what is at ``source`` as this run and return lines that say what was imported.

    Args:
        run: in whose place it is to stand.
        source: a folder with ``config.json`` and ``metrics.jsonl``, as this package writes them,
            or a log (``theory.read_log``).
        entropy: the log's column of the entropy; found by name if empty.
        performance: the log's column of the validation accuracy; found by name if empty.
        step: the log's column of the step; found by name if empty.
        one_run: the name of one of several runs in the log.
        replace: import it although the run exists already.

    Raises:
        UserError: nothing usable there, a configuration that is not the run's (names the first
            difference), or a run that is there already.

    """
    if not source.exists():
        raise bad_value("PATH", str(source), "no such file or folder")
    with folder_lock(run.path.with_suffix(".lock")):
        if run.steps_done and not replace:
            raise UserError(
                f"run = {run.path.name}: {run.steps_done} steps of it are here already; "
                "give --replace to put the other in their place"
            )
        with atomic_write(run.path) as temporary:
            if (source / "config.json").is_file():
                return _copy_folder(run, source, temporary)
            log = read_log(source, entropy=entropy, performance=performance, step=step, run=one_run)
            return _write_log(run, source, temporary, log)


def _copy_folder(run: Run, source: Path, target: Path) -> list[str]:
    theirs = make_config(read_json(source / "config.json"))
    difference = first_difference(identity(run.config), identity(theirs))
    if difference:
        key, ours, other = difference
        raise UserError(f"{source}: not this run: {key} is {other} there and {ours} here")
    shutil.copytree(source, target)
    copy = Run(target, run.config)
    if not copy.steps_done:
        raise UserError(f"{source}: no step in metrics.jsonl; copy the folder whole")
    origin = {"from": str(source), "kind": "run", "at": now()}
    write_json(target / "manifest.json", {**copy.manifest(), "imported": origin})
    lines = [f"{min(copy.steps_done, run.config.steps)} of {run.config.steps} steps"]
    if not copy.complete:
        lines.append("it is not complete: the runner would go on with it from its checkpoint")
    return lines


def _write_log(run: Run, source: Path, target: Path, log: RunLog) -> list[str]:
    name = "reward_mean" if log.on_training_data else "validation_accuracy"
    frame, percent = _as_fractions(log)
    frame = frame.rename(columns={"performance": name})
    for column in ("validation_accuracy", "response_length_mean"):
        if column not in frame:
            frame[column] = float("nan")
    target.mkdir(parents=True)
    metrics = MetricsFile(target / "metrics.jsonl")
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        metrics.append({**row, "step": int(row["step"])})
    write_json(target / "config.json", run.config.model_dump(mode="json"))
    columns = {"entropy_nats": log.entropy_column, name: log.performance_column}
    origin = {"from": str(source), "kind": "log", "at": now(), "columns": columns}
    origin["step_column"] = log.step_column
    if percent:
        origin["percent"] = [name]
    write_json(
        target / "manifest.json",
        {"steps": int(frame["step"].iloc[-1]), "seed": run.config.seed, "imported": origin},
    )
    said = [f"{len(frame)} steps, {len(log.frame)} of them with {name}", log.columns_taken()]
    said += [f"warning: {warning}" for warning in log.warnings]
    said += [f"note: {note}" for note in log.notes]
    if percent:
        said.append(f"note: {log.performance_column!r} is in percent: divided by 100")
    if log.on_training_data:
        said.append(
            "no validation in this log: the training reward is kept as reward_mean, and "
            "validation_accuracy stays empty"
        )
    return [*said, "nobody has checked that it was trained with this run's configuration"]


def _as_fractions(log: RunLog) -> tuple[pd.DataFrame, bool]:
    """Return all steps of a log, an accuracy in percent divided by 100, and whether it was."""
    frame, name = log.every_step, "%" if log.percent else log.performance_column
    scores = frame["performance"].dropna().to_numpy()
    # The name must say so: a sum of rewards of up to 30 has the range of an accuracy too.
    named = performance_unit(np.array([0.0, 2.0]), name) == "percent"
    if named and performance_unit(scores, name) == "percent":
        return frame.assign(performance=frame["performance"] / 100.0), True
    if not log.on_training_data and not ((scores >= 0.0) & (scores <= 1.0)).all():
        raise UserError(
            f"column {log.performance_column!r}: has values outside [0, 1]; give a column of "
            "accuracies with --performance COL"
        )
    return frame, False


def first_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Return (key, ours, theirs) of the first value in which two tables differ, or None.

    >>> first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ('b.c', 2, 3)
    """
    ours, theirs = _flat(ours), _flat(theirs)
    differ = (k for k in ours | theirs if json.dumps(ours.get(k)) != json.dumps(theirs.get(k)))
    return next(((key, ours.get(key), theirs.get(key)) for key in differ), None)


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    """Return the values of nested tables by dotted keys."""
    flat = {}
    for key, value in table.items():
        inner = _flat(value) if isinstance(value, dict) else {}
        flat |= {f"{key}.{name}": one for name, one in inner.items()} or {key: value}
    return flat
