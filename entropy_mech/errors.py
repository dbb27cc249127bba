"""Errors that a user can act on, and the one place that finds the nearest known name."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

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
    """Return the error for one bad value, so that every message has the same shape.

    >>> str(bad_value("update.clip_fraction", 2, "give a fraction between 0 and 1"))
    'update.clip_fraction = 2: give a fraction between 0 and 1'
    """
    shown = value if isinstance(value, str) and value else repr(value)
    return UserError(f"{field} = {shown}: {fix}")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that does not exist, with the nearest one that does.

    >>> str(unknown_name("metric", "entropy_nat", ["entropy_nats", "reward"]))
    "unknown metric 'entropy_nat': did you mean 'entropy_nats'? known: entropy_nats, reward"
    """
    known = sorted(known)
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
    for other in known:  # but for case, zeros and what joins words it is the same
        if _bare(other) == _bare(name):
            return other
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), "")


def _bare(name: str) -> str:
    return re.sub(r"[-_ ]|(?<![\d.])0+(?=\d)", "", name.casefold())


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
    fixes = {
        errno.ENOSPC: "free some space, then start again: nothing saved is lost",
        errno.EDQUOT: "free some space, then start again: nothing saved is lost",
        errno.EACCES: "make it writable or choose another folder",
        errno.EROFS: "choose a folder that can be written to",
    }
    if error.errno not in fixes:
        return None
    return UserError(f"{place}: {error.strerror}; {fixes[error.errno]}")
