# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""What both processes know: plain types, whose values cross as such, and names of the library."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import sys
import types
import uuid

import mirrors
import proxies

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
        if base in ARGUMENTS or base in mirrors.CONTENT or base is type:
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
    if issubclass(kind, BaseException) or kind in ARGUMENTS or kind in mirrors.CONTENT:
        return True
    return kind.__module__ in _ABOVE_PROXIES and kind is not object
