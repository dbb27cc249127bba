"""Exceptions and warnings that tests expect: ``raises``, ``warns`` and what they give."""

from __future__ import annotations

import re
import warnings as _warnings

from builtin_fixtures import WarningsRecorder
from outcomes import Failed


class ExceptionInfo:
    """What ``raises`` gives: filled in once the exception came."""

    value = type = tb = traceback = None

    def fill(self, error):
        self.value, self.type, self.tb = error, type(error), error.__traceback__

    @property
    def typename(self):
        return self.type.__name__

    def exconly(self, tryshort=False):
        text = str(self.value)
        return f"{self.typename}: {text}" if text else self.typename

    def errisinstance(self, expected):
        return isinstance(self.value, expected)

    def group_contains(self, expected, *, match=None, depth=None):
        return any(
            isinstance(error, expected) and (match is None or _matches(error, match))
            for at, error in _members(self.value, 1) if depth in (None, at)
        )  # fmt: skip

    def match(self, pattern):
        assert _matches(self.value, pattern), f"{str(self.value)!r} does not match {pattern!r}"
        return True

    def __str__(self):
        return repr(self)

    def __repr__(self):
        return f"<ExceptionInfo {self.value!r}>"


def _matches(error, pattern) -> bool:
    return bool(re.search(pattern, "\n".join([str(error), *getattr(error, "__notes__", ())])))


def _members(group, depth):
    """All exceptions in a group, and in the groups in it, each with its depth."""
    for error in getattr(group, "exceptions", ()):
        yield depth, error
        yield from _members(error, depth + 1)


class Raises:
    """Fails unless the block raises one of the expected exceptions."""

    def __init__(self, expected, match=None, check=None):
        kinds = expected if isinstance(expected, tuple) else (expected,)
        if not kinds or not all(
            isinstance(k, type) and issubclass(k, BaseException) for k in kinds
        ):
            raise TypeError(f"raises() takes exception types, not {expected!r}")
        self.expected, self.pattern, self.check = kinds, match, check

    def __enter__(self):
        self.info = ExceptionInfo()
        return self.info

    def __exit__(self, kind, error, _traceback):
        if kind is None:
            raise Failed(f"did not raise {' or '.join(k.__name__ for k in self.expected)}")
        if not issubclass(kind, self.expected):
            return False
        self.info.fill(error)
        self.examine(error)
        return True

    def examine(self, error):
        """Raise what a test sees of an exception of the right class that is not right."""
        if self.pattern is not None and not _matches(error, self.pattern):
            raise AssertionError(f"{str(error)!r} does not match {self.pattern!r}")
        if self.check is not None and not self.check(error):
            raise AssertionError(f"{error!r} does not pass the check")

    def matches(self, error):
        try:
            return isinstance(error, self.expected) and self.examine(error) is None
        except AssertionError:
            return False


class RaisesGroup(Raises):
    """Fails unless the block raises a group of exactly the expected exceptions, in any order."""

    def __init__(self, *members, match=None, check=None, allow_unwrapped=False,
                 flatten_subgroups=False):  # fmt: skip
        super().__init__(BaseExceptionGroup, match, check)
        self.members = [m if isinstance(m, Raises) else Raises(m) for m in members]
        self.flatten = flatten_subgroups
        if allow_unwrapped:
            self.expected += self.members[0].expected

    def examine(self, error):
        super().examine(error)
        found = [error]
        if isinstance(error, BaseExceptionGroup):
            found = [e for _, e in _members(error, 1) if not hasattr(e, "exceptions")]
            found = found if self.flatten else list(error.exceptions)
        if not _pairs_off(self.members, found):
            raise AssertionError(f"{error!r} is not the expected group")


def _pairs_off(wanted, found) -> bool:
    if not wanted:
        return not found
    return any(
        wanted[0].matches(error) and _pairs_off(wanted[1:], found[:i] + found[i + 1 :])
        for i, error in enumerate(found)
    )


def raises(expected_exception=BaseException, *args, match=None, check=None, **kwargs):
    if not args:
        return Raises(expected_exception, match, check)
    if match is not None:
        kwargs["match"] = match
    with Raises(expected_exception) as info:
        args[0](*args[1:], **kwargs)
    return info


class Warns(WarningsRecorder):
    """Fails unless the block gives one of the expected warnings."""

    def __init__(self, expected=Warning, match=None):
        super().__init__()
        self.expected = expected if isinstance(expected, tuple) else (expected,)
        if not all(isinstance(k, type) and issubclass(k, Warning) for k in self.expected):
            raise TypeError(f"warns() takes warning types, not {expected!r}")
        self.pattern = match

    def __exit__(self, *error):
        super().__exit__(*error)
        if error[0] is not None:
            return
        wanted = [w for w in self.list if issubclass(w.category, self.expected)]
        if self.pattern is not None:
            wanted = [w for w in wanted if re.search(self.pattern, str(w.message))]
        if not wanted:
            names = " or ".join(k.__name__ for k in self.expected)
            raise Failed(
                f"did not warn with {names}" + (f" matching {self.pattern!r}" * bool(self.pattern))
            )
        for other in self.list:  # those that this block did not ask for are another's to see
            if other not in wanted:
                _warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def warns(expected_warning=Warning, *args, match=None, **kwargs):
    if not args:
        return Warns(expected_warning, match)
    with Warns(expected_warning):
        return args[0](*args[1:], **kwargs)


def deprecated_call(*args, match=None, **kwargs):
    kinds = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    return warns(kinds, *args, match=match, **kwargs)
