"""Objects on the other side of a socket: the tests call the program, and see only data.

Plain values cross by value, as JSON, and are rebuilt from their own types: what the tests
compare is a real ``int`` or ``list``, so no ``__eq__`` that a program wrote can answer for it.
Everything else stays where it is and is represented by a :class:`Remote`. Two rules keep the
program from marking its own work:

* an operator between a remote object and the tests' data is never forwarded (the object would
  learn the expected value and give the answer), unless the tests name its class in CapWords,
  as they do when operators of that class are what they test;
* the tests' side answers calls only on what it passed as an argument, public names only.
"""

from __future__ import annotations

import struct

import frames
import values

FREE = """
__len__ __iter__ __next__ __getitem__ __setitem__ __delitem__ __str__ __repr__ __bool__
__hash__ __int__ __float__ __index__ __abs__ __neg__ __reversed__ __enter__ __exit__
""".split()  # noqa: SIM905 (a list of names is easier to read this way)
GUARDED = """
__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __add__ __sub__ __mul__ __truediv__ __floordiv__
__mod__ __pow__ __and__ __or__ __xor__ __matmul__ __radd__ __rsub__ __rmul__ __rtruediv__
__contains__
""".split()  # noqa: SIM905
# Functions rather than type slots, where the function does more than the slot.
_BY_FUNCTION = {
    "__bool__": bool, "__str__": str, "__repr__": repr, "__iter__": iter, "__next__": next,
    "__hash__": hash, "__reversed__": reversed, "__len__": len, "__int__": int,
    "__float__": float, "__abs__": abs,
}  # fmt: skip


class Gone(Exception):
    """The other process ended or stopped making sense."""


class Remote:
    """Stands for one object of the other process."""

    __slots__ = ("__weakref__", "_peer", "_ref")

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._peer.request("get", self._ref, name)

    def __setattr__(self, name, value):
        self._peer.request("set", self._ref, name, [value])

    def __delattr__(self, name):
        self._peer.request("del", self._ref, name)

    def __call__(self, *args, **kwargs):
        return self._peer.request("call", self._ref, "", list(args), kwargs)


class RemoteClass(type):
    """The class of remote instances; calling it makes the instance over there."""

    def __call__(cls, *args, **kwargs):
        if "_class_ref" not in cls.__dict__:
            raise TypeError("tests cannot subclass a class of the program")
        return cls._class_peer.request("call", cls._class_ref, "", list(args), kwargs)

    def __getattr__(cls, name):
        if name.startswith("_") or "_class_ref" not in cls.__dict__:
            raise AttributeError(name)
        return cls._class_peer.request("get", cls._class_ref, name)

    def __iter__(cls):
        return cls._class_peer.request("special", cls._class_ref, "__iter__")

    def __getitem__(cls, key):
        return cls._class_peer.request("special", cls._class_ref, "__getitem__", [key])

    def __len__(cls):
        return cls._class_peer.request("special", cls._class_ref, "__len__")


def _forward(name):
    def method(self, *args):
        return self._peer.request("special", self._ref, name, list(args))

    return method


def _guard(name):
    def method(self, other):
        if name == "__eq__" and other is self:
            return True
        if isinstance(other, Remote) or self._peer.trusts_operators_of(type(self)):
            return self._peer.request("special", self._ref, name, [other])
        if name == "__contains__":
            return any(item is other or item == other for item in self)
        return NotImplemented

    return method


for _name in FREE:
    setattr(Remote, _name, _forward(_name))
for _name in GUARDED:
    setattr(Remote, _name, _guard(_name))


class Peer:
    """One end of the conversation; both ends are the same, but for what they let the other do."""

    def __init__(self, connection, *, exports_all=False, printed=None):
        self.connection, self.exports_all = connection, exports_all
        self.printed = printed  # takes what this side printed since the last message
        self.show = None  # called with what the other side printed
        self.named_classes: set[str] = set()
        self.exported: dict[int, object] = {}
        self.numbers: dict[int, int] = {}
        self.proxies: dict[int, object] = {}
        self.codec = values.Codec(self)

    # -- what crosses ---------------------------------------------------------------------
    def encode(self, value):
        return self.codec.encode(value)

    def encode_error(self, error):
        return self.codec.encode_error(error)

    def trusts_operators_of(self, kind: type) -> bool:
        return any(c.__name__ in self.named_classes for c in kind.__mro__ if c is not Remote)

    def number(self, value) -> tuple[int, bool]:
        """The reference number of an object, and whether the other side knows it already."""
        if id(value) in self.numbers:
            return self.numbers[id(value)], True
        ref = len(self.exported) + 1
        self.exported[ref] = value  # kept alive, so that its id stays its own
        self.numbers[id(value)] = ref
        return ref, False

    def adopt(self, ref: int, kind: type) -> Remote:
        proxy = object.__new__(kind)
        object.__setattr__(proxy, "_peer", self)
        object.__setattr__(proxy, "_ref", ref)
        self.proxies[ref] = proxy
        return proxy

    # -- messages -------------------------------------------------------------------------
    def send(self, message) -> None:
        try:
            self.connection.sendall(frames.pack(message))
        except OSError as error:
            raise Gone(f"the other process ended: {error}") from None

    def receive(self):
        try:
            message = frames.receive(self.connection.fileno())
        except (OSError, frames.FrameError, struct.error) as error:
            raise Gone(str(error)) from None
        if not isinstance(message, dict):
            raise Gone("the program's process ended")
        if self.show and isinstance(message.get("out"), str) and message["out"]:
            self.show(message["out"])
        return message

    def request(self, op, ref, name="", args=(), kwargs=None):
        """Ask the other side for something, and answer its own questions meanwhile."""
        self.send(
            {
                "ask": op,
                "ref": ref,
                "name": name,
                "args": [self.encode(a) for a in args],
                "kwargs": {k: self.encode(v) for k, v in (kwargs or {}).items()},
            }
        )
        while "ask" in (message := self.receive()):
            self.answer(message)
        try:
            for position, changed in message.get("changed", {}).items():
                values.update_in_place(args[int(position)], self.codec.decode(changed))
            if "error" not in message:
                if "same" in message:
                    return args[message["same"]]
                return self.codec.decode(message["value"])
            error = self.codec.decode_error(message["error"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as bad:
            raise Gone(f"an answer that makes no sense: {bad!r}") from None
        raise error

    def serve_forever(self) -> None:
        while True:
            try:
                message = self.receive()
            except Gone:
                return
            self.answer(message)

    def answer(self, message) -> None:
        """Do what the other side asks, and send back the value or the exception."""
        reply = {}
        try:
            args = [self.codec.decode(a) for a in message["args"]]
            kwargs = {k: self.codec.decode(v) for k, v in message["kwargs"].items()}
            value = self.perform(message["ask"], message["ref"], message["name"], args, kwargs)
            same = [i for i, a in enumerate(args) if a is value and values.is_mutable(a)]
            reply = {"same": same[0]} if same else {"value": self.encode(value)}
            changed = {}
            for i, (value, before) in enumerate(zip(args, message["args"], strict=True)):
                if values.is_mutable(value) and (after := self.encode(value)) != before:
                    changed[str(i)] = after
            if changed:
                reply["changed"] = changed
        except Gone:
            raise
        except BaseException as error:
            reply = {"error": self.encode_error(error)}
        if self.printed:
            reply["out"] = self.printed()
        self.send(reply)

    def perform(self, op, ref, name, args, kwargs):
        target = self.exported[ref]
        if not self.exports_all and name.startswith("_") and op != "special":
            raise AttributeError(name)
        if op == "call":
            return target(*args, **kwargs)
        if op == "get":
            return getattr(target, name)
        if op == "set":
            return setattr(target, name, args[0])
        if op == "del":
            return delattr(target, name)
        if op == "special" and (name in FREE or name in GUARDED):
            if name in _BY_FUNCTION:
                return _BY_FUNCTION[name](target)
            if isinstance(target, type) and name == "__getitem__":
                return target[args[0]]
            method = getattr(type(target), name, None)
            if method is None:
                raise TypeError(f"{type(target).__name__!r} object has no {name}")
            return method(target, *args)
        raise TypeError(f"unknown request {op!r}")
