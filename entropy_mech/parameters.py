"""Parameters of a notebook that is executed with papermill, which only warns of unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from entropy_mech.errors import unknown_name


def known_only(namespace: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a plain value in a notebook's ``globals()`` that none of its parameters has named.

    To be called first, below the parameters: papermill has just put there what it was given.

    >>> known_only({"log": "run.csv", "_": 1, "In": [], "exit": print}, ["log", "step_column"])
    >>> known_only({"step_colum": "t"}, ["log", "step_column"])
    Traceback (most recent call last):
    ...
    entropy_mech.errors.UserError: unknown parameter 'step_colum': did you mean 'step_column'? \
known: log, step_column
    """
    known = set(known)
    for name, value in namespace.items():
        plain = isinstance(value, str | int | float | list | dict | tuple | None)
        if plain and name not in known | {"In", "Out"} and not name.startswith("_"):
            raise unknown_name("parameter", name, known)
