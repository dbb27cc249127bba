"""A log as columns of numbers, whatever it was: built row by row, then put into one shape.

Numbers lie in compact arrays and long texts are not kept, so that millions of rows fit in memory.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from entropy_mech.errors import UserError

_WRAPPERS = ("data", "metrics", "log", "logs", "stats", "scalars")  # of the metrics of one row
_MOST_TEXTS = 5_000  # a column with more different texts names nothing: prompts, times, addresses
_MOST_BAD = 1_000


@dataclass
class Table:
    """Columns of one log. ``numbers``: (rows,) float64, NaN where nothing was measured.

    ``texts``: codes (rows,), -1 where there is none, and the texts; ``bad``: what stands where a
    number should, as (row, text); ``percent``: columns written with a percent sign; ``notes``: what
    a reader has to be told.
    """

    rows: int
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    bad: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    percent: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All columns, in the order in which they came."""
        return list(dict.fromkeys([*self.numbers, *self.texts, *self.bad]))

    def measured(self) -> list[str]:
        """Return the columns with a number, or with what should have been one."""
        return [n for n in self.names if n in self.bad or np.isfinite(self.numbers[n]).any()]

    def column(self, name: str) -> np.ndarray:
        """Return a column of numbers; refuse it if anything else is written there."""
        if name in self.bad:
            row, shown = self.bad[name][0]
            if re.fullmatch(r"[-+]?(?:nan|inf|infinity)", shown, re.IGNORECASE):
                raise UserError(
                    f"column {name!r} row {row + 1}: {shown}: remove that row, or leave the cell "
                    "empty if nothing was measured"
                )
            raise UserError(
                f"column {name!r} row {row + 1}: {shown[:40]!r} is not a number: "
                "give a numeric column"
            )
        return self.numbers[name]

    def take(self, keep: np.ndarray) -> Table:
        """Return the rows of a mask (rows,)."""
        if keep.all():
            return self
        at = np.cumsum(keep) - 1
        return Table(
            int(keep.sum()),
            {name: column[keep] for name, column in self.numbers.items()},
            {name: (codes[keep], words) for name, (codes, words) in self.texts.items()},
            {
                name: left
                for name, found in self.bad.items()
                if (left := [(int(at[row]), shown) for row, shown in found if keep[row]])
            },
            self.percent,
            self.notes,
        )


class Builder:
    """Collects records, or blocks of columns, into a ``Table``.

    >>> builder = Builder()
    >>> builder.add({"step": 1, "data": {"actor": {"entropy": 0.5}}})
    >>> builder.add({"step": "2/9", "note": "slow"})
    >>> table = builder.table()
    >>> table.names, table.column("actor/entropy").tolist(), table.column("step").tolist()
    (['step', 'actor/entropy', 'note'], [0.5, nan], [1.0, 2.0])
    """

    def __init__(self) -> None:
        self.rows = 0
        self.notes: list[str] = []
        self._numbers: dict[str, array] = {}
        self._texts: dict[str, tuple[array, dict[str, int]]] = {}
        self._bad: dict[str, list[tuple[int, str]]] = {}
        self._percent: set[str] = set()

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one row; what is nested gets names with slashes."""
        row, numbers = self.rows, self._numbers
        for name, value in record.items():
            column = numbers.get(name)
            if (
                type(value) is float
                and column is not None
                and len(column) == row
                and (-1e308 < value < 1e308)
            ):
                column.append(value)  # what nearly all of a long log is
            else:
                for inner, leaf in _flat({name: value}):
                    self._put(row, inner, leaf)
        self.rows += 1

    def add_columns(self, columns: Mapping[str, Any]) -> None:
        """Add a block of rows: arrays of floats, or sequences of anything, of one length."""
        length = 0
        for name, values in columns.items():
            length = len(values)
            if isinstance(values, np.ndarray) and values.dtype == np.float64:
                for row in np.nonzero(np.isinf(values))[0][:_MOST_BAD]:
                    self._not_a_number(self.rows + int(row), name, str(values[row]))
                self._padded(name, self.rows).frombytes(values.tobytes())
            else:
                for row, value in enumerate(values, self.rows):
                    self._put(row, name, value)
        self.rows += length

    def table(self) -> Table:
        """Return all that was added."""
        numbers = {
            name: np.frombuffer(self._padded(name, self.rows)) for name in list(self._numbers)
        }
        texts = {}
        for name, (codes, words) in self._texts.items():
            codes.extend([-1] * (self.rows - len(codes)))
            texts[name] = (np.frombuffer(codes, dtype=np.int32), list(words))
        return Table(self.rows, numbers, texts, self._bad, self._percent, self.notes)

    def _padded(self, name: str, rows: int) -> array:
        column = self._numbers.get(name)
        if column is None:
            column = self._numbers[name] = array("d")
        if len(column) < rows:
            column.frombytes(np.full(rows - len(column), np.nan).tobytes())
        return column

    def _put(self, row: int, name: str, value: Any) -> None:
        kind = type(value)
        if kind is float or kind is int:
            if value - value == 0 and -1e308 < value < 1e308:
                column = self._padded(name, row)
                if len(column) == row:
                    column.append(value)
                else:  # the same name twice in one row, spelt flat and nested: the later
                    column[row] = value
            else:
                self._not_a_number(row, name, "NaN" if value != value else str(value))
        elif value is not None:
            self._put_text(row, name, str(value))

    def _put_text(self, row: int, name: str, text: str) -> None:
        text = text.strip()
        number = re.sub(r"^(\d+)/\d+$", r"\1", text) if "step" in name.lower() else text
        try:
            value = float(number.removesuffix("%"))
        except ValueError:
            self._not_a_number(row, name, text)
            codes, words = self._texts.setdefault(name, (array("i"), {}))
            if len(words) < _MOST_TEXTS:
                codes.extend([-1] * (row - len(codes)))
                codes.append(words.setdefault(text[:200], len(words)))
            return
        if number.endswith("%"):
            self._percent.add(name)
        self._put(row, name, value) if np.isfinite(value) else self._not_a_number(row, name, text)

    def _not_a_number(self, row: int, name: str, shown: str) -> None:
        self._padded(name, row + 1)
        found = self._bad.setdefault(name, [])
        if len(found) < _MOST_BAD:
            found.append((row, shown[:200]))


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, prefix if name in _WRAPPERS else f"{prefix}{name}/")
        else:
            yield prefix + str(name), value
