"""The shapes in which trackers export a log, made into one column a metric of one run."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.law.dialects import STEPS, matching
from entropy_mech.law.table import Table

_TAGS, _VALUES = (r"tag|metric(?:_name)?|key|variable",), ("value", "scalar")
_ROW_TYPES = (
    r"(?:row_|record_|event_|log_|metric_)?type|kind|split|mode|phase|stage|event|subset|source",
)
_ROLES = {
    "eval": r"eval(?:uation)?|val(?:id(?:ation)?)?|test|dev|held_?out",
    "train": r"train(?:ing|er)?|updates?|learn(?:er)?|actor|policy",
    "rollout": r"rollouts?|sampl(?:e|er|ing)|generat(?:e|ion|or)",
}
_SAYS_ROLE = re.compile(rf"(?:{'|'.join(_ROLES.values())})[/_.]", re.IGNORECASE)


def chosen_export(table: Table, run: str) -> tuple[Table, str]:
    """Return a wandb export's columns without the run's name before ``" - "``, and that name.

    Any other table is returned as it is, with the empty string. Of several runs ``run`` must name
    one. ``__MIN`` and ``__MAX``, the spread within a bin, are left out.
    """
    split = {name: name.rpartition(" - ") for name in table.names if " - " in name}
    split = {
        name: (owner, key)
        for name, (owner, _, key) in split.items()
        if owner and not re.search(r"__(?:MIN|MAX)$", key)
    }
    owners = list(dict.fromkeys(owner for owner, _ in split.values()))
    if not owners:
        return table, ""
    if run and run not in owners:
        raise unknown_name("run", run, owners)
    if len(owners) > 1 and not run:
        raise UserError(
            f"{len(owners)} runs in this export ({_listed(owners)}): name one with --run NAME"
        )
    own = run or owners[0]
    new = {name: key for name, (owner, key) in split.items() if owner == own}
    new.update({name: name for name in table.names if " - " not in name})
    return _renamed(table, new), own


def one_metric_a_column(table: Table) -> Table:
    """Spread a table that has one metric a row (tag, step, value) over columns by tag."""
    tag, value = matching(table.texts, _TAGS), matching(table.numbers, _VALUES)
    if not tag or not value:
        return table
    codes, words = table.texts[tag[0]]
    return _split(table, codes, [value[0]], lambda _, code: words[code], drop=tag[0])


def roles_as_prefixes(table: Table) -> Table:
    """Give metrics the name of their rows' type: ``eval/accuracy`` beside ``rollout/accuracy``.

    A column such as type, split or mode counts if its words mean at least two of evaluation,
    training and rollout. Steps and names that say so themselves stay as they are.
    """
    for kind in matching(table.texts, _ROW_TYPES):
        codes, words = table.texts[kind]
        roles = [role_of(word) for word in words]
        if len({role for role in roles if role}) < 2:
            continue
        said = [role or word for role, word in zip(roles, words, strict=True)]
        metrics = [n for n in table.measured() if n not in _only_texts(table)]
        metrics = [n for n in metrics if n != kind and not _names_rows(n)]
        return _split(table, codes, metrics, partial(_told, said), drop=kind)
    return table


def _only_texts(table: Table) -> list[str]:
    return [name for name in table.texts if not np.isfinite(table.numbers[name]).any()]


def role_of(word: str) -> str:
    """Return eval, train or rollout for a word that means it, else the empty string.

    >>> role_of("validation"), role_of("summary")
    ('eval', '')
    """
    return next((role for role in _ROLES if matching([word], [_ROLES[role]])), "")


def _told(said: list[str], name: str, code: int) -> str:
    return name if _SAYS_ROLE.match(name) else f"{said[code]}/{name}"


def _names_rows(name: str) -> bool:
    return bool(matching([name], STEPS)) or bool(
        re.search(r"(?:^|_)(?:step|epoch|seed|run|id)s?$", name)
    )


def _split(
    table: Table, codes: np.ndarray, columns: list[str], named: Callable, drop: str
) -> Table:
    """Split columns of numbers by the code of their rows, into columns ``named`` (name, code)."""
    numbers = {n: c for n, c in table.numbers.items() if n not in columns and n != drop}
    bad = {n: b for n, b in table.bad.items() if n not in columns and n != drop}
    percent = set(table.percent)
    for name in columns:
        here = np.isfinite(table.numbers[name])
        wrong = table.bad.get(name, [])
        for code in sorted({*np.unique(codes[here]), *(codes[row] for row, _ in wrong)}):
            new = name if code < 0 else named(name, code)
            values = np.where(here & (codes == code), table.numbers[name], np.nan)
            old = numbers.get(new)
            numbers[new] = values if old is None else np.where(np.isfinite(values), values, old)
            if found := [(row, shown) for row, shown in wrong if codes[row] == code]:
                bad.setdefault(new, []).extend(found)
            if name in table.percent:
                percent.add(new)
    texts = {n: t for n, t in table.texts.items() if n not in (*columns, drop)}
    return Table(table.rows, numbers, texts, bad, percent, table.notes)


def _renamed(table: Table, new: dict[str, str]) -> Table:
    def chosen(columns: dict) -> dict:
        return {new[name]: column for name, column in columns.items() if name in new}

    return Table(
        table.rows,
        chosen(table.numbers),
        chosen(table.texts),
        chosen(table.bad),
        {new[name] for name in table.percent if name in new},
        table.notes,
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
