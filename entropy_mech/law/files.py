"""Reads a log, in whatever container it lies, as a table with a column a metric.

CSV, JSON lines, JSON, Parquet, console text, TensorBoard's events, folders; what trackers export is
reshaped. Cells are numbers or, where none can be read, texts.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, bad_value, unknown_name
from entropy_mech.law.dialects import ROLES, STEPS, listed, matching, role_of

_NOT_FINITE = re.compile(r"[-+]?(?:nan|inf|infinity)", re.IGNORECASE)


@dataclass
class Table:
    """The metrics of one log in the order in which they came, and notes for the reader.

    A column of ``frame`` is float64, or object where texts stand in it; empty cells are NaN.
    ``percent`` names columns that are written with percent signs, ``export`` the run of a wandb
    export that was taken.
    """

    frame: pd.DataFrame
    path: Path = Path()
    notes: list[str] = field(default_factory=list)
    percent: set[str] = field(default_factory=set)
    export: str = ""

    def measured(self) -> list[str]:
        """Return the names of the columns in which any cell is filled."""
        return [name for name in self.frame if self.frame[name].notna().any()]

    def numbers(self, name: str) -> np.ndarray:
        """Return a column's numbers, NaN where anything else is written."""
        column = self.frame[name]
        return column.drop(self.texts(name).index).reindex(column.index).to_numpy(dtype=float)

    def texts(self, name: str) -> pd.Series:
        """Return the cells of a column that are no numbers, by row."""
        column = self.frame[name]
        if column.dtype != object:
            return pd.Series(dtype=object)
        return column[[isinstance(cell, str) for cell in column]]

    def words(self, name: str) -> pd.Series:
        """Return the texts of a column, NaN and infinity aside, by row."""
        texts = self.texts(name)
        return texts[[not _NOT_FINITE.fullmatch(text) for text in texts]]

    def labels(self, name: str) -> pd.Series:
        """Return the values of a column as texts, NaN where it is empty; of mixed ones the texts.

        >>> Table(pd.DataFrame({"seed": [1.0, np.nan, 2.5]})).labels("seed").tolist()
        ['1', nan, '2.5']
        """
        texts = self.words(name)
        if texts.empty:
            texts = pd.Series(self.numbers(name)).dropna().map("{:.12g}".format)
        return texts.astype(object).reindex(self.frame.index)

    def checked(self, name: str) -> np.ndarray:
        """Return a column's numbers; refuse it if anything else is written there."""
        for row, text in self.texts(name).items():
            said = f"{text[:40]!r} is not a number: give a numeric column"
            if re.fullmatch(r"-?\d[\d.,]*", text):
                said = f"{text[:40]!r} is not a number: write it like 1234.5"
            if _NOT_FINITE.fullmatch(text):
                fix = "remove that row, or leave the cell empty if nothing was measured"
                said = f"{text}: {fix}"
            raise UserError(f"column {name!r} row {row + 1}: {said}")
        return self.numbers(name)

    def take(self, keep: np.ndarray) -> Table:
        """Return the rows of a mask (rows,)."""
        return replace(self, frame=self.frame[keep].reset_index(drop=True))


# -- Files ---------------------------------------------------------------------------------------
# Lines end where JSON's do, at line feeds alone. The last line of a log that is still being written
# may be cut off: it is left out with a note. A bad line anywhere else is an error with its number.

TORN = "the last line is cut off and left out: the run was writing it"
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_IN_A_FOLDER = (  # names of a run's log, in order of preference
    "metrics.jsonl", "trainer_state.json", "logging.jsonl", "experiment_log.jsonl",
)  # fmt: skip
_NOTHING = ("", "None", "null", "NULL", "NA", "N/A", "n/a")  # cells that say: not measured
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
    table = Table(pd.DataFrame(), Path(path))
    cells = _Cells(table.percent)
    try:
        frames = [
            cells.of_frame(frame)
            for file in _files(table.path)
            for frame in _read(file, table.path, table.notes)
        ]
    except UserError:
        raise
    except Exception as error:  # parsers raise many kinds; the user needs the one line
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise bad_value("log", str(path), f"cannot be read ({reason})") from None
    if not sum(map(len, frames)):
        raise bad_value("log", str(path), "has no rows: give the log of a run")
    table.frame = pd.concat(frames, ignore_index=True)
    return table


class _Cells:
    """Makes cells numbers, or texts that are short and few, so that millions of rows fit in memory.

    Columns that are written with percent signs are added to ``percent``.
    """

    _MOST_TEXTS = 5_000  # more different texts are prompts, times or addresses, and name no runs

    def __init__(self, percent: set[str]) -> None:
        self.percent = percent
        self._texts: dict[str, dict[str, str]] = defaultdict(dict)

    def of_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {n: self._column(n, frame[name]) for name in frame for n in [str(name).strip()]}
        return pd.DataFrame(columns, index=frame.index)

    def _column(self, name: str, values: pd.Series) -> pd.Series:
        if pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
            numbers = values.astype(float)
            if not np.isinf(numbers).any():
                return numbers
        filled = values.dropna()
        cells = [self._cell(name, value) for value in filled]
        kind = object if any(isinstance(cell, str) for cell in cells) else float
        return pd.Series(cells, filled.index, kind).reindex(values.index)

    def _cell(self, name: str, value: Any) -> float | str:
        text = str(value).strip()
        if text in _NOTHING:
            return np.nan
        # The step may be written as 12/300 or as 1,200.
        parts = r"^(\d+)/\d+$|(?<=\d),(?=\d{3}\b)"
        digits = re.sub(parts, r"\1", text) if "step" in name.lower() else text
        try:
            number = float(digits.removesuffix("%"))
        except ValueError:
            number = np.nan
        if np.isfinite(number):
            if digits.endswith("%"):
                self.percent.add(name)
            return number
        known = self._texts[name]
        short = text[:200] if len(known) < self._MOST_TEXTS else "another text"
        return known.setdefault(short, short)


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
    known = (*_SUFFIXES, ".log", ".txt", ".out")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in known)
    if not found:
        raise bad_value("log", str(path), f"no such file in it: {forms}")
    if len(found) > 1 and not all(_is_export(p) for p in found):
        names = listed([p.name for p in found], 5)
        raise bad_value("log", str(path), f"holds {len(found)} files ({names}): name one of them")
    return found


def _is_export(path: Path) -> bool:
    """Return whether a CSV holds one metric, as TensorBoard and wandb export charts."""
    if path.suffix.lower() != ".csv":
        return False
    with _open(path) as file:
        header = file.readline()
    return bool(re.search(r"wall.?time", header, re.IGNORECASE)) or " - " in header


def _read(path: Path, root: Path, notes: list[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file in pieces, and add notes on what was left out."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        yield _csv(path, notes)
    elif "tfevents" in path.name:
        yield from _in_columns(_events(path, root))
    else:
        readers = {".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}
        yield from _in_columns(readers.get(suffix, _console)(path, notes))


def _in_columns(records: Iterator[dict[str, Any]]) -> Iterator[pd.DataFrame]:
    """Make many records at a time into columns: as objects they take fifty times the memory.

    NaN becomes a text, which is refused where it matters; an empty cell is not measured.
    """
    filled = (
        {name: "NaN" if value != value else value for name, value in _flat(record)}
        for record in records
    )
    while rows := list(islice(filled, 4_096)):
        yield pd.DataFrame(rows)


_WRAPPERS = ("data", "metrics", "log", "logs", "stats", "scalars")  # of the metrics of one row


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the metrics measured in a row; nested ones get names with slashes."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, prefix if name in _WRAPPERS else f"{prefix}{name}/")
        elif value is not None:
            yield prefix + str(name), value


def _open(path: Path) -> TextIO:
    """Open text, UTF-8 or, by its mark, UTF-16; line feeds alone end a line."""
    with path.open("rb") as file:
        wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    return path.open(encoding="utf-16" if wide else "utf-8-sig", errors="replace", newline="\n")


# -- JSON ----------------------------------------------------------------------------------------


def _json_lines(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path.name} line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                if not line.endswith("\n"):  # only a last line has none
                    notes.append(TORN)
                    return
                raise UserError(f"{where}: not JSON ({error.msg}): mend that line") from None
            if not isinstance(record, dict):
                raise UserError(f"{where}: not a JSON object: give one record a line")
            yield record


def _json(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        try:
            whole = json.load(file)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            yield from _json_lines(path, notes)
            return
    if isinstance(whole, dict):  # a list of records, with other things beside it
        lists = {name: value for name, value in whole.items() if isinstance(value, list)}
        if len(lists) > 1 and "log_history" not in lists:  # a list a metric
            lists = {"all": pd.DataFrame(lists, dtype=object).to_dict("records")}
        whole = lists.get("log_history", next(iter(lists.values()), None))
    if not isinstance(whole, list):
        raise bad_value("log", str(path), _RECORDS)
    for record in whole:
        if isinstance(record, list) and len(record) == 3:  # TensorBoard's download of one metric
            record = {"step": record[1], **_export_names(path, record[2])}
        if not isinstance(record, dict):
            raise bad_value("log", str(path), _RECORDS)
        yield record


# -- Tables --------------------------------------------------------------------------------------


def _csv(path: Path, notes: list[str]) -> pd.DataFrame:
    above, header = _header(path)
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=header.count)
    split = csv.reader([header.lstrip("# ")], delimiter=separator, skipinitialspace=True)
    names = [name.strip() for name in next(split, [])]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise UserError(f"{path.name}: column {twice[0]!r} comes twice: are these two runs?")
    # "nan" stays text and is refused where it matters.
    rules = {"skipinitialspace": True, "keep_default_na": False, "na_values": _NOTHING}
    rules |= {"sep": separator, "skiprows": above, "low_memory": False, "index_col": False}
    with _open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(file, **rules)
        except pd.errors.ParserWarning:
            fix = "name every column, and write decimals with a point"
            said = f"{path.name}: rows have more cells than the header has names: {fix}"
            raise UserError(said) from None
    table = table[table.iloc[:, -1] != table.columns[-1]]  # the header once more, after a resume
    if header.startswith("#"):
        table = table.rename(columns={table.columns[0]: names[0]})
    if _last_row_is_torn(path, separator, len(names)):
        table = table.iloc[:-1]
        notes.append(TORN)
    lower = table.rename(columns=lambda name: str(name).lower())
    if {"wall time", "step", "value"} <= set(lower):
        return lower.drop(columns="value").assign(**_export_names(path, lower["value"]))
    return table


def _header(path: Path) -> tuple[int, str]:
    """Return how many lines stand above a table's header (comments, Excel's sep=;), and it."""
    last = ""
    with _open(path) as file:
        for above, line in enumerate(file):
            if line.strip() and not line.startswith(("#", "sep=")):
                # NumPy writes the header as a comment.
                numpy = last.startswith("#") and re.match(r"[-+.\d]", line)
                return (above - 1, last) if numpy else (above, line)
            last = line
    return 0, last


def _last_row_is_torn(path: Path, separator: str, fields: int) -> bool:
    with _open(path) as file:
        (last,) = deque(file, maxlen=1)
    return not last.endswith("\n") and last.count(separator) + 1 < fields


def _export_names(path: Path, values: Any) -> dict[str, Any]:
    """Name values by metric and run, which a TensorBoard download has in its file name."""
    found = re.fullmatch(r"(?:run[-_])?(.*?)[-_]tag[-_](.+)", path.stem)
    if not found:
        return {path.stem: values}
    return {found[2]: values, **_run_column(found[1])}


def _run_column(name: str) -> dict[str, str]:
    """Return the column of a run's name; "train" and "eval" are writers of one run, not runs."""
    return {} if name in ("", ".") or role_of(name.rpartition("/")[2]) else {"run": name}


def _parquet(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


def _events(path: Path, root: Path) -> Iterator[dict[str, Any]]:
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
            yield {"step": event.step, tag: event.value, **_run_column(run)}


# -- Console text --------------------------------------------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_VERL = re.compile(r"\b(?:global_)?step:\s*(\d+)(?:/\d+)?\s+-\s+(\S+:.*)")
_TYPED = re.compile(r"\b(?:\w+\.)?(?:float|int|tensor|array|Array)\d*\(([^(),]*)[^()]*\)")


def _console(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        verl = any(_VERL.search(_plain(line)) for line in file)
    fix = "or console text with lines 'step:N - key:value - ...' or printed dicts"
    with _open(path) as file:
        records = printed_records(file, verl, notes)
        first = next(records, None)
        if first is None:
            ends = f"give a file that ends in {', '.join(_SUFFIXES)}"
            raise bad_value("log", str(path), f"{ends}, {fix}")
        yield first
        yield from records


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


# -- Reshaping what trackers export --------------------------------------------------------------

_TAGS, _VALUES = (r"tag|metric(?:_name)?|key|variable",), ("value", "scalar")
_ROW_TYPES = (
    r"(?:row_|record_|event_|log_|metric_)?type|kind|split|mode|phase|stage|event|subset|source|run",
)
_SAYS_ROLE = re.compile(rf"(?:{'|'.join(ROLES.values())})[/_.]", re.IGNORECASE)


def read_metrics(path: str | Path, run: str = "") -> Table:
    """Return all that a log has, a column a metric; of a wandb export the one run."""
    return roles_as_prefixes(one_metric_a_column(chosen_export(read_table(path), run)))


def chosen_export(table: Table, run: str) -> Table:
    """Return a wandb export's columns without the run's name before ``" - "``.

    Any other table is returned as it is. Of several runs ``run`` must name one. ``__MIN`` and
    ``__MAX``, the spread within a bin, are left out.
    """
    split = {
        name: name.rpartition(" - ")
        for name in table.frame
        if " - " in name and not name.endswith(("__MIN", "__MAX"))
    }
    owners = list(dict.fromkeys(owner for owner, _, _ in split.values() if owner))
    if not owners:
        return table
    if run and run not in owners:
        raise unknown_name("run", run, owners)
    if len(owners) > 1 and not run:
        raise UserError(
            f"{len(owners)} runs in this export ({listed(owners, 6)}): name one with --run NAME"
        )
    own = run or owners[0]
    names = {name: key for name, (owner, _, key) in split.items() if owner == own}
    names |= {name: name for name in table.frame if " - " not in name}
    frame = table.frame.filter(names).rename(columns=names)
    percent = {names[name] for name in table.percent & names.keys()}
    return replace(table, frame=frame, percent=percent, export=own)


def one_metric_a_column(table: Table) -> Table:
    """Spread a table that has one metric a row (tag, step, value) over columns by tag."""
    tag, value = matching(_with_words(table), _TAGS), matching(table.frame, _VALUES)
    if not tag or not value:
        return table
    return _split(table, tag[0], [value[0]], lambda _, word: word)


def roles_as_prefixes(table: Table) -> Table:
    """Prefix metrics with the type of their rows: ``eval/accuracy`` beside ``rollout/accuracy``.

    A column such as type, split or mode counts if its words mean at least two of evaluation,
    training and rollout. Steps, and names that have such a prefix, stay as they are.
    """
    for kind in matching(_with_words(table), _ROW_TYPES):
        prefixes = {word: role_of(word) for word in table.words(kind).unique()}
        if len(set(filter(None, prefixes.values()))) > 1:
            metrics = [n for n in table.measured() if n != kind and _is_metric(table, n)]
            return _split(table, kind, metrics, partial(_prefixed, prefixes))
    return table


def _with_words(table: Table) -> list[str]:
    return [name for name in table.frame if len(table.words(name))]


def _is_metric(table: Table, name: str) -> bool:
    """Whether a column has numbers, and they are neither a step nor the name of a run."""
    if len(table.words(name)) and not np.isfinite(table.numbers(name)).any():
        return False
    return not re.search(r"(?:^|_)(?:step|epoch|seed|run|id)s?$", name) and not matching(
        [name], STEPS
    )


def _prefixed(prefixes: dict[str, str], name: str, word: str) -> str:
    return name if _SAYS_ROLE.match(name) else f"{prefixes[word] or word}/{name}"


def _split(table: Table, by: str, names: list[str], named: Callable[[str, str], str]) -> Table:
    """Split columns by the text in column ``by`` into columns that ``named`` (name, text) names."""
    words, percent = table.labels(by).fillna(""), set(table.percent)
    columns = {name: table.frame[name] for name in table.frame if name not in (*names, by)}
    for name in names:
        column = table.frame[name]
        for word in words[column.notna()].unique():
            new, cells = named(name, word) if word else name, column.where(words == word)
            columns[new] = cells.combine_first(columns[new]) if new in columns else cells
            if name in percent:
                percent.add(new)
    return replace(table, frame=pd.DataFrame(columns), percent=percent)
