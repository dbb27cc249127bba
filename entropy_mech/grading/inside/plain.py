# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""What both processes know: plain types, whose values cross as such, and names of the library."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import sys
import threading
import types
import uuid
from operator import is_

import proxies
from proxies import order_of


# -- containers that both processes hold -------------------------------------------------------
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
CONTAINERS = {kind.__name__: kind for kind in EXACT}
KEYED = (set, dict)  # what needs the hash of its elements as it is filled


@functools.cache
def container_of(kind: type) -> type | None:
    """The builtin container whose content a value of this class has."""
    return next((base for base in order_of(kind) if base in CONTENT), None)


def extra(value):
    """What cannot be changed in a container, and must be known to make it."""
    if isinstance(value, collections.deque):
        return value.maxlen
    return value.typecode if isinstance(value, array.array) else None


def blank(kind: type, extra):
    """An empty container of a class."""
    base = container_of(kind)
    if base is array.array:
        return array.array.__new__(kind, extra)
    value = base.__new__(kind)
    if base is collections.deque:
        collections.deque.__init__(value, (), extra)
    return value


def content(value):
    return CONTENT[container_of(type(value))][0](value)


def fill(value, items) -> None:
    CONTENT[container_of(type(value))][1](value, items)


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


# -- plain types and names of the library ------------------------------------------------------
_flags_of = type.__dict__["__flags__"].__get__
_HEAP_TYPE = 1 << 9  # the flag of classes that are not the interpreter's own
_OUTSIDE_STDLIB = {"numpy", "scipy", "pandas"}
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type(str.upper), type(int.__add__))
# Modules and builtins whose functions may cross by name into the tests: they only compute.
_PURE = set(
    "math cmath operator _operator _functools functools itertools statistics bisect _bisect "
    "heapq _heapq string json re".split()
)
_PURE_BUILTINS = set(
    "abs all any ascii bin callable chr divmod format hash hex id isinstance issubclass iter len "
    "max min next oct ord pow repr round sorted sum".split()
)
# Modules whose classes may stand above a proxy's class: none of them answers for an object.
_ABOVE_PROXIES = set(
    "abc enum collections collections.abc typing numbers contextlib types threading queue random "
    "string argparse json ast html".split()
)
ONLY_ONES = [
    Ellipsis, NotImplemented, math.nan, dataclasses.MISSING, dataclasses.KW_ONLY,
    dataclasses._FIELD, dataclasses._FIELD_CLASSVAR, dataclasses._FIELD_INITVAR,
]  # fmt: skip
_TYPES = {v: k for k, v in vars(types).items() if k.endswith("Type") and isinstance(v, type)}
VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


def _reduced(kind):
    return lambda value: kind.__reduce__(value)[1]


# immutable type -> the arguments that make a value of it, also for values of its subclasses
ARGUMENTS = {
    int: lambda v: [int.__pos__(v)],
    float: lambda v: [float.__pos__(v)],
    complex: lambda v: [complex.__pos__(v).real, complex.__pos__(v).imag],
    str: lambda v: [str.__str__(v)],
    bytes: lambda v: [bytes.hex(v)],
    tuple: lambda v: [list(tuple.__iter__(v))],
    frozenset: lambda v: [list(frozenset.__iter__(v))],
    decimal.Decimal: lambda v: [decimal.Decimal.__str__(v)],
    fractions.Fraction: lambda v: [f"{v._numerator}/{v._denominator}"],
    uuid.UUID: lambda v: [v.hex],
    datetime.timezone: datetime.timezone.__getinitargs__,
    property: lambda v: [v.fget, v.fset, v.fdel],
    staticmethod: lambda v: [v.__func__],
    classmethod: lambda v: [v.__func__],
    types.GenericAlias: lambda v: [v.__origin__, v.__args__],
}
for _kind in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, range, slice,
              pathlib.PosixPath, pathlib.PurePosixPath):  # fmt: skip
    ARGUMENTS[_kind] = _reduced(_kind)
BY_NAME = {kind.__name__: kind for kind in ARGUMENTS}
SERIES = (tuple, frozenset)
BY_IDENTITY = (object.__hash__, type.__hash__, BaseException.__hash__, None)


@functools.cache
def base_of(kind: type) -> type | None:
    """The builtin type whose plain value a value of this class carries, if any."""
    for base in proxies.order_of(kind):
        if base in ARGUMENTS or base in CONTENT or base is type:
            return base
        if issubclass(base, BaseException) and not _flags_of(base) & _HEAP_TYPE:
            return base  # the interpreter's own
    return None


def library_name(value) -> list[str] | None:
    """Module and name by which both processes know a class, a function or an enum's member."""
    if isinstance(value, enum.Enum) and type(value).__module__ != "enum":
        owner = library_name(type(value))
        return owner and [owner[0], f"{owner[1]}.{value.name}"]
    if isinstance(value, type) and value in _TYPES:
        return ["types", _TYPES[value]]
    owner = getattr(value, "__objclass__", None) or value
    module, name = getattr(owner, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(name, str) or not is_library(module):
        return None
    try:
        return [module, name] if find(sys.modules.get(module), name) is value else None
    except AttributeError:
        return None


def is_library(module) -> bool:
    top = str(module).partition(".")[0]
    return top in sys.stdlib_module_names or top in _OUTSIDE_STDLIB


def may_name(value, name, to_the_tests: bool) -> bool:
    """Whether it may cross by name: into the tests only functions that do nothing but compute."""
    if isinstance(value, (type, enum.Enum)) or not to_the_tests:
        return True
    top = name[1].partition(".")[0]
    return name[0] in _PURE or (name[0] == "builtins" and (top in _PURE_BUILTINS or "." in name[1]))


def find(value, name: str):
    for part in name.split("."):
        value = getattr(value, part)
    return value


def exception_arguments(kind, value):
    if isinstance(value, BaseExceptionGroup):
        return [value.message, value.exceptions]
    return kind.__reduce__(value)[1]


def may_stand_above(kind) -> bool:
    if not isinstance(kind, type):
        return False
    if issubclass(kind, BaseException) or kind in ARGUMENTS or kind in CONTENT:
        return True
    return kind.__module__ in _ABOVE_PROXIES and kind is not object
