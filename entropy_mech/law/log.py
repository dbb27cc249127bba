"""Read entropy and performance of one run out of a training log, whatever wrote it.

``law_files`` reads the container, ``law_shape`` undoes a tracker's export, ``law_dialects`` knows
the names, ``law_runs`` keeps to one run; here the columns are chosen and joined into points.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.law.course import control_in
from entropy_mech.law.dialects import (
    DIALECTS,
    KINDS,
    LENGTHS,
    STEPS,
    WARNED_KINDS,
    Dialect,
    entropy_doubt,
    matching,
)
from entropy_mech.law.files import read_table
from entropy_mech.law.runs import Steps, one_run, series
from entropy_mech.law.shape import chosen_export, one_metric_a_column, roles_as_prefixes
from entropy_mech.law.table import Table

_ANY = DIALECTS[-1]
_LEAST = 3  # values of a validation column that can be fitted


@dataclass(frozen=True)
class RunLog:
    """Points of one run in training order: ``frame`` has step, entropy_nats and performance.

    ``every_step`` has a row for each step with anything: these and response_length_mean, NaN where
    not measured. The names are those in the log; ``step_column`` is empty where rows were counted.
    ``on_training_data`` says that the training reward stands in for validation, ``percent`` that
    the log itself writes percent, ``controlled`` what in the log or beside it says that entropy is
    controlled. ``warnings`` are doubts about the columns, ``notes`` what else
    was done with the rows.
    """

    frame: pd.DataFrame
    entropy_column: str
    performance_column: str
    on_training_data: bool = False
    step_column: str = ""
    dialect: str = ""
    percent: bool = False
    controlled: str = ""
    every_step: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def columns_taken(self) -> str:
        """Return one line that names every column taken."""
        step = repr(self.step_column) if self.step_column else "the order of the rows"
        known = "" if self.dialect in ("", _ANY.name) else f" (names of {self.dialect})"
        return (
            f"entropy from {self.entropy_column!r}, performance from {self.performance_column!r}, "
            f"step from {step}{known}"
        )


def read_log(
    path: str | Path, *, entropy: str = "", performance: str = "", step: str = "", run: str = ""
) -> RunLog:
    """Return the points of a log, one for each step at which performance was measured.

    An evaluation takes the entropy of its step, or of the last step before it that has one. An
    empty cell or an absent key is a value not measured; NaN or infinity written out is refused, as
    are text and columns that are missing or could be any of several. ``run`` names one of several
    runs. Every refusal is one ``UserError`` line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "run.jsonl")  # as verl's file logger writes it
    >>> _ = path.write_text('{"step": 1, "data": {"actor/entropy": 0.5, "critic/score/mean": 0.2}}')
    >>> log = read_log(path)
    >>> log.performance_column, log.on_training_data, log.frame.values.tolist()
    ('critic/score/mean', True, [[1.0, 0.5, 0.2]])
    """
    path = Path(path)
    table, export = chosen_export(read_table(path), run)
    table = roles_as_prefixes(one_metric_a_column(table))
    dialect = _dialect(table)
    entropy_name = _entropy_column(table, entropy, dialect)
    performance_name, on_training_data = _performance_column(table, performance, dialect)
    for name in (entropy_name, performance_name, *([step] if step in table.bad else [])):
        table.column(name)  # refuses text, NaN and infinity
    steps = _steps(table, step, dialect, entropy_name, performance_name)
    metrics = list(dict.fromkeys([entropy_name, performance_name]))
    table, steps = one_run(table, steps, metrics, "" if export else run)
    kind = dialect.kind if matching([entropy_name], dialect.entropies) else "unknown"
    every_step, late = _joined(table, steps, entropy_name, performance_name)
    points = every_step.assign(entropy_nats=every_step["entropy_nats"].ffill())
    points = points[["step", "entropy_nats", "performance"]][~late]
    points = points.dropna().reset_index(drop=True)
    if points.empty:
        raise UserError(
            f"{path.name}: no step has both {entropy_name!r} and {performance_name!r}: "
            "give columns that were logged in one run"
        )
    if late.any():
        table.notes.append(
            f"{late.sum()} evaluations after the last entropy are left out: theirs is not known"
        )
    bits = bool(re.search(r"(?:^|[/_.])bits?(?:$|[/_.])", entropy_name, re.IGNORECASE))
    if bits:
        points["entropy_nats"] *= np.log(2.0)
        every_step["entropy_nats"] *= np.log(2.0)
        table.notes.append(f"{entropy_name!r} is in bits: made into nats")
    return RunLog(
        points,
        entropy_name,
        performance_name,
        on_training_data,
        steps.name,
        dialect.name,
        performance_name in table.percent,
        control_in(table.numbers, _settings(path)),
        every_step,
        _doubts(entropy_name, kind, export),
        [*_remarks(kind), *table.notes],
    )


def _dialect(table: Table) -> Dialect:
    """Return the framework whose names fit best: its entropy, and then performance and step."""
    names = table.measured()

    def fit(dialect: Dialect) -> int:
        if not matching(names, dialect.entropies):
            return 0
        scores = matching(names, dialect.validation) or matching(names, dialect.rewards)
        step = [s for s in dialect.steps if s != "step"]
        return 1 + 2 * bool(scores) + bool(matching(names, step))

    best = max(DIALECTS, key=fit)  # of equals the first
    return best if fit(best) else _ANY


def _entropy_column(table: Table, given: str, dialect: Dialect) -> str:
    if given:
        return _given(table, "entropy", given)
    found = matching(table.measured(), dialect.entropies)
    if not found:
        raise UserError(f"no entropy column found: name it with --entropy COL ({_columns(table)})")
    return _only(found, "entropy")


def _performance_column(table: Table, given: str, dialect: Dialect) -> tuple[str, bool]:
    """Return the column and whether it is measured on training prompts."""
    names = table.measured()
    patterns = [(d.validation, d.rewards) for d in dict.fromkeys((dialect, _ANY, *DIALECTS))]
    rewards = next((found for _, r in patterns if (found := matching(names, r))), [])
    if given:
        name = _given(table, "performance", given)
        trained = name in rewards and not re.fullmatch("scores?", name, re.IGNORECASE)
        return name, trained and not matching([name], _ANY.validation)
    validation = next((found for v, _ in patterns if (found := matching(names, v))), [])
    few = [n for n in validation if np.isfinite(table.numbers[n]).sum() < _LEAST]
    if validation and rewards and len(few) == len(validation):
        table.notes.append(f"{validation[0]!r} has fewer than {_LEAST} values: not taken")
        validation = []
    found = validation or rewards
    if not found:
        raise UserError(
            f"no performance column found: name it with --performance COL ({_columns(table)})"
        )
    name = _only(found, "performance")
    copies = [n for n in rewards if name == "performance" and _copies(table, name, n)]
    return name, not validation or bool(copies)


def _copies(table: Table, name: str, other: str) -> bool:
    one, two = table.numbers[name], table.numbers[other]
    return bool(np.array_equal(one, two, equal_nan=True))


def _given(table: Table, kind: str, name: str) -> str:
    """Return the column that is meant: by its whole name, or by its end where rows have a type."""
    if name in table.names:
        return name
    ends = [n for n in table.measured() if n.endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        return _only(ends, kind)
    raise unknown_name(f"{kind} column", name, table.names)


def _only(found: list[str], kind: str) -> str:
    if len(found) > 1:
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise UserError(
            f"{len(found)} columns could be the {kind} ({shown}): name one with --{kind} COL"
        )
    return found[0]


def _steps(table: Table, given: str, dialect: Dialect, *metrics: str) -> Steps:
    """Return the step of each row: the first known column that says it for all rows that count.

    Several columns of one name (``train/global_step``, ``eval/global_step``) are one, if they count
    alike. Rows are numbered where there is no column.
    """
    used = [np.isfinite(table.numbers[metric]) for metric in metrics]
    if given:
        name = _given(table, "step", given)
        if not np.isfinite(table.column(name)).any():
            raise UserError(f"column {name!r} is empty: give the column of the step")
        return Steps(name, _filled(table.numbers[name]))
    candidates = []
    for pattern in (*dialect.steps, *STEPS):
        found = [n for n in matching(table.measured(), [pattern]) if n not in table.bad]
        if not found or set(found) & set(metrics):
            continue
        together = np.full(table.rows, np.nan)
        for name in found:
            together = np.where(np.isfinite(together), together, table.numbers[name])
        ends = [np.nanmax(together[rows], initial=-np.inf) for rows in used]
        alike = len(found) == 1 or max(ends) <= 1.5 * max(min(ends), 1.0)
        if alike:
            candidates.append(Steps(", ".join(found), together))
    any_used = np.any(used, axis=0)
    full = [s for s in candidates if np.isfinite(s.values[any_used]).all()] or candidates
    for chosen in full:
        within = [s for s in full if matching([s.name], ["global_step"])]
        if within and _goes_back(chosen, any_used) and not _goes_back(within[0], any_used):
            chosen = within[0]  # the other starts anew at every epoch
        return Steps(chosen.name, _filled(chosen.values))
    return Steps("", np.arange(table.rows, dtype=float))


def _goes_back(steps: Steps, rows: np.ndarray) -> bool:
    return bool((np.diff(_filled(steps.values)[rows]) < 0).any())


def _filled(values: np.ndarray) -> np.ndarray:
    return pd.Series(values).ffill().bfill().to_numpy()


def _joined(
    table: Table, steps: Steps, entropy: str, performance: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return all measured by step, and (rows,) whether an evaluation is past the last entropy."""
    columns = {"entropy_nats": entropy, "performance": performance}
    lengths = [n for n in matching(table.measured(), LENGTHS) if n not in table.bad]
    if lengths:
        columns["response_length_mean"] = lengths[0]
    frame = pd.DataFrame({"step": np.zeros(0)})
    for name, column in columns.items():
        at, values = series(table, steps, column)
        how = "left" if name == "response_length_mean" else "outer"
        frame = frame.merge(pd.DataFrame({"step": at, name: values}), on="step", how=how)
    if not lengths:
        frame["response_length_mean"] = np.nan
    at = frame["step"][frame["entropy_nats"].notna()].to_numpy()
    gap = 2.0 * np.diff(at).max(initial=1.0)
    return frame, (frame["step"] > at.max(initial=-np.inf) + gap).to_numpy() & (len(at) > 0)


def _settings(path: Path) -> list[str]:
    """Return which settings of a run of this package, in its folder, control the entropy."""
    file = path / "config.json"
    try:
        loss = json.loads(file.read_text())["loss"] if file.is_file() else {}
    except (json.JSONDecodeError, KeyError):  # another program's
        return []
    said = [f"loss.method = {loss['method']}"] if "_cov" in str(loss.get("method")) else []
    said += [f"loss.{key} = {loss[key]}" for key in ("entropy_bonus",) if loss.get(key)]
    low, high = loss.get("clip_low"), loss.get("clip_high")
    return said + ([f"loss.clip_high = {high}"] if None not in (low, high) and high > low else [])


def _doubts(entropy: str, kind: str, export: str) -> list[str]:
    said = f"{entropy!r}: {KINDS[kind]}" if kind in WARNED_KINDS else ""
    if kind == "unknown" and (doubt := entropy_doubt(entropy)):
        said = f"{entropy!r}: by its name {doubt}"
    group = f"{export!r} is a mean over runs, and means of runs on one curve are not on it"
    return [*([said] if said else []), *([group] if export.startswith("Group: ") else [])]


def _remarks(kind: str) -> list[str]:
    return [KINDS[kind]] if KINDS[kind] and kind not in WARNED_KINDS else []


def _columns(table: Table) -> str:
    names = table.names
    return "columns: " + ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
