# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""Proxies: objects of the other process, each with exactly the special methods of its type.

A class of proxies is made for every class over there, below proxies of its bases, with a
forwarder for each special method that the class defines and none besides. The language's own
protocols (reflection, fallbacks, identity as the last word of ==) then run here as they would
run there; ``NotImplemented`` crosses as itself.
"""

from __future__ import annotations

PEER = None  # the one end of the conversation that this process holds
AWAITING: dict = {}  # the methods by which coroutines are driven; see :mod:`remote`
order_of = type.__dict__["__mro__"].__get__  # asks nobody, unlike the attribute of a remote class

COMPARISONS = set("__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __contains__".split())
_BINARY = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or".split()
ARITHMETIC = {f"__{prefix}{name}__" for prefix in ("", "r", "i") for name in _BINARY}
# What turns an object into a plain number or a truth value.
CONVERSIONS = set(
    "__bool__ __len__ __int__ __float__ __complex__ __index__ __abs__ __round__ __trunc__ "
    "__floor__ __ceil__".split()
)
CHECKS = set("__instancecheck__ __subclasscheck__".split())
UNARY = set("__neg__ __pos__ __invert__ __abs__ __round__".split())
SPECIAL = {
    *COMPARISONS, *ARITHMETIC, *CONVERSIONS, *CHECKS, *UNARY,
    *"__iter__ __next__ __reversed__ __length_hint__ __getitem__ "
    "__setitem__ __delitem__ __missing__ __str__ __repr__ __format__ __bytes__ __hash__ __dir__ "
    "__fspath__ __call__ __enter__ __exit__ __await__ __aiter__ __anext__ __aenter__ __aexit__ "
    "__get__ __set__ __delete__ __set_name__".split(),
}  # fmt: skip
_COPYING = set("__class__ __copy__ __deepcopy__ __reduce_ex__".split())
_NAMING = set("__name__ __qualname__ __module__ __prepare__ _remote".split())
_OF_A_CLASS = SPECIAL | _COPYING | _NAMING
# Of an exception, what the raising process alone knows, and what the other one set.
_CONTEXT = set("__cause__ __context__ __suppress_context__".split())
_OF_THE_OWNER = _CONTEXT | set("__doc__ __module__ __init__".split())


def is_remote(value) -> bool:
    """Whether a value is a proxy: of an object or of a class."""
    kind = type(value)
    return issubclass(type(kind), RemoteClass) or issubclass(kind, RemoteClass)


def is_opaque(value) -> bool:
    """Whether a value is a proxy that holds no plain data of its own."""
    return is_remote(value) and getattr(type(value), "_remote", True) is True


def signature_of(proxy):
    """What ``inspect.signature`` asks for first."""
    try:
        return PEER.request("signature", proxy)
    except (TypeError, ValueError) as error:
        raise AttributeError(str(error)) from None


def restore(data: bytes):
    """What unpickling a proxy calls."""
    return PEER.request("loads", data)


def derive(name, bases, namespace, options):
    """A class statement here, below a class of over there: it is made there, of our functions."""
    cell = namespace.pop("__classcell__", None)
    made = PEER.request("derive", name, bases, dict(namespace), **options)
    if cell is not None:
        cell.cell_contents = made  # what super() asks for
    if all(base in PEER.classes for base in bases if isinstance(base, RemoteClass)):
        PEER.classes.add(made)
    return made


class _Inherited:
    """An attribute in a class of proxies, found by ``super()`` alone."""

    def __set_name__(self, owner, name):
        self.owner, self.name = owner, name

    def __get__(self, instance, _owner=None):
        return PEER.request("inherited", self.owner, self.name, instance)


class _Forwarding:
    """What proxies of objects and of classes have in common."""

    __slots__ = ()

    def __setattr__(self, name, value):
        PEER.request("set", self, name, value)

    def __delattr__(self, name):
        PEER.request("del", self, name)


class Proxy(_Forwarding):
    """Stands for one object of the other process."""

    __slots__ = ("__weakref__",)

    def __init_subclass__(cls, **_):
        """Bases from the library have nothing to say about a proxy's class."""

    def __copy__(self):
        return PEER.request("copy", self)

    def __deepcopy__(self, _memo):
        return PEER.request("deepcopy", self)

    def __reduce_ex__(self, protocol):
        return restore, (PEER.request("dumps", self, protocol),)


class RemoteClass(_Forwarding, type):
    """The class of classes of proxies; calling one makes the instance over there."""

    def __new__(meta, name, bases, namespace, **options):
        return derive(name, bases, namespace, options)

    def __call__(cls, *args, **kwargs):
        if issubclass(cls, type) and len(args) == 3:
            return derive(*args, kwargs)
        return PEER.construct(cls, args, kwargs)

    def __getattribute__(cls, name):
        if name in _OF_A_CLASS:
            return type.__getattribute__(cls, name)
        return signature_of(cls) if name == "__signature__" else PEER.request("get", cls, name)

    def __instancecheck__(cls, instance):
        return type.__instancecheck__(cls, instance)

    def __subclasscheck__(cls, other):
        return type.__subclasscheck__(cls, other)


def _forwarder(name):
    if name in AWAITING:
        return AWAITING[name]
    if name in CHECKS:

        def method(self, other):
            return getattr(type, name)(self, other) or PEER.request(name, self, other)
    elif name == "__hash__":

        def method(self):
            return PEER.hash_of(self)
    elif name in ARITHMETIC | COMPARISONS | UNARY:

        def method(self, *args):
            return PEER.operate(name, self, args)
    else:

        def method(self, *args, **kwargs):
            return PEER.request(name, self, *args, **kwargs)

    method.__name__ = name
    return method


def _getter(native):
    def __getattribute__(self, name):
        if name in native:
            return object.__getattribute__(self, name)
        if name == "__signature__":
            return signature_of(self)
        return PEER.request("get", self, name)

    return __getattribute__


def _setter(native):
    def __setattr__(self, name, value):
        if name in native:
            object.__setattr__(self, name, value)
        else:
            PEER.request("set", self, name, value)

    return __setattr__


def _function_get(self, instance, owner=None):
    """Functions become methods here: a method is called with its object, not asked for it."""
    import types

    return self if instance is None else types.MethodType(self, instance)


def make_class(note, bases, meta, library, data):
    """Make the class of proxies that a description asks for.

    ``bases`` are proxies' classes and classes of the library, in order; ``library`` is the real
    class where the description is of a library's class; ``data`` the builtin type whose value
    the proxies carry, or None.
    """
    of_classes = data is type
    root = RemoteClass if of_classes else Proxy
    remote = [b for b in bases if isinstance(b, RemoteClass) or issubclass(b, RemoteClass)]
    remote = remote or [root]
    others = [b for b in bases if b not in remote and b not in (object, type)]
    if data and not of_classes and not any(issubclass(b, data) for b in (*remote, *others)):
        others.insert(0, data)
    named = {"__module__": str(note["module"]), "__qualname__": str(note["qualname"])}
    space = {"__slots__": (), **named}
    plain = {n for n in note["names"] if n[:2] != "__" or n in ("__init__", "__post_init__")}
    space.update({name: _Inherited() for name in plain})
    if not of_classes:
        native = SPECIAL | _COPYING
        if data:
            over = {name for name in note["over"] if name[:2] != "__"}
            native = (native | set(dir(data))) - _OF_THE_OWNER - over
            space["__setattr__"] = _setter(set(dir(data)) - _OF_THE_OWNER)
        if note["kind"] == "coroutine":
            native = native | set(AWAITING)
            space.update(AWAITING)
        space["__getattribute__"] = _getter(frozenset(native))
        space["_remote"] = data is None
    if library is not None and not data:
        space["__class__"] = property(lambda self: library)
    for name in note["own"]:
        if name in SPECIAL and not (of_classes and name == "__call__"):
            space[name] = _forwarder(name)  # its own: reflection asks whether it overrides
    if note["kind"] in ("function", "_lru_cache_wrapper"):
        space["__get__"] = _function_get
    space.update({name: None for name in note["none"] if name in SPECIAL})
    try:
        made = type.__new__(meta, note["name"], (*remote, *others), dict(space))
        if data is None:
            object.__new__(made)
        return made
    except TypeError:  # a layout or an order of bases that only the other process can have
        plain = [data] if data and not any(issubclass(b, data) for b in remote) else []
        return type.__new__(meta, note["name"], (*remote, *plain), space)
