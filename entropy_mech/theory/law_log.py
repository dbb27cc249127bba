"""Read entropy and performance out of a training log: CSV, JSONL, JSON or Parquet.

Columns are found by name for this package's runs, TRL and verl; any other log needs the two names.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value, unknown_name

# In order of preference; a pattern must match the whole name, less a leading "train/" as
# experiment trackers put before TRL's names. TRL's old PPO column objective/entropy is a sum over
# tokens, not a mean, and so is not taken.
STEP_COLUMNS = ("step", "global_step", "training/global_step", "_step")
ENTROPY_COLUMNS = (
    "entropy_nats",
    "actor/entropy",
    "entropy",
    "actor/entropy_loss",
    "policy_entropy",
)
VALIDATION_COLUMNS = (
    r"validation_accuracy",
    r"val-core/.+/acc/mean@\d+",
    r"val-core/.+/mean@\d+",
    r"val/test_score/.+",
    r"eval_rewards/.*(acc|correct).*/mean|eval_rewards/.*(acc|correct)[^/]*",
    r"eval_accuracy|eval/accuracy|accuracy",
    r"eval_reward|eval/reward",
)
REWARD_COLUMNS = (
    r"critic/score/mean",
    r"rewards/.*(acc|correct).*/mean",
    r"reward|reward_mean|critic/rewards/mean",
)
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class RunLog:
    """Points of one run in training order: ``frame`` has step, entropy_nats and performance.

    ``entropy_column`` and ``performance_column`` are the names in the log; ``on_training_data``
    says that no validation column was found and the training reward stands in for it.
    """

    frame: pd.DataFrame
    entropy_column: str
    performance_column: str
    on_training_data: bool = False


def read_log(
    path: str | Path, *, entropy: str = "", performance: str = "", step: str = ""
) -> RunLog:
    """Return the points of a log, one for each step at which performance was measured.

    Rows of one step are merged (TRL writes an evaluation in a row of its own); an evaluation takes
    the entropy of its step, or of the last step before it that has one. An empty cell or an absent
    key is a value not measured; NaN or infinity written out is refused, as are text and columns
    that are missing or could be any of several. Every refusal is one ``UserError`` line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "run.jsonl")  # as verl's file logger writes it
    >>> _ = path.write_text('{"step": 1, "data": {"actor/entropy": 0.5, "critic/score/mean": 0.2}}')
    >>> log = read_log(path)
    >>> log.performance_column, log.on_training_data, log.frame.values.tolist()
    ('critic/score/mean', True, [[1.0, 0.5, 0.2]])
    """
    path = Path(path)
    table = _read_table(path)
    entropy_name = _column(table, "entropy", entropy, ENTROPY_COLUMNS)
    performance_name = _performance_column(table, performance)
    step_name = step or next((c for c in map(_named(table), STEP_COLUMNS) if c), "")
    if step_name and step_name not in table:
        raise _missing(table, "step", step_name)
    steps = _numbers(table, step_name) if step_name else np.arange(len(table), dtype=float)
    if np.isnan(steps).all():
        raise UserError(f"column {step_name!r} is empty: give the column of the step")
    points = pd.DataFrame(
        {
            "step": pd.Series(steps).ffill().bfill(),
            "entropy_nats": _numbers(table, entropy_name),
            "performance": _numbers(table, performance_name),
        }
    )
    # last() skips what was not measured, so rows of one step complete each other
    points = points.groupby("step", sort=True).last().reset_index()
    points["entropy_nats"] = points["entropy_nats"].ffill()
    points = points.dropna().reset_index(drop=True)
    if points.empty:
        raise UserError(
            f"{path.name}: no step has both {entropy_name!r} and {performance_name!r}: "
            "give columns that were logged in one run"
        )
    on_training_data = not performance and not _matching(table, VALIDATION_COLUMNS)
    return RunLog(points, entropy_name, performance_name, on_training_data)


def _read_table(path: Path) -> pd.DataFrame:
    if path.is_dir():
        path = path / "metrics.jsonl"
    if not path.is_file():
        raise bad_value("log", str(path), "no such file: give a CSV, JSONL, JSON or Parquet log")
    if path.suffix.lower() not in _SUFFIXES:
        raise bad_value("log", str(path), f"give a file that ends in {', '.join(_SUFFIXES)}")
    try:
        table = _parse(path, path.suffix.lower())
    except UserError:
        raise
    except Exception as error:  # parsers raise many kinds; the user needs the one line
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise bad_value("log", str(path), f"cannot be read ({reason})") from None
    if table.empty:
        raise bad_value("log", str(path), "has no rows: give the log of a run")
    return table


def _parse(path: Path, suffix: str) -> pd.DataFrame:
    if suffix == ".parquet":
        return pd.read_parquet(path)
    if suffix in (".csv", ".tsv"):
        separator = "\t" if suffix == ".tsv" else ","
        # Only an empty cell is "not measured"; "nan" stays text and is refused by _numbers.
        table = pd.read_csv(path, sep=separator, keep_default_na=False, na_values=[""])
        texts = table.select_dtypes(exclude="number")
        texts = texts.astype(object).where(texts.notna(), None)
        return table.assign(**{name: texts[name] for name in texts})
    text = path.read_text(encoding="utf-8-sig")
    if suffix == ".json":
        records = json.loads(text)
        records = records.get("log_history", records) if isinstance(records, dict) else records
        if not isinstance(records, list):
            raise bad_value("log", str(path), "give a list of records, or TRL's trainer_state.json")
    else:
        records = [
            _record(path, n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()
        ]
    # verl's file logger keeps the metrics of a step under "data"
    flat = [
        {**{k: v for k, v in r.items() if k != "data"}, **r["data"]}
        if isinstance(r.get("data"), dict)
        else r
        for r in records
    ]
    columns = dict.fromkeys(key for record in flat for key in record)
    return pd.DataFrame({key: [r.get(key) for r in flat] for key in columns}, dtype=object)


def _record(path: Path, number: int, line: str) -> dict:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path.name} line {number}: not JSON ({error.msg}): mend that line"
        ) from None
    if not isinstance(record, dict):
        raise UserError(f"{path.name} line {number}: not a JSON object: give one record a line")
    return record


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column as floats, NaN where nothing was measured; refuse anything else."""
    values = table[name]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        if np.isinf(numbers).any():
            raise _not_finite(name, int(np.isinf(numbers).argmax()), "inf")
        return numbers
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            if isinstance(value, float) and table[name].dtype == object:
                raise _not_finite(name, row, "NaN")
            continue
        try:
            numbers[row] = float(value)
        except (TypeError, ValueError):
            raise UserError(
                f"column {name!r} row {row + 1}: {str(value)[:40]!r} is not a number: "
                "give a numeric column"
            ) from None
        if not math.isfinite(numbers[row]):
            raise _not_finite(name, row, str(value))
    return numbers


def _not_finite(name: str, row: int, value: str) -> UserError:
    return UserError(
        f"column {name!r} row {row + 1}: {value}: remove that row, or leave the cell empty if "
        "nothing was measured"
    )


def _column(table: pd.DataFrame, kind: str, given: str, known: tuple[str, ...]) -> str:
    if given:
        if given not in table:
            raise _missing(table, kind, given)
        return given
    for name in known:
        if found := _named(table)(name):
            return found
    raise UserError(f"no {kind} column found: name it with --{kind} COL ({_columns(table)})")


def _performance_column(table: pd.DataFrame, given: str) -> str:
    if given:
        return _column(table, "performance", given, ())
    for patterns in (VALIDATION_COLUMNS, REWARD_COLUMNS):
        found = _matching(table, patterns)
        if len(found) > 1:
            shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
            raise UserError(
                f"{len(found)} columns could be the performance ({shown}): "
                "name one with --performance COL"
            )
        if found:
            return found[0]
    raise UserError(
        f"no performance column found: name it with --performance COL ({_columns(table)})"
    )


def _matching(table: pd.DataFrame, patterns: tuple[str, ...]) -> list[str]:
    """Return the columns of the first pattern that any column matches."""
    for pattern in patterns:
        found = [c for c in table if re.fullmatch(rf"(?:train/)?(?:{pattern})", str(c))]
        if found:
            return found
    return []


def _named(table: pd.DataFrame):
    return lambda name: next((c for c in (name, f"train/{name}") if c in table), None)


def _missing(table: pd.DataFrame, kind: str, name: str) -> UserError:
    return unknown_name(f"{kind} column", name, [str(column) for column in table])


def _columns(table: pd.DataFrame) -> str:
    names = [str(column) for column in table]
    return "columns: " + ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
