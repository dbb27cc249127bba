"""A log as columns of numbers: built row by row, then reshaped to one column a metric.

Numbers lie in compact arrays and long texts are not kept, so that millions of rows fit in memory.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.law.dialects import ROLES, STEPS, listed, matching, role_of

_WRAPPERS = ("data", "metrics", "log", "logs", "stats", "scalars")  # of the metrics of one row
_MOST_TEXTS = 5_000  # more different texts are prompts, times or addresses, and name no runs
_NOT_FINITE = re.compile(r"[-+]?(?:nan|inf|infinity)", re.IGNORECASE)


@dataclass
class Column:
    """One column of a log.

    ``numbers``: (rows,) float64, NaN where there is no number. ``codes``: (rows,), the index into
    ``words`` of the text that stands there instead, -1 where there is none; None if no row has one.
    ``percent``: numbers are written with a percent sign.
    """

    numbers: np.ndarray
    codes: np.ndarray | None = None
    words: list[str] = field(default_factory=list)
    percent: bool = False

    @property
    def bad(self) -> np.ndarray:
        """Rows whose cell holds something that is not a number."""
        return np.nonzero(self.codes >= 0)[0] if self.codes is not None else np.zeros(0, int)

    @property
    def measured(self) -> bool:
        """Whether any cell is filled."""
        return bool(len(self.bad)) or bool(np.isfinite(self.numbers).any())

    @property
    def has_texts(self) -> bool:
        """Whether some cell holds a text, NaN and infinity aside."""
        return not all(map(_NOT_FINITE.fullmatch, self.words))

    def labels(self) -> tuple[np.ndarray, list[str]]:
        """Return the values as texts: codes (rows,), -1 where empty, and the texts."""
        if self.has_texts:
            unnamed = [code for code, word in enumerate(self.words) if _NOT_FINITE.fullmatch(word)]
            return np.where(np.isin(self.codes, unnamed), -1, self.codes), self.words
        filled = np.isfinite(self.numbers)
        codes = np.full(len(self.numbers), -1)
        distinct, codes[filled] = np.unique(self.numbers[filled], return_inverse=True)
        return codes, [f"{value:.12g}" for value in distinct]

    def take(self, keep: np.ndarray) -> Column:
        """Return the rows of a mask (rows,)."""
        codes = None if self.codes is None else self.codes[keep]
        return replace(self, numbers=self.numbers[keep], codes=codes)

    def over(self, other: Column, rows: np.ndarray) -> Column:
        """Return the other column with this one's cells in the rows of a mask (rows,)."""
        codes, words = other.codes, other.words
        if rows[self.bad].any():
            mine = np.where(self.codes < 0, -1, self.codes + len(words))
            codes = np.where(rows, mine, -1 if codes is None else codes)
            words = words + self.words
        numbers = np.where(rows, self.numbers, other.numbers)
        return Column(numbers, codes, words, self.percent or other.percent)


@dataclass
class Table:
    """The columns of one log by name, in the order in which they came, and notes for the reader."""

    rows: int
    columns: dict[str, Column]
    notes: list[str] = field(default_factory=list)

    def measured(self) -> list[str]:
        """Return the names of the columns in which any cell is filled."""
        return [name for name, column in self.columns.items() if column.measured]

    def numbers(self, name: str) -> np.ndarray:
        """Return a column's numbers, whatever else is written there."""
        return self.columns[name].numbers

    def checked(self, name: str) -> np.ndarray:
        """Return a column's numbers; refuse it if anything else is written there."""
        column = self.columns[name]
        if len(column.bad):
            row = column.bad[0]
            shown = column.words[column.codes[row]]
            said = f"{shown[:40]!r} is not a number: give a numeric column"
            if _NOT_FINITE.fullmatch(shown):
                fix = "remove that row, or leave the cell empty if nothing was measured"
                said = f"{shown}: {fix}"
            raise UserError(f"column {name!r} row {row + 1}: {said}")
        return column.numbers

    def take(self, keep: np.ndarray) -> Table:
        """Return the rows of a mask (rows,)."""
        if keep.all():
            return self
        columns = {name: column.take(keep) for name, column in self.columns.items()}
        return Table(int(keep.sum()), columns, self.notes)


# -- Building ------------------------------------------------------------------------------------


class _Growing:
    """A column that is being filled; shorter than the table where its last rows are empty."""

    def __init__(self) -> None:
        self.numbers, self.codes = array("d"), array("i")
        self.words: dict[str, int] = {}
        self.percent = False

    def put(self, row: int, value: Any, counts_steps: bool = False) -> None:
        """Set a row: a number, or a text that may be one."""
        text = "NaN" if value != value else str(value).strip()
        digits = re.sub(r"^(\d+)/\d+$", r"\1", text) if counts_steps else text  # 12/300
        try:
            number = float(digits.removesuffix("%"))
        except ValueError:
            number = np.nan
        if np.isfinite(number):
            self.percent |= digits.endswith("%")
        else:
            number, word = np.nan, text[:200] if len(self.words) < _MOST_TEXTS else "another text"
            _set(self.codes, row, self.words.setdefault(word, len(self.words)), empty=-1)
        _set(self.numbers, row, number, empty=np.nan)

    def column(self, rows: int) -> Column:
        """Return the column, filled up to ``rows``."""
        numbers, codes = np.frombuffer(_padded(self.numbers, rows, np.nan)), None
        if self.words:
            codes = np.frombuffer(_padded(self.codes, rows, -1), dtype=np.int32)
        return Column(numbers, codes, list(self.words), self.percent)


def _padded(values: array, rows: int, empty: float) -> array:
    """Append ``empty`` to the values until there are as many as ``rows``, and return them."""
    if len(values) < rows:
        values.frombytes(np.full(rows - len(values), empty, values.typecode).tobytes())
    return values


def _set(values: array, row: int, value: float, *, empty: float) -> None:
    """Set or append a row's value; a name that comes twice in a row keeps the later one."""
    _padded(values, row, empty)[row : row + 1] = array(values.typecode, [value])


class Builder:
    """Collects records, or blocks of columns, into a ``Table``.

    >>> builder = Builder()
    >>> builder.add({"step": 1, "data": {"actor": {"entropy": 0.5}}})
    >>> builder.add({"step": "2/9", "note": "slow"})
    >>> table = builder.table()
    >>> {name: column.numbers.tolist() for name, column in table.columns.items()}
    {'step': [1.0, 2.0], 'actor/entropy': [0.5, nan], 'note': [nan, nan]}
    """

    def __init__(self) -> None:
        self.rows = 0
        self.notes: list[str] = []
        self._columns: dict[str, _Growing] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one row; nested metrics get names with slashes."""
        row, columns = self.rows, self._columns
        for name, value in record.items():
            column = columns.get(name)
            ready = column is not None and len(column.numbers) == row
            if ready and type(value) is float and -1e308 < value < 1e308:
                column.numbers.append(value)  # the fast way, which nearly all values take
            else:
                for inner, leaf in _flat({name: value}):
                    if leaf is not None:
                        self._column(inner).put(row, leaf, "step" in inner.lower())
        self.rows += 1

    def add_columns(self, columns: Mapping[str, Any]) -> None:
        """Add a block of rows: arrays of floats, or sequences of anything, of one length."""
        length = 0
        for name, values in columns.items():
            length = len(values)
            if isinstance(values, np.ndarray) and values.dtype == np.float64:
                column = self._column(name)
                _padded(column.numbers, self.rows, np.nan).frombytes(values.tobytes())
                not_numbers = np.nonzero(np.isinf(values))[0].tolist()
            else:
                not_numbers = [row for row, value in enumerate(values) if value is not None]
            for row in not_numbers:
                self._column(name).put(self.rows + row, values[row], "step" in name.lower())
        self.rows += length

    def table(self) -> Table:
        """Return all that was added."""
        columns = {name: column.column(self.rows) for name, column in self._columns.items()}
        return Table(self.rows, columns, self.notes)

    def _column(self, name: str) -> _Growing:
        if name not in self._columns:
            self._columns[name] = _Growing()
        return self._columns[name]


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, prefix if name in _WRAPPERS else f"{prefix}{name}/")
        else:
            yield prefix + str(name), value


# -- Reshaping what trackers export --------------------------------------------------------------

_TAGS, _VALUES = (r"tag|metric(?:_name)?|key|variable",), ("value", "scalar")
_ROW_TYPES = (
    r"(?:row_|record_|event_|log_|metric_)?type|kind|split|mode|phase|stage|event|subset|source",
)
_SAYS_ROLE = re.compile(rf"(?:{'|'.join(ROLES.values())})[/_.]", re.IGNORECASE)


def chosen_export(table: Table, run: str) -> tuple[Table, str]:
    """Return a wandb export's columns without the run's name before ``" - "``, and that name.

    Any other table is returned as it is, with the empty string. Of several runs ``run`` must name
    one. ``__MIN`` and ``__MAX``, the spread within a bin, are left out.
    """
    split = {name: name.rpartition(" - ")[::2] for name in table.columns if " - " in name}
    split = {
        name: (owner, key)
        for name, (owner, key) in split.items()
        if owner and not re.search(r"__(?:MIN|MAX)$", key)
    }
    owners = list(dict.fromkeys(owner for owner, _ in split.values()))
    if not owners:
        return table, ""
    if run and run not in owners:
        raise unknown_name("run", run, owners)
    if len(owners) > 1 and not run:
        raise UserError(
            f"{len(owners)} runs in this export ({listed(owners, 6)}): name one with --run NAME"
        )
    own = run or owners[0]
    new = {name: key for name, (owner, key) in split.items() if owner == own}
    new.update({name: name for name in table.columns if " - " not in name})
    columns = {new[name]: column for name, column in table.columns.items() if name in new}
    return replace(table, columns=columns), own


def one_metric_a_column(table: Table) -> Table:
    """Spread a table that has one metric a row (tag, step, value) over columns by tag."""
    tag, value = matching(_with_texts(table), _TAGS), matching(table.columns, _VALUES)
    if not tag or not value:
        return table
    words = table.columns[tag[0]].words
    return _split(table, tag[0], [value[0]], lambda _, code: words[code])


def roles_as_prefixes(table: Table) -> Table:
    """Prefix metrics with the type of their rows: ``eval/accuracy`` beside ``rollout/accuracy``.

    A column such as type, split or mode counts if its words mean at least two of evaluation,
    training and rollout. Steps, and names that have such a prefix, stay as they are.
    """
    for kind in matching(_with_texts(table), _ROW_TYPES):
        words = table.columns[kind].words
        roles = [role_of(word) for word in words]
        if len({role for role in roles if role}) < 2:
            continue
        prefixes = [role or word for role, word in zip(roles, words, strict=True)]
        metrics = [name for name in table.measured() if name != kind and _is_metric(table, name)]
        return _split(table, kind, metrics, partial(_prefixed, prefixes))
    return table


def _with_texts(table: Table) -> list[str]:
    return [name for name, column in table.columns.items() if column.has_texts]


def _is_metric(table: Table, name: str) -> bool:
    """Whether a column has numbers, and they are neither a step nor the name of a run."""
    column = table.columns[name]
    if column.has_texts and not np.isfinite(column.numbers).any():
        return False
    return not re.search(r"(?:^|_)(?:step|epoch|seed|run|id)s?$", name) and not matching(
        [name], STEPS
    )


def _prefixed(prefixes: list[str], name: str, code: int) -> str:
    return name if _SAYS_ROLE.match(name) else f"{prefixes[code]}/{name}"


def _split(table: Table, by: str, names: list[str], named: Callable[[str, int], str]) -> Table:
    """Split columns by the text in column ``by`` into columns that ``named`` (name, code) names."""
    codes, _ = table.columns[by].labels()
    columns = {n: c for n, c in table.columns.items() if n not in (*names, by)}
    for name in names:
        column = table.columns[name]
        filled = np.isfinite(column.numbers)
        filled[column.bad] = True
        for code in np.unique(codes[filled]):
            new = name if code < 0 else named(name, code)
            below = columns.get(new, Column(np.full(table.rows, np.nan)))
            columns[new] = column.over(below, filled & (codes == code))
    return replace(table, columns=columns)
