"""Reads the containers of logs: CSV, JSON lines, Parquet, console text, TensorBoard, folders."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value
from entropy_mech.law.dialects import listed, role_of
from entropy_mech.law.table import Builder, Table

# Lines end where JSON's do, at line feeds alone. The last line of a log that is still being written
# may be cut off: it is left out with a note. A bad line anywhere else is an error with its number.

TORN = "the last line is cut off and left out: the run was writing it"
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_IN_A_FOLDER = (  # names of a run's log, in order of preference
    "metrics.jsonl", "trainer_state.json", "logging.jsonl", "experiment_log.jsonl",
)  # fmt: skip
_RECORDS = "give a list of records, or TRL's trainer_state.json"


def read_table(path: str | Path) -> Table:
    """Return the log at ``path``, a file or the folder of a run.

    Every refusal is one ``UserError`` line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "run.log")  # what verl prints
    >>> _ = path.write_text("(TaskRunner pid=7) step:3 - actor/entropy:np.float64(0.5) - lr:1e-06")
    >>> read_table(path).numbers("actor/entropy").tolist()
    [0.5]
    """
    path, builder = Path(path), Builder()
    try:
        for file in _files(path):
            _read(file, path, builder)
    except UserError:
        raise
    except Exception as error:  # parsers raise many kinds; the user needs the one line
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise bad_value("log", str(path), f"cannot be read ({reason})") from None
    table = builder.table()
    if not table.rows:
        raise bad_value("log", str(path), "has no rows: give the log of a run")
    return table


def _files(path: Path) -> list[Path]:
    """Return the file, or those of a folder that together are one log."""
    if path.is_file():
        return [path]
    forms = f"give {', '.join(_SUFFIXES)}, console text, TensorBoard events or a run's folder"
    if not path.is_dir():
        raise bad_value("log", str(path), f"no such file: {forms}")
    for name in _IN_A_FOLDER:
        if (path / name).is_file():
            return [path / name]
    states = list(path.glob("checkpoint-*/trainer_state.json"))
    if states:  # the last checkpoint holds the whole history
        return [max(states, key=lambda p: int(re.sub(r"\D", "", p.parent.name) or 0))]
    if events := sorted(path.rglob("*tfevents*")):
        return events
    found = sorted(p for p in path.iterdir() if _suffix(p) in (*_SUFFIXES, ".log", ".txt", ".out"))
    if not found:
        raise bad_value("log", str(path), f"no such file in it: {forms}")
    if len(found) > 1 and not all(_is_export(p) for p in found):
        names = listed([p.name for p in found], 5)
        raise bad_value("log", str(path), f"holds {len(found)} files ({names}): name one of them")
    return found


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _is_export(path: Path) -> bool:
    """Return whether a CSV holds one metric, as TensorBoard and wandb export charts."""
    if _suffix(path) != ".csv":
        return False
    with _open(path) as file:
        header = file.readline()
    return bool(re.search(r"wall.?time", header, re.IGNORECASE)) or " - " in header


def _read(path: Path, root: Path, builder: Builder) -> None:
    if "tfevents" in path.name:
        _events(path, root, builder)
        return
    readers = {
        ".parquet": _parquet, ".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".json": _json
    }  # fmt: skip
    readers.get(_suffix(path), _console)(path, builder)


def _open(path: Path) -> TextIO:
    """Open text with the encoding that its first bytes say; line feeds alone end a line."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        start = file.read(2)
    encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return opened(path, "rt", encoding=encoding, errors="replace", newline="\n")


# -- JSON ----------------------------------------------------------------------------------------


def _json_lines(path: Path, builder: Builder) -> None:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path.name} line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                if not line.endswith("\n"):  # only a last line has none
                    builder.notes.append(TORN)
                    return
                raise UserError(f"{where}: not JSON ({error.msg}): mend that line") from None
            if not isinstance(record, dict):
                raise UserError(f"{where}: not a JSON object: give one record a line")
            builder.add(record)


def _json(path: Path, builder: Builder) -> None:
    with _open(path) as file:
        start = file.read(1 << 16).lstrip()
        file.seek(0)
        if start.startswith("["):
            for record in _items(file):
                _add_item(path, record, builder)
            return
        first, _, rest = start.partition("\n")
        if first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip()[:1] == "{":
            _json_lines(path, builder)
            return
        whole = json.load(file)
    if not isinstance(whole, dict) or not whole:
        raise bad_value("log", str(path), _RECORDS)
    if all(isinstance(value, dict) for value in whole.values()):  # as pandas writes columns
        whole = {name: list(values.values()) for name, values in whole.items()}
    lists = [value for value in whole.values() if isinstance(value, list)]
    if isinstance(history := whole.get("log_history"), list):
        lists = [history]
    if len(lists) == 1 and all(isinstance(item, dict | list) for item in lists[0]):
        for record in lists[0]:
            _add_item(path, record, builder)
    elif len(lists) == len(whole) and len({len(values) for values in lists}) == 1:
        builder.add_columns(whole)
    else:
        raise bad_value("log", str(path), _RECORDS)


def _add_item(path: Path, record: Any, builder: Builder) -> None:
    if isinstance(record, list) and len(record) == 3:  # TensorBoard's download of one metric
        record = {"step": record[1], **_export_names(path, record[2])}
    if not isinstance(record, dict):
        raise bad_value("log", str(path), _RECORDS)
    builder.add(record)


def _items(file: TextIO) -> Iterator[Any]:
    """Yield the items of a JSON list one by one, so that the whole is never in memory."""
    decoder, buffer, at = json.JSONDecoder(), file.read(1 << 20).lstrip(), 1
    while True:
        at = re.compile(r"[\s,]*").match(buffer, at).end()
        if buffer.startswith("]", at):
            return
        try:
            item, end = decoder.raw_decode(buffer, at)
            whole = end < len(buffer)  # a number may go on in the next chunk
        except json.JSONDecodeError:
            whole = False
        if whole:
            yield item
            at = end
            continue
        chunk = file.read(1 << 20)
        if not chunk:
            decoder.raw_decode(buffer, at)  # says what is wrong
            raise json.JSONDecodeError("the list does not end", buffer, at)
        buffer, at = buffer[at:] + chunk, 0


# -- Tables --------------------------------------------------------------------------------------


def _csv(path: Path, builder: Builder) -> None:
    with _open(path) as file:
        header = file.readline()
    separator = "\t" if _suffix(path) == ".tsv" else max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=separator), [])
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise UserError(f"{path.name}: column {twice[0]!r} comes twice: are these two runs?")
    # Only an empty cell is "not measured"; "nan" stays text and is refused where it matters.
    with _open(path) as file:
        table = pd.read_csv(file, sep=separator, keep_default_na=False, na_values=[""])
    if _last_row_is_torn(path, separator, len(names)):
        table = table.iloc[:-1]
        builder.notes.append(TORN)
    if {"wall time", "step", "value"} <= {str(name).lower() for name in table}:
        table.columns = [str(name).lower() for name in table]
        for name, values in _export_names(path, table.pop("value")).items():
            table[name] = values
    columns = {}
    for name in list(table):
        values = table.pop(name)
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns[str(name)] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            columns[str(name)] = values.astype(object).where(values.notna(), None).tolist()
    builder.add_columns(columns)


def _last_row_is_torn(path: Path, separator: str, fields: int) -> bool:
    with _open(path) as file:
        (last,) = deque(file, maxlen=1)
    return not last.endswith("\n") and last.count(separator) + 1 < fields


def _export_names(path: Path, values: Any) -> dict[str, Any]:
    """Name values by metric and run, which a TensorBoard download has in its file name."""
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    found = re.fullmatch(r"(?:run[-_])?(.*?)[-_]tag[-_](.+)", stem)
    if not found:
        return {stem: values}
    return {found[2]: values, **_run_column(found[1])}


def _run_column(name: str) -> dict[str, str]:
    """Return the column of a run's name; "train" and "eval" are writers of one run, not runs."""
    return {} if name in ("", ".") or role_of(name.rpartition("/")[2]) else {"run": name}


def _parquet(path: Path, builder: Builder) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    columns = {}
    for name in table.column_names:
        values = table.column(name)
        is_number = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
        values = values.cast(pa.float64()) if is_number else values
        # A NaN written out is not an empty cell.
        compact = is_number and not pc.any(pc.is_nan(values)).as_py()
        columns[name] = values.to_numpy() if compact else values.to_pylist()
    builder.add_columns(columns)


def _events(path: Path, root: Path, builder: Builder) -> None:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise UserError(
            f"{path.name}: TensorBoard's events need its package: pip install tensorboard, or "
            "download the scalars as CSV"
        ) from None
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    run = "" if path == root else path.parent.relative_to(root).as_posix()
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            builder.add({"step": event.step, tag: event.value, **_run_column(run)})


# -- Console text --------------------------------------------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_VERL = re.compile(r"\b(?:global_)?step:\s*(\d+)(?:/\d+)?\s+-\s+(\S+:.*)")
_TYPED = re.compile(r"\b(?:\w+\.)?(?:float|int|tensor|array|Array)\d*\(([^(),]*)[^()]*\)")


def _console(path: Path, builder: Builder) -> None:
    with _open(path) as file:
        verl = any(_VERL.search(_plain(line)) for line in file)
    with _open(path) as file:
        for record in printed_records(file, verl, builder.notes):
            builder.add(record)
    if not builder.rows:
        fix = "or console text with lines 'step:N - key:value - ...' or printed dicts"
        raise bad_value("log", str(path), f"give a file that ends in {', '.join(_SUFFIXES)}, {fix}")


def printed_records(lines: Iterable[str], verl: bool, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the metrics of each step of verl, or else each printed dict, one a line.

    Prefixes, colours, progress bars and types (``np.float64(0.5)``) are left out. A last line
    that is cut off is used as far as it is surely complete, and ``notes`` says so.

    >>> list(printed_records(["{'loss': 0.1, 'entropy': tensor(0.5, device='cuda:0')}"], False, []))
    [{'loss': 0.1, 'entropy': 0.5}]
    """
    last = ""
    for line in lines:
        ended = line.endswith("\n")
        for part in _plain(line).split("\r"):
            record = _verl_step(part) if verl else _printed_dict(part)
            if record:
                if verl and not ended and last not in ("", next(reversed(record))):
                    record.popitem()  # perhaps cut off within its digits
                    notes.append(TORN)
                yield record
                last = next(reversed(record))
            elif not verl and not ended and re.search(r"\{['\"][\w/]+['\"]:", part):
                notes.append(TORN)


def _plain(line: str) -> str:
    return _TYPED.sub(r"\1", _ANSI.sub("", line))


def _verl_step(text: str) -> dict[str, Any] | None:
    found = _VERL.search(text)
    if not found:
        return None
    pairs = (pair.rpartition(":") for pair in found[2].strip().split(" - "))
    return {"step": int(found[1]), **{k.strip(): v for k, _, v in pairs if k and v.strip()}}


def _printed_dict(text: str) -> dict[str, Any] | None:
    inner = text[text.find("{") : text.rfind("}") + 1]
    try:
        record = json.loads(inner)
    except json.JSONDecodeError:
        try:
            record = ast.literal_eval(re.sub(r"(?<![\w'])(-?(?:nan|inf))\b", r"'\1'", inner))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return record if isinstance(record, dict) and record else None
