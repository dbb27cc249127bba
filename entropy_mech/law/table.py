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
_MOST_BAD = 1_000


@dataclass
class Column:
    """One column of a log.

    ``numbers``: (rows,) float64, NaN where nothing was measured. ``codes``: (rows,), each row's
    index into ``words``, -1 where it has no text; None without any text. ``bad``: what stands
    where a number should, as (row, text). ``percent``: numbers are written with a percent sign.
    """

    numbers: np.ndarray
    codes: np.ndarray | None = None
    words: list[str] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    percent: bool = False

    @property
    def measured(self) -> bool:
        """Whether there is a number, or what should have been one."""
        return bool(self.bad) or bool(np.isfinite(self.numbers).any())

    def labels(self) -> tuple[np.ndarray, list[str]]:
        """Return the values as texts: codes (rows,), -1 where empty, and the texts."""
        if self.codes is not None:
            return self.codes, self.words
        filled = np.isfinite(self.numbers)
        codes = np.full(len(self.numbers), -1)
        distinct, codes[filled] = np.unique(self.numbers[filled], return_inverse=True)
        return codes, [f"{value:.12g}" for value in distinct]

    def take(self, keep: np.ndarray) -> Column:
        """Return the rows of a mask (rows,)."""
        codes = None if self.codes is None else self.codes[keep]
        at = np.cumsum(keep) - 1 if self.bad else keep
        bad = [(int(at[row]), shown) for row, shown in self.bad if keep[row]]
        return Column(self.numbers[keep], codes, self.words, bad, self.percent)


@dataclass
class Table:
    """The columns of one log by name, in the order in which they came, and notes for the reader."""

    rows: int
    columns: dict[str, Column]
    notes: list[str] = field(default_factory=list)

    def measured(self) -> list[str]:
        """Return the names of the columns with a number, or with what should have been one."""
        return [name for name, column in self.columns.items() if column.measured]

    def numbers(self, name: str) -> np.ndarray:
        """Return a column's numbers, whatever else is written there."""
        return self.columns[name].numbers

    def checked(self, name: str) -> np.ndarray:
        """Return a column's numbers; refuse it if anything else is written there."""
        if bad := self.columns[name].bad:
            row, shown = bad[0]
            if re.fullmatch(r"[-+]?(?:nan|inf|infinity)", shown, re.IGNORECASE):
                raise UserError(
                    f"column {name!r} row {row + 1}: {shown}: remove that row, or leave the cell "
                    "empty if nothing was measured"
                )
            raise UserError(
                f"column {name!r} row {row + 1}: {shown[:40]!r} is not a number: "
                "give a numeric column"
            )
        return self.numbers(name)

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
        self.bad: list[tuple[int, str]] = []
        self.percent = False

    def pad(self, rows: int) -> array:
        """Fill the numbers up to ``rows`` with NaN, and return them."""
        if len(self.numbers) < rows:
            self.numbers.frombytes(np.full(rows - len(self.numbers), np.nan).tobytes())
        return self.numbers

    def put(self, row: int, value: Any, counts_steps: bool) -> None:
        """Set a row: a number, or a text that may be one; None leaves it empty."""
        if type(value) in (float, int):
            if value - value == 0 and -1e308 < value < 1e308:
                numbers = self.pad(row)
                if len(numbers) == row:
                    numbers.append(value)
                else:  # the same name twice in one row, flat and nested: the later one counts
                    numbers[row] = value
            else:
                self.put_bad(row, "NaN" if value != value else str(value))
        elif value is not None:
            self._put_text(row, str(value).strip(), counts_steps)

    def _put_text(self, row: int, text: str, counts_steps: bool) -> None:
        number = re.sub(r"^(\d+)/\d+$", r"\1", text) if counts_steps else text  # 12/300
        try:
            value = float(number.removesuffix("%"))
        except ValueError:
            self.put_bad(row, text)
            if len(self.words) < _MOST_TEXTS:
                self.codes.extend([-1] * (row - len(self.codes)))
                self.codes.append(self.words.setdefault(text[:200], len(self.words)))
            return
        self.percent |= number.endswith("%")
        self.put(row, value, False) if np.isfinite(value) else self.put_bad(row, text)

    def put_bad(self, row: int, shown: str) -> None:
        """Leave a row without a number, and remember what stands there."""
        self.pad(row + 1)
        if len(self.bad) < _MOST_BAD:
            self.bad.append((row, shown[:200]))

    def column(self, rows: int) -> Column:
        """Return the column, filled up to ``rows``."""
        numbers, codes = np.frombuffer(self.pad(rows)), None
        if self.words:
            self.codes.extend([-1] * (rows - len(self.codes)))
            codes = np.frombuffer(self.codes, dtype=np.int32)
        return Column(numbers, codes, list(self.words), self.bad, self.percent)


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
            if (
                type(value) is float
                and column is not None
                and len(column.numbers) == row
                and (-1e308 < value < 1e308)
            ):
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
                for row in np.nonzero(np.isinf(values))[0][:_MOST_BAD]:
                    column.put_bad(self.rows + int(row), str(values[row]))
                column.pad(self.rows).frombytes(values.tobytes())
            else:
                counts_steps = "step" in name.lower()
                for row, value in enumerate(values, self.rows):
                    if value is not None:
                        self._column(name).put(row, value, counts_steps)
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
    return [name for name, column in table.columns.items() if column.codes is not None]


def _is_metric(table: Table, name: str) -> bool:
    """Whether a column has numbers, and they are neither a step nor the name of a run."""
    column = table.columns[name]
    if column.codes is not None and not np.isfinite(column.numbers).any():
        return False
    names_rows = matching([name], STEPS) or re.search(r"(?:^|_)(?:step|epoch|seed|run|id)s?$", name)
    return not names_rows


def _prefixed(prefixes: list[str], name: str, code: int) -> str:
    return name if _SAYS_ROLE.match(name) else f"{prefixes[code]}/{name}"


def _split(table: Table, by: str, names: list[str], named: Callable[[str, int], str]) -> Table:
    """Split columns by the text in column ``by`` into columns that ``named`` (name, code) names."""
    codes = table.columns[by].codes
    columns = {n: c for n, c in table.columns.items() if n not in (*names, by)}
    for name in names:
        column = table.columns[name]
        measured = np.isfinite(column.numbers)
        for code in sorted({*np.unique(codes[measured]), *(codes[row] for row, _ in column.bad)}):
            new = name if code < 0 else named(name, code)
            numbers = np.where(measured & (codes == code), column.numbers, np.nan)
            bad = [(row, shown) for row, shown in column.bad if codes[row] == code]
            old = columns.get(new, Column(numbers))
            numbers = np.where(np.isfinite(numbers), numbers, old.numbers)
            columns[new] = Column(
                numbers, old.codes, old.words, old.bad + bad, old.percent or column.percent
            )
    return replace(table, columns=columns)
