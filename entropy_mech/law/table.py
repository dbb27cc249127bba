"""A log as a table of its metrics, and the reshaping of what trackers export to a column a metric.

Cells are numbers or, where none can be read, texts; the long ones of them are cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from entropy_mech.errors import UserError, unknown_name
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
            if _NOT_FINITE.fullmatch(text):
                fix = "remove that row, or leave the cell empty if nothing was measured"
                said = f"{text}: {fix}"
            raise UserError(f"column {name!r} row {row + 1}: {said}")
        return self.numbers(name)

    def take(self, keep: np.ndarray) -> Table:
        """Return the rows of a mask (rows,)."""
        return replace(self, frame=self.frame[keep].reset_index(drop=True))


# -- Reshaping what trackers export --------------------------------------------------------------

_TAGS, _VALUES = (r"tag|metric(?:_name)?|key|variable",), ("value", "scalar")
_ROW_TYPES = (
    r"(?:row_|record_|event_|log_|metric_)?type|kind|split|mode|phase|stage|event|subset|source",
)
_SAYS_ROLE = re.compile(rf"(?:{'|'.join(ROLES.values())})[/_.]", re.IGNORECASE)


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
