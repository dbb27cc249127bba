"""``pytest.approx``: equality within a tolerance, decided here and never by the program."""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import math
import numbers
import sys

import remote

_TEXT = (str, bytes, bytearray)
_NUMBER = (numbers.Complex, decimal.Decimal)


def approx(expected, rel=None, abs=None, nan_ok=False):
    """Equal to a number, a flat sequence, a mapping, an array or a time within a tolerance."""
    numpy = sys.modules.get("numpy")
    if isinstance(expected, collections.abc.Mapping):
        kind = _Mapping
    elif numpy and isinstance(expected, numpy.ndarray):
        kind = _Array
    elif hasattr(expected, "__getitem__") and hasattr(expected, "__len__"):
        kind = _Scalar if isinstance(expected, _TEXT) else _Sequence
    elif isinstance(expected, collections.abc.Collection):
        raise TypeError(f"approx() takes ordered sequences only, not {expected!r}")
    elif isinstance(expected, (datetime.datetime, datetime.timedelta)):
        kind = _Time
    else:
        kind = _Scalar
    return kind(expected, rel, abs, nan_ok)


class _Approx:
    __array_ufunc__ = None  # so that an array asks this object
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, expected, rel, abs, nan_ok):
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok
        self._check()

    def _check(self):
        pass

    def _near(self, got, expected) -> bool:
        time = isinstance(expected, (datetime.datetime, datetime.timedelta))
        kind = _Time if time else _Scalar
        return kind(expected, self._rel, self._abs, self._nan_ok) == got

    def __ne__(self, got):
        return not self == got

    def __bool__(self):
        raise AssertionError("approx() stands in a comparison; it has no truth of its own")

    def __repr__(self):
        return f"approx({self._expected!r})"


def _refuse_nested(values):
    for value in values:
        if isinstance(value, collections.abc.Collection) and not isinstance(value, _TEXT):
            raise TypeError(f"approx() does not look into nested containers: {value!r}")


class _Mapping(_Approx):
    def _check(self):
        _refuse_nested(self._expected.values())

    def __eq__(self, got):
        try:
            same = set(got.keys()) == set(self._expected.keys())
        except AttributeError:
            return False
        return same and all(self._near(got[key], self._expected[key]) for key in self._expected)


class _Sequence(_Approx):
    def _check(self):
        _refuse_nested(self._expected)

    def __eq__(self, got):
        try:
            same = len(got) == len(self._expected)
        except TypeError:
            return False
        return same and all(map(self._near, got, self._expected))


class _Array(_Approx):
    def __eq__(self, got):
        numpy = sys.modules["numpy"]
        if isinstance(got, remote.Remote):
            return False
        if not numpy.isscalar(got):
            try:
                got = numpy.asarray(got)
            except (TypeError, ValueError):
                return False
            if got.shape != self._expected.shape:
                return False
            got = got.flat
            return all(self._near(a.item(), b.item()) for a, b in zip(got, self._expected.flat))  # noqa: B905 (the shapes are the same)
        return all(self._near(got, value.item()) for value in self._expected.flat)


class _Time(_Approx):
    def _check(self):
        if not isinstance(self._abs, datetime.timedelta):
            raise TypeError("approx() of a time needs abs, a timedelta")

    def __eq__(self, got):
        if not isinstance(got, (datetime.datetime, datetime.timedelta)):
            return False
        try:
            return abs(got - self._expected) <= self._abs
        except TypeError:
            return False


class _Scalar(_Approx):
    def __eq__(self, got):
        if isinstance(got, (remote.Remote, remote.RemoteClass)):
            return False
        numpy, expected = sys.modules.get("numpy"), self._expected
        if numpy and isinstance(got, numpy.ndarray):
            return all(self == value for value in got.flat)
        booleans = (bool, numpy.bool_) if numpy else bool
        if isinstance(expected, booleans):
            return isinstance(got, booleans) and bool(got == expected)
        if got == expected:
            return True
        if not (isinstance(expected, _NUMBER) and isinstance(got, _NUMBER)):
            return False
        size = abs(expected)
        if size != size:
            return self._nan_ok and abs(got) != abs(got)
        if math.isinf(size):
            return False
        return bool(abs(expected - got) <= self._tolerance(size))

    def _tolerance(self, size):
        exact = isinstance(size, decimal.Decimal)
        number = decimal.Decimal if exact else lambda value: value
        absolute = number(self._abs if self._abs is not None else "1e-12" if exact else 1e-12)
        relative = number(self._rel if self._rel is not None else "1e-6" if exact else 1e-6) * size
        for name, value in (("absolute", absolute), ("relative", relative)):
            if not value >= 0:
                raise ValueError(f"the {name} tolerance cannot be {value}")
        return absolute if self._rel is None and self._abs is not None else max(absolute, relative)
