"""Errors that a user can act on, and the one place that finds the nearest known name."""

from __future__ import annotations

import difflib
import errno
import json
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LONGEST = 200  # characters of a value that are shown
_LISTED = 30  # with more names than these one line would be a page


class UserError(Exception):
    """Something the user gave cannot be used. The message is one line: field, value, fix.

    The command line prints the message alone (no traceback) and exits with code 2.
    """

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        """Be one line in a notebook's cell too: IPython shows these lines for a traceback."""
        return [f"{type(self).__name__}: {self}"]


def bad_value(field: str, value: object, fix: str) -> UserError:
    """Return the error for one bad value, so that every message has the same shape: one line.

    >>> str(bad_value("update.clip_fraction", 2, "give a fraction between 0 and 1"))
    'update.clip_fraction = 2: give a fraction between 0 and 1'
    """
    plain = isinstance(value, str) and value.strip() and value.isprintable()
    shown = value if plain else " ".join(repr(value).split())
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}..."
    return UserError(f"{field} = {shown}: {fix}")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that does not exist, with the nearest one that does.

    >>> str(unknown_name("metric", "entropy_nat", ["entropy_nats", "reward"]))
    "unknown metric 'entropy_nat': did you mean 'entropy_nats'? known: entropy_nats, reward"
    """
    name, known = str(name), sorted(known)
    near = nearest(name, known)
    if near and len(known) > _LISTED:
        return UserError(f"unknown {kind} {name!r}: did you mean {near!r}?")
    hint = f"did you mean {near!r}? " if near else ""
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return UserError(f"unknown {kind} {name!r}: {hint}known: {', '.join(known[:_LISTED])}{more}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that was most likely meant; the empty string if none is near.

    >>> nearest("fig1", ["fig01", "fig14"]), nearest("--sed", ["--seed", "--steps"])
    ('fig01', '--seed')
    """
    known = list(known)
    for other in known:  # the same but for case, leading zeros and separators
        if _bare(other) == _bare(name):
            return other
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), "")


def _bare(name: str) -> str:
    return re.sub(r"[-_ ]|(?<![\d.])0+(?=\d)", "", name.casefold())


def whole_number(field: str, value: object, *, least: int = 0) -> int:
    """Return a count or seed as an int, or raise the error that says what it must be.

    >>> whole_number("seeds", 3, least=1)
    3
    """
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole and value >= least:
        return int(value)
    fix = f"give {least} or more" if is_whole and least else f"give a whole number from {least} on"
    fix += ", without quotes" if isinstance(value, str) and value.isdecimal() else ""
    raise bad_value(field, value, fix)


def of_text(value: object) -> object:
    """Return what a text says in JSON, as command lines and papermill give it; else the value.

    >>> of_text("[1]"), of_text("true"), of_text("kl_cov"), of_text(2)
    ([1], True, 'kl_cov', 2)
    """
    with suppress(ValueError):
        return json.loads(value) if isinstance(value, str) else value
    return value


def name_list(field: str, value: object) -> tuple[str, ...]:
    """Return a list of names as a tuple; a string is refused: it is a list of letters.

    Papermill passes a list as JSON text, which is read too.

    >>> name_list("methods", ["kl_cov"]), name_list("methods", '["kl_cov"]')
    (('kl_cov',), ('kl_cov',))
    """
    value = of_text(value)
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(value)
    example = value if isinstance(value, str) and value.isidentifier() else "kl_cov"
    raise bad_value(field, value, f'give a list of names, such as ["{example}"]')


def real_number(field: str, value: object) -> float:
    """Return a number as a float; anything else is refused, true and false too.

    >>> real_number("eta", 1)
    1.0
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise bad_value(field, value, "give a number")


def number_list(field: str, values: object) -> list[float]:
    """Return numbers as a list of floats; anything else is refused.

    >>> number_list("logits", [0, 1.5])
    [0.0, 1.5]
    """
    try:
        return [real_number(field, value) for value in values]
    except (TypeError, UserError):
        fix = "give a list of numbers, such as [0.0, 1.0]"
        raise bad_value(field, values, fix) from None


def count_list(field: str, values: object, *, least: int = 1) -> list[int]:
    """Return one or more counts as a list of ints; anything else is refused.

    >>> count_list("horizons", (1, 2))
    [1, 2]
    """
    if not isinstance(values, list | tuple) or not values:
        raise bad_value(field, values, "give a list of whole numbers, such as [1, 2]")
    return [whole_number(field, value, least=least) for value in values]


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


def folder_path(field: str, path: object, fix: str) -> Path:
    """Return a path where a folder is or can be made; refuse one where a file stands in its way."""
    if not isinstance(path, str | Path) or not str(path).strip():
        raise bad_value(field, path if path is None else str(path), "give the path of a folder")
    place = Path(os.path.expanduser(path))  # ~ is the shell's, and unread in --out=~/x
    there = next((p for p in (place, *place.parents) if os.path.lexists(p)), None)
    if there is None or there.is_dir():
        return place
    raise bad_value(field, str(path), f"{there} is no folder; {fix}")


def fraction_fix(value: float) -> str:
    """Say what to write instead of a share that is no fraction.

    >>> fraction_fix(2)
    'a share is a fraction between 0 and 1; for 2 percent write 0.02'
    """
    fix = "a share is a fraction between 0 and 1"
    return f"{fix}; for {value:g} percent write {value / 100:g}" if value > 1 else fix


def cannot_write(place: object, error: OSError) -> UserError | None:
    """Return the error for a full or forbidden disk, or None where ``error`` is of another kind.

    >>> str(cannot_write("runs", OSError(errno.ENOSPC, "No space left on device")))
    'runs: No space left on device; free some space, then start again: nothing saved is lost'
    """
    again = "then start again: nothing saved is lost"
    writable = "make it writable or choose another folder"
    in_its_place = "a file stands where a folder is needed: choose another folder"
    fixes = {
        errno.ENOSPC: f"free some space, {again}",
        errno.EDQUOT: f"free some space, {again}",
        errno.EFBIG: f"allow larger files (ulimit -f), {again}",
        errno.EACCES: writable,
        errno.EPERM: writable,
        errno.ENOENT: "it was removed, or cannot be made there: choose another folder",
        errno.EROFS: "choose a folder that can be written to",
        errno.ENOTDIR: in_its_place,
        errno.EEXIST: in_its_place,
        errno.EISDIR: "a folder stands where a file is needed: choose another",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.ELOOP: "its links lead in a circle: choose another folder",
        errno.EIO: "the disk failed; choose a folder on another one",
    }
    if error.errno not in fixes:
        return None
    return UserError(f"{place}: {error.strerror}; {fixes[error.errno]}")


def as_os_error(error: Exception) -> OSError | None:
    """Return the operating system's error behind another library's; None if there is none.

    Libraries in Rust (safetensors) put the error number into their text.

    >>> as_os_error(RuntimeError("I/O error: No space left on device (os error 28)")).strerror
    'No space left on device'
    """
    if isinstance(error, OSError):
        return error
    said = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said else None


@contextmanager
def naming_disk_faults(place: object = "") -> Iterator[None]:
    """Turn a disk error, raised by any library, into one line.

    Args:
        place: what the line begins with; the file's name, where the error has one, if empty.

    Raises:
        UserError: the disk is full, forbidden, or a file stands where a folder is needed.

    """
    try:
        yield
    except Exception as error:
        said = as_os_error(error)
        known = cannot_write(place or said.filename or "disk", said) if said else None
        if known is None:
            raise
        raise known from error
