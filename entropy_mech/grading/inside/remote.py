# ruff: noqa: SIM905 (a list of names is easier to read this way)
"""A conversation between two processes: the tests call the program, and see only data.

Plain values cross by value and are rebuilt from their own types: what the tests compare is a
real ``int`` or ``list``, so no ``__eq__`` that a program wrote can answer for it. Everything
else stays where it is, behind a proxy. Two rules keep the program from marking its own work:

* an operator between a proxy and the tests' data is not answered by the program (the object
  would learn the expected value and say yes), unless the tests made that object themselves, by
  calling a class that they know by a name in CapWords; a class's plain value always answers;
* the tests' side lets the program call what it was given, and use public attributes and
  operators of ordinary objects; see :func:`granted`.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import functools
import inspect
import io
import logging
import pathlib
import pickle
import queue
import random
import re
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Iterator

import frames
import proxies
import values
from proxies import Proxy as Remote  # noqa: F401 (how others tell a proxy)
from proxies import RemoteClass  # noqa: F401

# -- what the program may do with what the tests pass to it ------------------------------------
_CALLABLE = (
    *values.FUNCTIONS, types.MethodType, types.MethodWrapperType, functools.partial,
    type(functools.lru_cache(len)), weakref.ref,
)  # fmt: skip
_OPEN = (
    io.StringIO, io.BytesIO, re.Pattern, re.Match, random.Random, type(threading.Lock()),
    type(threading.RLock()), types.SimpleNamespace, type({}.keys()), memoryview,
)  # fmt: skip
# Modules and packages whose objects show frames, lines of source or the grader itself.
_CLOSED = {path.stem for path in pathlib.Path(__file__).parent.glob("*.py")} | set(
    "traceback unittest.case unittest.suite unittest.loader unittest.runner asyncio.tasks "
    "asyncio.futures _asyncio sys bdb pdb code codeop dis gc linecache importlib types weakref "
    "contextvars".split()
)
_CLOSED_NAMES = {"findCaller", "makeRecord"}  # of a logger: they show the stack
_OF_THE_STACK = {"stack_info", "exc_info"}  # arguments that do
_NAMES = {"__name__", "__qualname__", "__doc__", "__module__"}

# What the program reads, it reads where the tests may have put something to read.
INPUT = {
    "input": lambda *prompt: builtins.input(*prompt),
    "readline": lambda size: sys.stdin.readline(size),
    "read": lambda size: sys.stdin.read(size),
}


_ORDINARY = frozenset({"get", "set", "del", "copy", "deepcopy", *proxies.SPECIAL})


@functools.cache
def granted(kind: type) -> frozenset[str]:
    """The operations that may be done at all on objects of a class."""
    if issubclass(kind, _CALLABLE):
        return frozenset({"__call__", "get", "signature"})
    if kind is types.CoroutineType:
        return frozenset({"finish", "start", "cancel", "__await__"})
    if issubclass(kind, type):
        return proxies.SPECIAL | {"__call__", "get"}
    if kind in _OPEN:
        return _ORDINARY
    if not kind.__flags__ & values.HEAP_TYPE or kind.__module__ == "itertools":
        steps = {"__iter__", "__next__", "__length_hint__"}
        return frozenset(steps if issubclass(kind, Iterator) else ())
    return frozenset() if kind.__module__ in _CLOSED else _ORDINARY


def _keeps_count(target, name) -> bool:
    """Whether this is where a mock of the tests notes its calls, or asserts about them."""
    mock = sys.modules.get("unittest.mock")
    return bool(mock) and isinstance(target, mock.NonCallableMock) and hasattr(mock.AsyncMock, name)


def _check(op: str, args: tuple, codec) -> None:
    """Raise unless the program may do this; the object asked must be one that the tests gave."""
    target = args[0]
    ours = codec.known.get(id(target), 0) > 0
    own_class = isinstance(target, type) and target.__module__ not in _CLOSED
    own_class = own_class and op == "set" and not values.library_name(target)
    may = op in granted(type(target)) or own_class
    if not ours or not may:
        raise TypeError(f"{type(target).__name__!r} object does not do this for a program: {op}")
    if op in ("get", "set", "del"):
        name = args[1]
        function = issubclass(type(target), _CALLABLE)
        known = name in _NAMES or (function and name == "__code__")
        public = isinstance(name, str) and name[:1] != "_" and name not in _CLOSED_NAMES
        if (not known and (function or not public)) or _keeps_count(target, name):
            raise AttributeError(name)


def _allowed_arguments(function, kwargs: dict) -> dict:
    """The named arguments of a call; a logger is not asked for the tests' stack."""
    if isinstance(getattr(function, "__self__", None), logging.Logger):
        return {name: value for name, value in kwargs.items() if name not in _OF_THE_STACK}
    return kwargs


def _outline(function) -> types.SimpleNamespace:
    """What a function's code says about its parameters: their names and kinds."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, types.CodeType):
        raise AttributeError("__code__")
    flags = code.co_flags
    count = code.co_argcount + code.co_kwonlyargcount + bool(flags & 4) + bool(flags & 8)
    told = ("co_name", "co_flags", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount")
    outline = {name: getattr(code, name) for name in told}
    return types.SimpleNamespace(**outline, co_varnames=code.co_varnames[:count])


def _outer_signature(function) -> inspect.Signature:
    """The signature of a function, without its defaults and annotations."""
    signature, empty = inspect.signature(function), inspect.Parameter.empty
    outer = []
    for p in signature.parameters.values():
        default = p.default if p.default is empty else ...
        outer.append(p.replace(annotation=empty, default=default))
    return inspect.Signature(outer)


# -- coroutines --------------------------------------------------------------------------------
_state = {"loop": None, "tasks": {}, "waiting": {}}
_lock = threading.Lock()


def _own_loop():
    """A loop that runs: the one in which this side awaits the other, or one in a thread."""
    import asyncio

    with _lock:
        loop = _state["loop"]
        if loop is None or not loop.is_running():
            loop = _state["loop"] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, daemon=True).start()
        return loop


def _schedule(coroutine):
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, _own_loop())


async def awaited(awaitable):
    return await awaitable


def finish(awaitable):
    """Run an awaitable of this process to its end, for one who waits for nothing else."""
    return _schedule(awaited(awaitable)).result()


def start(awaitable, done) -> None:
    """Run an awaitable of this process, and call ``done`` with its value or its exception."""

    async def main():
        try:
            value, error = await awaitable, None
        except BaseException as raised:
            value, error = None, raised
        done(value, error)

    _state["tasks"][id(awaitable)] = _schedule(main())


def cancel(awaitable) -> None:
    _state["tasks"].pop(id(awaitable)).cancel()


def wait_for(proxy):
    """The generator that awaits a proxy."""
    import asyncio

    loop = asyncio._get_running_loop()
    if loop is None:
        return proxies.PEER.request("finish", proxy)
    with _lock:
        _state["loop"] = loop
    future = loop.create_future()

    def settle(value, error):
        if future.done():
            return
        if isinstance(error, asyncio.CancelledError):
            future.cancel()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def done(value, error):
        loop.call_soon_threadsafe(settle, value, error)

    proxies.PEER.request("start", proxy, done)
    try:
        return (yield from future)
    except (asyncio.CancelledError, GeneratorExit):
        if not future.done() or future.cancelled():
            proxies.PEER.request("cancel", proxy)
        raise


def _waiting(proxy):
    return _state["waiting"].setdefault(id(proxy), wait_for(proxy))


# How an event loop drives a coroutine, which it takes a proxy for.
proxies.AWAITING.update(
    __await__=wait_for,
    send=lambda proxy, value: _waiting(proxy).send(value),
    throw=lambda proxy, *error: _waiting(proxy).throw(*error),
)


# -- the conversation --------------------------------------------------------------------------
_FRAMES_A_CALL = 8  # of this module and its like, for one call between the processes


class Gone(Exception):
    """The other process ended or stopped making sense."""


def _derive(name, bases, namespace, **options):
    return types.new_class(name, bases, options, lambda space: space.update(namespace))


def _inherited(kind, name, instance):
    attribute = vars(kind)[name]
    bind = getattr(type(attribute), "__get__", None)
    return bind(attribute, instance, type(instance)) if bind else attribute


ACTIONS = {
    "get": getattr, "set": setattr, "del": delattr,
    "__call__": lambda function, *args, **kwargs: function(*args, **kwargs),
    "signature": inspect.signature, "finish": finish,
    "start": start, "cancel": cancel,
    "do": lambda module, name, *args, **kwargs: values.find(module, name)(*args, **kwargs),
    "derive": _derive, "inherited": _inherited,
    "copy": copy.copy, "deepcopy": copy.deepcopy, "dumps": pickle.dumps, "loads": pickle.loads,
}  # fmt: skip


class Peer:
    """One end of the conversation; both are the same, but for what they let the other do."""

    def __init__(self, *, exports_all=False):
        self.connection, self.exports_all = None, exports_all
        self.printed = None  # takes what this side printed since the last message
        self.show = None  # called with what the other side printed
        self.swallowed = None  # called with an exception that a context manager over there ended
        self.count, self.gone = 0, None  # what was asked; why the other side is no longer there
        self.lacks = False  # whether the tests want a name that the program does not define
        self.codec = values.Codec(exports_all, lambda kind, op: exports_all or op in granted(kind))
        self.classes: set = set()  # classes that the tests know by a name in CapWords
        self.functions: set = set()  # classes that they know by another name
        self.made: set = set()  # objects that they made: these answer operators
        self.asked: set = set()  # objects that have seen the tests' data in an operator
        self.lock = threading.RLock()
        self.thread = threading.local()
        self.inbox: dict[int, deque] = {0: deque()}  # conversation -> its messages
        self.turn, self.reader = threading.Condition(self.lock), 0  # the thread that reads
        self.stands_by = False  # whether a thread waits for questions only
        self.unanswered = queue.SimpleQueue()  # conversations that other threads began

    def connect(self, connection, *, printed=None) -> Peer:
        """Be the end of the conversation that this process holds."""
        self.connection, self.printed = connection, printed
        threading.stack_size(8 << 20)  # as outside of the limits that a program has here
        proxies.PEER = self
        return self

    # -- trust ----------------------------------------------------------------------------
    def reached(self, name: str, value):
        """Note how the tests call a class of the program."""
        if isinstance(value, proxies.RemoteClass):
            (self.classes if name[:1].isupper() else self.functions).add(value)
        return value

    def number(self, value) -> int:
        """The number of a proxy; 0 for everything else."""
        return self.codec.known.get(id(value), 0) if proxies.is_remote(value) else 0

    def construct(self, kind, args, kwargs):
        value = self.request("__call__", kind, *args, **kwargs)
        known = self.number(value) in self.codec.named  # as a singleton is: it came out before
        if kind in self.classes - self.functions and issubclass(type(value), kind) and not known:
            self.made.add(self.number(value))
        return value

    def operate(self, name, owner, args):
        """An operator of a proxy: who may answer it depends on what the other operand is."""
        asked = name in proxies.ARITHMETIC
        mine = any(self.number(operand) in self.made for operand in (owner, *args))
        if self.exports_all or mine or name in proxies.UNARY or proxies.is_remote(args[0]):
            value = self.request(name, owner, *args)
            if mine and name not in proxies.COMPARISONS and type(value) in self.classes:
                self.made.add(self.number(value))
            return value
        if asked and proxies.is_opaque(owner) and type(owner) in self.classes - self.functions:
            self.asked.add(self.number(owner))
            value = self.request(name, owner, *args)
            if proxies.is_opaque(value):
                self.asked.add(self.number(value))
                return value
        if issubclass(type(owner), proxies.Proxy):
            native = getattr(super(proxies.Proxy, owner), name, None)  # of the plain value
            if native:
                return native(*args)
        if name == "__contains__":
            return any(item is args[0] or item == args[0] for item in owner)
        return NotImplemented

    def hash_of(self, proxy) -> int:
        number = self.codec.known[id(proxy)]
        if number not in self.codec.hashes:
            self.codec.hashes[number] = self.request("__hash__", proxy)
        return self.codec.hashes[number]

    # -- messages -------------------------------------------------------------------------
    def send(self, message, values) -> None:
        with self.lock:
            message = self.codec.pack(message, values)
            if self.printed:
                message["out"] = self.printed()
            if threading.active_count() > 1:
                message["threads"] = True
            data = frames.pack(message)
            try:
                self.connection.sendall(data)
            except OSError as error:
                raise Gone(f"the other process ended: {error}") from None

    def read(self) -> dict:
        """The next message of any conversation."""
        try:
            message = frames.receive(self.connection.fileno())
            if not isinstance(message, dict):
                raise Gone("the program's process ended")
            with self.lock:
                message = self.codec.unpack(message)
                self.made -= self.codec.named  # they came out of the program, wherever they lie
        except (OSError, frames.FrameError) as error:
            raise Gone(str(error)) from None
        except Gone:
            raise
        except Exception as bad:
            raise Gone(f"an answer that makes no sense: {bad!r}") from None
        if self.show and message.get("out"):
            self.show(message["out"])  # which may raise a warning that the tests want raised
        return message

    def receive(self, conversation: int = 0) -> dict:
        """The next message of one conversation; of those who wait, one reads for all."""
        me = threading.get_ident()  # to build a value may take a question of its own
        while True:
            with self.lock:
                while not (messages := self.inbox.get(conversation)) and self.reader not in (0, me):
                    self.turn.wait()
                if messages:
                    return messages.popleft()
                self.reader = me
            try:
                message = self.read()
                if message.get("c", 0) == conversation and not message.get("threads"):
                    return message
                self.deliver(message)  # before another thread reads
            finally:
                with self.lock:
                    self.reader = 0
                    if threading.active_count() > 1:
                        self.turn.notify_all()

    def deliver(self, message) -> None:
        """Put a message where it is waited for; who waits has an inbox before its question."""
        conversation = message.get("c", 0)
        with self.lock:
            known = conversation in self.inbox
            self.inbox.setdefault(conversation, deque()).append(message)
        if message.get("threads") and not self.stands_by:  # they may ask while nobody waits here
            self.stands_by = True
            threading.Thread(target=self.stand_by, daemon=True).start()
        if not known:
            self.unanswered.put(conversation)
            with contextlib.suppress(RuntimeError):  # no more threads: one that works comes to it
                threading.Thread(target=self.work, daemon=True).start()

    def stand_by(self) -> None:
        with contextlib.suppress(Gone):
            self.receive(-1)

    def work(self) -> None:
        """Answer what threads of the other side ask, in a thread of its own."""
        with contextlib.suppress(queue.Empty, Gone):
            while True:
                conversation = self.thread.conversation = self.unanswered.get_nowait()
                while conversation in self.inbox:
                    self.answer(self.receive(conversation))
                    with self.lock:
                        if not self.inbox[conversation]:
                            del self.inbox[conversation]

    def conversation(self) -> int:
        """The number of this thread's conversation; 0 is that of the main threads."""
        if not hasattr(self.thread, "conversation"):
            main = threading.current_thread() is threading.main_thread()
            ident = threading.get_native_id() * 2 + self.exports_all
            self.thread.conversation = 0 if main else ident
        return self.thread.conversation

    def request(self, op, *args, **kwargs):
        """Ask the other side for something, and answer its own questions meanwhile."""
        self.count += op not in ("get", "do")  # to look for a name is not yet to ask
        try:
            value = self._ask(op, args, kwargs)
        except Gone as gone:  # noted, since a test may catch it
            self.gone = self.gone or gone
            raise
        if op == "__exit__" and value and self.swallowed:
            self.swallowed(*args[2:3])
        return value

    def _ask(self, op, args, kwargs):
        conversation = self.conversation()
        if op in proxies.CONVERSIONS and self.number(args[0]) in self.asked:
            raise TypeError("an object that has seen the tests' data says nothing about itself")
        self.inbox.setdefault(conversation, deque())
        names = {"names": list(kwargs)} if kwargs else {}
        self.send({"c": conversation, "ask": op, **names}, (*args, *kwargs.values()))
        while "ask" in (message := self.receive(conversation)):
            self.answer(message)
        value = message["values"][0]
        if message.get("error"):
            raise value if isinstance(value, BaseException) else RuntimeError(str(value))
        if op == "get" and isinstance(args[0], proxies.RemoteClass):
            self.reached(args[1], value)
        return value

    def serve_forever(self) -> None:
        while True:
            try:
                message = self.receive()
            except Gone:
                return
            self.answer(message)

    def answer(self, message) -> None:
        """Do what the other side asks, and send back the value or the exception."""
        conversation = message.get("c", 0)
        sys.setrecursionlimit(sys.getrecursionlimit() + _FRAMES_A_CALL)
        try:
            value = self.perform(message["ask"], message["values"], message.get("names", ()))
            self.send({"c": conversation}, (value,))
        except Gone:
            raise
        except BaseException as error:
            self.send({"c": conversation, "error": True}, (error,))
        finally:
            sys.setrecursionlimit(max(50, sys.getrecursionlimit() - _FRAMES_A_CALL))

    def perform(self, op, args, names):
        split = len(args) - len(names)
        args, kwargs = args[:split], dict(zip(names, args[split:], strict=True))
        if op in INPUT:
            return INPUT[op](*args)
        if not self.exports_all:
            _check(op, args, self.codec)
            kwargs = _allowed_arguments(args[0], kwargs)
            if op == "signature" or (op == "get" and args[1] == "__code__"):
                return (_outer_signature if op == "signature" else _outline)(args[0])
        if op in ACTIONS:
            return ACTIONS[op](*args, **kwargs)
        if op not in proxies.SPECIAL:
            raise TypeError(f"unknown request {op!r}")
        owner = next((k for k in proxies.order_of(type(args[0])) if op in vars(k)), None)
        if owner is None:
            raise TypeError(f"{type(args[0]).__name__!r} object has no {op}")
        return _inherited(owner, op, args[0])(*args[1:], **kwargs)  # as a mock's are: not bound


# What nearly every program sends: its module and functions, at least.
_COMMON = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def pair() -> tuple[Peer, Peer]:
    """The program's and the tests' end, which know the classes of common objects already."""
    program, tests = Peer(exports_all=True), Peer()
    for kind in _COMMON:
        tests.codec.decode(program.codec.kind(kind))
    return program, tests
