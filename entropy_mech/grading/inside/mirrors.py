"""Containers that both processes hold: real ones here and there, kept equal message by message.

A list that a function returns is a real ``list`` for its tests, so it compares, prints and sorts
as one, and no ``__eq__`` that a program wrote can answer for it. It is also the same list as the
program's: what either side changes travels with its next message, until one of them holds it
no longer.
"""

from __future__ import annotations

import array
import collections
import functools
import sys
import threading
from operator import is_

from proxies import order_of


def _flat(pairs):
    return [part for pair in list(pairs) for part in pair]


def _fill_mapping(base):
    def fill(target, flat):
        base.clear(target)
        for i in range(0, len(flat), 2):
            base.__setitem__(target, flat[i], flat[i + 1])

    return fill


def _fill_by(clear, extend):
    def fill(target, items):
        clear(target)
        extend(target, items)

    return fill


def _fill_slice(base):
    def fill(target, items):
        base.__setitem__(target, slice(None), items)

    return fill


def _fill_array(target, data):
    array.array.__delitem__(target, slice(None))
    array.array.frombytes(target, data)


def _fill_defaultdict(target, items):
    target.default_factory = items[0]
    _fill_mapping(dict)(target, items[1:])


# base type: how to read its content as a list or as bytes, and how to replace it
CONTENT = {
    list: (lambda v: list(list.__iter__(v)), _fill_slice(list)),
    collections.OrderedDict: (
        lambda v: _flat(collections.OrderedDict.items(v)), _fill_mapping(collections.OrderedDict),
    ),
    collections.defaultdict: (
        lambda v: [v.default_factory, *_flat(dict.items(v))], _fill_defaultdict,
    ),
    dict: (lambda v: _flat(dict.items(v)), _fill_mapping(dict)),
    set: (lambda v: list(set.__iter__(v)), _fill_by(set.clear, set.update)),
    collections.deque: (
        lambda v: list(collections.deque.__iter__(v)),
        _fill_by(collections.deque.clear, collections.deque.extend),
    ),
    bytearray: (lambda v: bytes(bytearray.__iter__(v)), _fill_slice(bytearray)),
    array.array: (array.array.tobytes, _fill_array),
}  # fmt: skip
EXACT = (*CONTENT, collections.Counter)
BY_NAME = {kind.__name__: kind for kind in EXACT}
KEYED = (set, dict)  # what needs the hash of its elements as it is filled


@functools.cache
def base_of(kind: type) -> type | None:
    """The builtin container whose content a value of this class has."""
    return next((base for base in order_of(kind) if base in CONTENT), None)


def extra(value):
    """What cannot be changed in a container, and must be known to make it."""
    if isinstance(value, collections.deque):
        return value.maxlen
    return value.typecode if isinstance(value, array.array) else None


def blank(kind: type, extra):
    """An empty container of a class."""
    base = base_of(kind)
    if base is array.array:
        return array.array.__new__(kind, extra)
    value = base.__new__(kind)
    if base is collections.deque:
        collections.deque.__init__(value, (), extra)
    return value


def content(value):
    return CONTENT[base_of(type(value))][0](value)


def fill(value, items) -> None:
    CONTENT[base_of(type(value))][1](value, items)


def same(now, before) -> bool:
    if isinstance(now, bytes):
        return now == before
    return len(now) == len(before) and all(map(is_, now, before))


class Mirrors:
    """The containers that this side shares with the other, by their numbers among all objects."""

    def __init__(self, objects):
        self.objects = objects
        self.seen: dict[int, object] = {}  # number -> content when it last crossed

    def changed(self):
        """Yield (number, container, content) of what changed here since it last crossed."""
        for number, before in list(self.seen.items()):
            now = content(value := self.objects[number])
            if not same(now, before):
                self.seen[number] = now
                yield number, value, now

    def release(self, forget) -> list[int]:
        """Forget the containers that nothing here holds any more, and return which."""
        if threading.active_count() > 1:  # a message that names one may be under way
            return []
        unused = []
        for number in list(self.seen):
            value = self.objects[number]
            if number > 0 and type(value) not in EXACT:
                continue  # only the side with the proxy knows whether it is still wanted
            if sys.getrefcount(value) <= 3:  # the table of objects, `value`, the argument
                unused.append(number)
                forget(number)
        return unused
