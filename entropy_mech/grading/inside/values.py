"""Values as JSON and back: plain types by value, the rest by reference.

Decoding builds only from the types of :mod:`plain` and never runs a function that the other side
named. A value of a class that derives from a plain type carries its plain value.
"""

from __future__ import annotations

import dataclasses
import enum
import gc
import importlib
import types
import typing

import plain
import proxies

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
        self.mirrors = plain.Mirrors(self.objects)
        self.keyed = False  # whether what is encoded becomes a key over there
        self.last = 0

    # -- messages ---------------------------------------------------------------------------
    def pack(self, message: dict, values) -> dict:
        """A message with encoded values, and with what changed in shared containers."""
        message["values"] = self._series(values)
        changed = [[n, self._content(v, now)] for n, v, now in self.mirrors.changed()]
        released = self.mirrors.release(self._forget)
        new = []
        while self.waiting:
            number = self.waiting.pop()
            value = self.objects[number]
            self.mirrors.seen[number] = now = plain.content(value)
            exact = type(value).__name__ if type(value) in plain.EXACT else None
            new.append([number, exact, plain.extra(value), self._content(value, now)])
        for name, rows in (("new", new), ("changed", changed), ("released", released)):
            if rows:
                message[name] = rows
        return message

    def unpack(self, message: dict) -> dict:
        """The inverse; proxies and containers are the same objects as before."""
        changed = message.pop("changed", [])
        for number, kind, extra, items in message.pop("new", ()):
            if kind is not None:
                self._adopt(number, plain.blank(plain.CONTAINERS[kind], extra))
            changed.append([number, items])
        message["values"] = self.decode(message["values"])  # in the order of their encoding
        for number, items in changed:
            decoded = bytes.fromhex(items) if isinstance(items, str) else self.decode(items)
            target = self.objects[-number]
            plain.fill(target, decoded)
            self.mirrors.seen[-number] = plain.content(target)
        for number in message.pop("released", ()):
            self._forget(-number)
        if type(message.get("c", 0)) is not int or not ("ask" in message or message["values"]):
            raise ValueError("neither a question nor an answer")
        return message

    def _content(self, value, now):
        if isinstance(now, bytes):
            return now.hex()
        return self._series(now, isinstance(value, plain.KEYED))

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
        self.mirrors.seen.pop(number, None)

    # -- to JSON ----------------------------------------------------------------------------
    def encode(self, value):
        kind = type(value)
        if kind is int:
            return value if -_SMALL < value < _SMALL else {"t": "int", "v": hex(value)}
        if kind is str or kind is bool or value is None or (kind is float and value == value):
            return value
        if number := self.known.get(id(value)):
            return self._hashed({"t": "ref", "v": number}, value)
        if kind in plain.EXACT:
            self.waiting.append(number := self._number(value))
            return {"t": "ref", "v": number}
        try:
            note = self._by_value(value, kind) or self._reference(value, kind)
            return self._hashed(note, value)
        except RecursionError:
            return self._reference(value, kind)

    def _by_value(self, value, kind):
        for index, only in enumerate(plain.ONLY_ONES):
            if value is only:
                return {"t": "one", "v": index}
        if kind is float:
            return {"t": "nan", "v": self._number(value)}
        if kind in plain.ARGUMENTS:
            return {"t": "of", "k": kind.__name__, "v": self._arguments(kind, value)}
        if issubclass(kind, type) or kind in plain.FUNCTIONS or isinstance(value, enum.Enum):
            if name := plain.library_name(value):
                return (
                    {"t": "library", "v": name}
                    if plain.may_name(value, name, self.trusting)
                    else None
                )
            return self.kind(value) if issubclass(kind, type) else None
        if kind is types.ModuleType and plain.is_library(value.__name__):
            return {"t": "module", "v": value.__name__}
        if kind is types.TracebackType:
            return {"t": "one", "v": None}
        if kind in plain.VIEWS:
            return {
                "t": "view",
                "k": plain.VIEWS[kind],
                "v": self.encode(gc.get_referents(value)[0]),
            }
        if kind is types.MappingProxyType:
            return {"t": "view", "k": None, "v": self.encode(gc.get_referents(value)[0])}
        if isinstance(value, BaseException) and plain.library_name(kind):
            return self._exception(value, kind)
        return self._by_value_of_modules(value, kind)

    def _by_value_of_modules(self, value, kind):
        if kind is dataclasses.Field:
            slots = dataclasses.Field.__slots__
            return {"t": "field", "v": self._series([getattr(value, name) for name in slots])}
        if kind.__module__ == "typing":
            if hasattr(value, "_name") and getattr(typing, value._name or "", None) is value:
                return {"t": "typing", "v": value._name}
            if hasattr(value, "__origin__") and hasattr(value, "__args__"):
                origin, arguments = value.__reduce__()[1]
                if origin is not value.__origin__ or plain.library_name(origin):
                    return {"t": "alias", "v": [self.encode(origin), self.encode(arguments)]}
        if (
            kind.__module__ == "numpy"
            and getattr(getattr(value, "dtype", 0), "kind", "") in _DTYPES
        ):
            note = {"t": "numpy", "k": str(value.dtype), "s": value.shape}
            return {**note, "v": value.tobytes().hex()}
        return None

    def _arguments(self, base, value):
        arguments = plain.ARGUMENTS[base](value)
        return (
            self._series(*arguments, base is frozenset)
            if base in plain.SERIES
            else self._series(arguments)
        )

    def _exception(self, value, kind):
        own = {k: v for k, v in vars(value).items() if k[0] != "_" or k == "__notes__"}
        note = {"t": "exception", "k": plain.library_name(kind)}
        note["v"] = self._series(plain.exception_arguments(kind, value))
        note["a"] = [[k, self.encode(v)] for k, v in own.items()]
        if self.trusting:
            note["c"] = [self.encode(value.__cause__), value.__suppress_context__]
        return note

    def _reference(self, value, kind):
        note = {"t": "ref", "v": self._number(value), "k": self.kind(kind)}
        base = plain.base_of(kind)
        if base in plain.ARGUMENTS:
            note["d"] = self._arguments(base, value)
        elif base in plain.CONTENT:
            note["d"] = plain.extra(value)
            self.waiting.append(note["v"])
        elif base and issubclass(base, BaseException):
            note["d"] = self._series(plain.exception_arguments(base, value))
        return note

    def _hashed(self, note, value):
        if (
            self.keyed
            and note["t"] == "ref"
            and note["v"] > 0
            and type(value).__hash__ not in plain.BY_IDENTITY
        ):
            try:
                note["h"] = hash(value)
            except Exception:
                note.pop("h", None)  # not hashable: then it is no key here
        return note

    def kind(self, kind: type) -> dict:
        """The reference of a class, described when it crosses for the first time."""
        number = self.known.get(id(kind)) or self.kinds.get(kind)
        if number:
            return {"t": "ref", "v": number}
        library = plain.library_name(kind)
        number = self._number(kind)
        if library:  # as a value it crosses by name
            self.kinds[kind] = self.known.pop(id(kind))
        return {"t": "ref", "v": number, "is": self._describe(kind, library)}

    def _describe(self, kind, library):
        base = plain.base_of(kind)
        native = base.__mro__ if base else (object,)
        own = set()
        for name in proxies.SPECIAL:
            owner = next((c for c in kind.__mro__ if name in vars(c)), object)
            if owner is kind or (
                owner not in native and owner is not object and plain.library_name(owner)
            ):
                own.add(name)
        names = [n for n in own if self.grants(kind, n)]
        over = {
            name
            for c in kind.__mro__
            if c not in native
            for name in vars(c)
            if base and hasattr(base, name)
        }
        return {
            "name": kind.__name__,
            "qualname": kind.__qualname__,
            "module": kind.__module__,
            "kind": kind.__name__ if kind.__module__ in ("builtins", "functools") else "",
            "library": library,
            "bases": [
                {"t": "library", "v": name} if (name := plain.library_name(b)) else self.kind(b)
                for b in ((kind,) if library else kind.__bases__)
            ],
            "base": base and plain.library_name(base),
            "meta": type(kind) is not type and kind is not type(kind) and self.kind(type(kind)),
            "own": [n for n in names if getattr(kind, n) is not None],
            "none": [n for n in names if getattr(kind, n) is None],
            "over": sorted(over),
            "names": []
            if library
            else [n for n in vars(kind) if n[:2] != "__" or n in ("__init__", "__post_init__")],
        }

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
            return self.objects[-number]
        kind = self.decode(data["k"])
        base = plain.base_of(kind)
        if base in plain.ARGUMENTS:
            value = base.__new__(kind, *self._made_of(base, data["d"]))
        elif base in plain.CONTENT:
            value = plain.blank(kind, data["d"])
        elif base:
            arguments = self.decode(data["d"])
            value = base.__new__(kind, *arguments)
            base.__init__(value, *arguments)
        else:
            value = object.__new__(kind)
        return self._adopt(number, value)

    def _made_of(self, base, arguments):
        arguments = self.decode(arguments)
        if base in plain.SERIES:
            return [arguments]
        return [bytes.fromhex(*arguments)] if base is bytes else arguments

    def _make_kind(self, number, note):
        bases = [self.decode(b) for b in note["bases"]]
        own = [b for b in bases if isinstance(b, proxies.RemoteClass) or proxies.is_remote(b)]
        bases = [b for b in bases if b in own or plain.may_stand_above(b)]
        base = note["base"] and _library(self, None, note["base"])
        meta = self.decode(note["meta"]) if note["meta"] else proxies.RemoteClass
        if not issubclass(meta, proxies.RemoteClass) or (base and plain.base_of(base) is not base):
            raise TypeError("not a class that a proxy can have")
        library = note["library"] and _library(self, None, note["library"])
        return self._adopt(number, proxies.make_class(note, bases, meta, library, base))


def _of(codec, data, arguments):
    kind = plain.BY_NAME[data["k"]]
    return kind(*codec._made_of(kind, arguments))


def _library(codec, _data, name):
    if not plain.is_library(name[0]):
        raise ValueError(f"not of the library: {name[0]}")
    found = plain.find(importlib.import_module(name[0]), name[1])
    to_the_tests = not codec.trusting
    if isinstance(found, (type, enum.Enum, *plain.FUNCTIONS)) and plain.may_name(
        found, name, to_the_tests
    ):
        return found
    raise ValueError(f"not what the tests may get by name: {name}")


def _module(_codec, _data, name):
    if plain.is_library(name):
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
    value = codec.decode(value)
    return (
        getattr(value, data["k"])()
        if data["k"] in plain.VIEWS.values()
        else types.MappingProxyType(value)
    )


def _alias(codec, _data, value):
    origin, arguments = codec.decode(value)
    return origin[arguments]


_DECODERS = {
    "ref": Codec._decode_reference,
    "int": lambda c, d, v: int(v, 16),
    "nan": lambda c, d, v: c._adopt(v, float("nan")),
    "of": _of,
    "one": lambda c, d, v: None if v is None else plain.ONLY_ONES[v],
    "library": _library,
    "module": _module,
    "typing": lambda c, d, v: getattr(typing, v),
    "alias": _alias,
    "exception": _exception,
    "field": _field,
    "numpy": _numpy,
    "view": _view,
}
