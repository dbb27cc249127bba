# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""Values as JSON and back: plain types by value, the rest by reference.

Decoding builds only from the plain types below, which both processes know, and never runs a
function that the other side named. A value of a class that derives from a plain type carries its
plain value.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import importlib
import math
import pathlib
import sys
import threading
import types
import typing
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
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


def _clear_array(target):
    array.array.__delitem__(target, slice(None))


def _fill_defaultdict(target, items):
    target.default_factory = items[0]
    _fill_mapping(dict)(target, items[1:])


# base type: how to read its content as a list, and how to replace it
CONTENT = {
    list: (lambda v: list(list.__iter__(v)), _fill_by(list.clear, list.extend)),
    OrderedDict: (lambda v: _flat(OrderedDict.items(v)), _fill_mapping(OrderedDict)),
    defaultdict: (lambda v: [v.default_factory, *_flat(dict.items(v))], _fill_defaultdict),
    dict: (lambda v: _flat(dict.items(v)), _fill_mapping(dict)),
    set: (lambda v: list(set.__iter__(v)), _fill_by(set.clear, set.update)),
    deque: (lambda v: list(deque.__iter__(v)), _fill_by(deque.clear, deque.extend)),
    bytearray: (lambda v: list(bytearray.__iter__(v)),
                _fill_by(bytearray.clear, bytearray.extend)),
    array.array: (lambda v: list(array.array.__iter__(v)),
                  _fill_by(_clear_array, array.array.extend)),
}  # fmt: skip
EXACT = (*CONTENT, Counter)
CONTAINERS = {kind.__name__: kind for kind in EXACT}
KEYED = (set, dict)  # what needs the hash of its elements as it is filled


@functools.cache
def container_of(kind: type) -> type | None:
    """The builtin container whose content a value of this class has."""
    return next((base for base in order_of(kind) if base in CONTENT), None)


def extra(value):
    """What cannot be changed in a container, and must be known to make it."""
    if isinstance(value, deque):
        return value.maxlen
    return value.typecode if isinstance(value, array.array) else None


def blank(kind: type, extra):
    """An empty container of a class."""
    base = container_of(kind)
    if base is array.array:
        return array.array.__new__(kind, extra)
    value = base.__new__(kind)
    if base is deque:
        deque.__init__(value, (), extra)
    return value


def content(value):
    return CONTENT[container_of(type(value))][0](value)


def fill(value, items) -> None:
    CONTENT[container_of(type(value))][1](value, items)


# -- plain types and names of the library ------------------------------------------------------
_flags_of = type.__dict__["__flags__"].__get__
HEAP_TYPE = 1 << 9  # the flag of classes that are not the interpreter's own
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
VIEWS_BY_NAME = {"keys": dict.keys, "values": dict.values, "items": dict.items,
                 "proxy": types.MappingProxyType}  # fmt: skip
VIEWS = {type(view({})): name for name, view in VIEWS_BY_NAME.items()}
VIEWS |= {type(getattr(OrderedDict(), name)()): name for name in ("keys", "values", "items")}


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
    for base in order_of(kind):
        if base in ARGUMENTS or base in CONTENT or base is type:
            return base
        if issubclass(base, BaseException) and not _flags_of(base) & HEAP_TYPE:
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
    """Whether it may cross by name: into the tests only functions that do nothing but compute.

    An object of ``unittest.mock`` may be equal to everything, so its classes stay over there.
    """
    if isinstance(value, (type, enum.Enum)) or not to_the_tests:
        return not to_the_tests or value.__module__ != "unittest.mock"
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


# -- the codec --------------------------------------------------------------------------------
_DTYPES = tuple("biufcU")
_SMALL = 1 << 53  # beyond it JSON is no place for integers


class Codec:
    """Encodes and decodes for one :class:`remote.Peer`, and knows what crossed by reference."""

    def __init__(self, trusting: bool, grants):
        self.trusting, self.grants = trusting, grants
        # Objects that crossed by reference, kept alive: ours by positive numbers, what stands
        # here for theirs by the negative of their number over there.
        self.objects: dict[int, object] = {}
        self.known: dict[int, int] = {}  # id of such an object -> its number
        self.hashes: dict[int, int] = {}  # number -> hash of one of theirs, where it was sent
        self.kinds: dict[type, int] = {}  # a library's class -> its number as a kind of ours
        self.waiting: list = []  # containers that cross with this message for the first time
        # The containers that both sides hold: number -> content when it last crossed.
        self.seen: dict[int, list] = {}
        self.keyed = False  # whether what is encoded becomes a key over there
        self.named: set = set()  # what the last message named of the things known here already
        self.last = 0

    # -- messages ---------------------------------------------------------------------------
    def pack(self, message: dict, values) -> dict:
        """A message with encoded values, and with what changed in shared containers."""
        message["values"] = self._series(values)
        rows = {"changed": self._changed(), "released": self._released(), "new": []}
        while self.waiting:
            number = self.waiting.pop()
            value = self.objects[number]
            exact = type(value).__name__ if type(value) in EXACT else None
            rows["new"].append([number, exact, extra(value), self._content(number, value)])
        message.update({name: found for name, found in rows.items() if found})
        return message

    def unpack(self, message: dict) -> dict:
        """The inverse; proxies and containers are the same objects as before."""
        changed, self.named = message.pop("changed", []), set()
        for number, kind, extra, items in message.pop("new", ()):
            if kind is not None:
                self._adopt(number, blank(CONTAINERS[kind], extra))
            changed.append([number, items])
        message["values"] = self.decode(message["values"])  # in the order of their encoding
        for number, items in changed:
            target = self.objects[-number]
            fill(target, self.decode(items))
            self.seen[-number] = content(target)
        for number in message.pop("released", ()):
            self._forget(-number)
        if type(message.get("c", 0)) is not int or not ("ask" in message or message["values"]):
            raise ValueError("neither a question nor an answer")
        return message

    def _content(self, number, value, now=None):
        """What is in a shared container now, encoded."""
        self.seen[number] = now = content(value) if now is None else now
        return self._series(now, isinstance(value, KEYED))

    def _changed(self) -> list:
        """Number and content of the shared containers that changed since they last crossed."""
        rows = []
        for number, before in list(self.seen.items()):
            now = content(value := self.objects[number])
            if len(now) != len(before) or not all(map(is_, now, before)):
                rows.append([number, self._content(number, value, now)])
        return rows

    def _released(self) -> list[int]:
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
                self._forget(number)
        return unused

    def _series(self, items, keyed=False):
        """Encoded items; with their hashes where the other side must sort them into a table."""
        outer, self.keyed = self.keyed, keyed
        try:
            return [item if type(item) is str else self.encode(item) for item in items]
        finally:
            self.keyed = outer

    def _adopt(self, number, value):
        self.objects[-number] = value
        self.known[id(value)] = -number
        return value

    def _number(self, value) -> int:
        self.last += 1
        self.objects[self.last] = value
        self.known[id(value)] = self.last
        return self.last

    def _forget(self, number) -> None:
        value = self.objects.pop(number, self)
        self.known.pop(id(value), None)
        self.seen.pop(number, None)

    # -- to JSON ----------------------------------------------------------------------------
    def encode(self, value):
        kind = type(value)
        if kind is int:
            return value if -_SMALL < value < _SMALL else {"t": "int", "v": hex(value)}
        if kind is str or kind is bool or value is None or (kind is float and value == value):
            return value
        if number := self.known.get(id(value)):
            return self._hashed({"t": "ref", "v": number}, value)
        if kind in EXACT:
            self.waiting.append(number := self._number(value))
            return {"t": "ref", "v": number}
        try:
            note = self._by_value(value, kind) or self._reference(value, kind)
            return self._hashed(note, value)
        except RecursionError:
            return self._reference(value, kind)

    def _by_value(self, value, kind):
        for index, only in enumerate(ONLY_ONES):
            if value is only:
                return {"t": "one", "v": index}
        if kind is float:
            return {"t": "nan", "v": self._number(value)}
        if kind in ARGUMENTS:
            return {"t": "of", "k": kind.__name__, "v": self._arguments(kind, value)}
        if issubclass(kind, type) or kind in FUNCTIONS or isinstance(value, enum.Enum):
            if name := self._name(value):
                return {"t": "library", "v": name}
            return self.kind(value) if issubclass(kind, type) else None
        if kind is types.ModuleType and is_library(value.__name__):
            return {"t": "module", "v": value.__name__}
        if kind is types.TracebackType:
            return {"t": "one", "v": None}
        if kind in VIEWS:
            seen = self.encode(gc.get_referents(value)[0])
            return {"t": "view", "k": VIEWS[kind], "v": seen}
        if isinstance(value, BaseException) and library_name(kind):
            return self._exception(value, kind)
        return self._by_value_of_modules(value, kind)

    def _name(self, value) -> list[str] | None:
        name = library_name(value)
        return name if name and may_name(value, name, self.trusting) else None

    def _by_value_of_modules(self, value, kind):
        if kind is dataclasses.Field:
            slots = dataclasses.Field.__slots__
            return {"t": "field", "v": self._series([getattr(value, name) for name in slots])}
        if kind.__module__ == "typing":
            if hasattr(value, "_name") and getattr(typing, value._name or "", None) is value:
                return {"t": "typing", "v": value._name}
            if hasattr(value, "__origin__") and hasattr(value, "__args__"):
                origin, arguments = value.__reduce__()[1]
                if origin is not value.__origin__ or library_name(origin):
                    return {"t": "alias", "v": [self.encode(origin), self.encode(arguments)]}
        kind_of_items = getattr(getattr(value, "dtype", 0), "kind", "")
        if kind.__module__ == "numpy" and kind_of_items in _DTYPES:
            note = {"t": "numpy", "k": str(value.dtype), "s": value.shape}
            return {**note, "v": value.tobytes().hex()}
        return None

    def _arguments(self, base, value):
        arguments = ARGUMENTS[base](value)
        if base in SERIES:
            return self._series(*arguments, base is frozenset)
        return self._series(arguments)

    def _exception(self, value, kind):
        own = {k: v for k, v in vars(value).items() if k[0] != "_" or k == "__notes__"}
        note = {"t": "exception", "k": library_name(kind)}
        note["v"] = self._series(exception_arguments(kind, value))
        note["a"] = [[k, self.encode(v)] for k, v in own.items()]
        if self.trusting:
            note["c"] = [self.encode(value.__cause__), value.__suppress_context__]
        return note

    def _reference(self, value, kind):
        note = {"t": "ref", "v": self._number(value), "k": self.kind(kind)}
        base = base_of(kind)
        if base in ARGUMENTS:
            note["d"] = self._arguments(base, value)
        elif base in CONTENT:
            note["d"] = extra(value)
            self.waiting.append(note["v"])
        elif base and issubclass(base, BaseException):
            note["d"] = self._series(exception_arguments(base, value))
        return note

    def _hashed(self, note, value):
        own = note["t"] == "ref" and note["v"] > 0
        if self.keyed and own and type(value).__hash__ not in BY_IDENTITY:
            with contextlib.suppress(Exception):  # not hashable: then it is no key here
                note["h"] = hash(value)
        return note

    def kind(self, kind: type) -> dict:
        """The reference of a class, described when it crosses for the first time."""
        number = self.known.get(id(kind)) or self.kinds.get(kind)
        if number:
            return {"t": "ref", "v": number}
        library = self._name(kind)
        number = self._number(kind)
        if library:  # as a value it crosses by name
            self.kinds[kind] = self.known.pop(id(kind))
        return {"t": "ref", "v": number, "is": self._describe(kind, library)}

    def _describe(self, kind, library):
        base = base_of(kind)
        native = base.__mro__ if base else (object,)
        above = [c for c in kind.__mro__ if base and c not in native]
        own = {n for n in proxies.SPECIAL if _defines(kind, n, native) and self.grants(kind, n)}
        bases = (kind,) if library else kind.__bases__
        names = [n for n in vars(kind) if n[:2] != "__" or n in ("__init__", "__post_init__")]
        return {
            "name": kind.__name__, "qualname": kind.__qualname__, "module": kind.__module__,
            "kind": kind.__name__ if kind.__module__ in ("builtins", "functools") else "",
            "library": library,
            "bases": [self._by_value(b, type(b)) for b in bases],
            "base": base and library_name(base),
            "meta": type(kind) is not type and kind is not type(kind) and self.kind(type(kind)),
            "own": [n for n in own if getattr(kind, n) is not None],
            "none": [n for n in own if getattr(kind, n) is None],
            "over": sorted({n for c in above for n in vars(c) if hasattr(base, n)}),
            "names": [] if library else names,
        }  # fmt: skip

    # -- and back ---------------------------------------------------------------------------
    def decode(self, data):
        if type(data) is list:
            return [self.decode(item) for item in data]
        if type(data) is not dict:
            return data
        return _DECODERS[data["t"]](self, data, data["v"])

    def _decode_reference(self, data, number):
        if "h" in data:
            self.hashes[-number] = int(data["h"])
        if "is" in data:
            return self._make_kind(number, data["is"])
        if -number in self.objects:
            self.named.add(-number)
            return self.objects[-number]
        kind = self.decode(data["k"])
        base = base_of(kind)
        if base in ARGUMENTS:
            value = base.__new__(kind, *self._made_of(base, data["d"]))
        elif base in CONTENT:
            value = blank(kind, data["d"])
        elif base:
            arguments = self.decode(data["d"])
            value = base.__new__(kind, *arguments)
            base.__init__(value, *arguments)
        else:
            value = object.__new__(kind)
        return self._adopt(number, value)

    def _made_of(self, base, arguments):
        arguments = self.decode(arguments)
        if base in SERIES:
            return [arguments]
        return [bytes.fromhex(*arguments)] if base is bytes else arguments

    def _make_kind(self, number, note):
        bases = [self.decode(b) for b in note["bases"]]
        own = [b for b in bases if isinstance(b, proxies.RemoteClass) or proxies.is_remote(b)]
        bases = [b for b in bases if b in own or may_stand_above(b)]
        base = note["base"] and _library(self, None, note["base"])
        meta = self.decode(note["meta"]) if note["meta"] else proxies.RemoteClass
        if not issubclass(meta, proxies.RemoteClass) or (base and base_of(base) is not base):
            raise TypeError("not a class that a proxy can have")
        library = note["library"] and _library(self, None, note["library"])
        return self._adopt(number, proxies.make_class(note, bases, meta, library, base))


def _defines(kind, name, native) -> bool:
    """Whether a class defines a special method itself, or inherits it from a library's class."""
    owner = next((c for c in kind.__mro__ if name in vars(c)), object)
    inherits = owner not in native and owner is not object
    return owner is kind or (inherits and bool(library_name(owner)))


def _of(codec, data, arguments):
    kind = BY_NAME[data["k"]]
    return kind(*codec._made_of(kind, arguments))


def _library(codec, _data, name):
    if not is_library(name[0]):
        raise ValueError(f"not of the library: {name[0]}")
    found = find(importlib.import_module(name[0]), name[1])
    known = isinstance(found, (type, enum.Enum, *FUNCTIONS))
    itself = known and library_name(found) == name  # and not what its module happens to import
    if itself and may_name(found, name, to_the_tests=not codec.trusting):
        return found
    raise ValueError(f"not what the tests may get by name: {name}")


def _module(_codec, _data, name):
    if is_library(name):
        return importlib.import_module(name)
    raise ValueError(f"not a module that tests may get: {name}")


def _exception(codec, data, arguments):
    kind = _library(codec, data, data["k"])
    if not issubclass(kind, BaseException):
        raise TypeError("not an exception")
    arguments = codec.decode(arguments)
    try:
        error = kind(*arguments)
    except Exception:
        error = kind.__new__(kind)
        error.args = tuple(arguments)
    for name, attribute in data["a"]:
        try:
            setattr(error, name, codec.decode(attribute))
        except (AttributeError, TypeError):
            continue  # read-only; the exception itself is what matters
    if "c" in data:
        cause, error.__suppress_context__ = codec.decode(data["c"])
        if isinstance(cause, BaseException):
            error.__cause__ = cause
    return error


def _field(codec, _data, values):
    field = object.__new__(dataclasses.Field)
    for name, value in zip(dataclasses.Field.__slots__, codec.decode(values), strict=True):
        setattr(field, name, value)
    return field


def _numpy(_codec, data, value):
    numpy = importlib.import_module("numpy")
    array = numpy.frombuffer(bytes.fromhex(value), data["k"]).reshape(data["s"])
    return array.copy() if array.ndim else array[()]


def _view(codec, data, value):
    return VIEWS_BY_NAME[data["k"]](codec.decode(value))


def _alias(codec, _data, value):
    origin, arguments = codec.decode(value)
    return origin[arguments]


_DECODERS = {
    "ref": Codec._decode_reference,
    "int": lambda c, d, v: int(v, 16),
    "nan": lambda c, d, v: c._adopt(v, float("nan")),
    "of": _of,
    "one": lambda c, d, v: None if v is None else ONLY_ONES[v],
    "library": _library,
    "module": _module,
    "typing": lambda c, d, v: getattr(typing, v),
    "alias": _alias,
    "exception": _exception,
    "field": _field,
    "numpy": _numpy,
    "view": _view,
}
