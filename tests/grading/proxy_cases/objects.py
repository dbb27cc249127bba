# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Objects: attributes, properties, inheritance, introspection, copies, containers they hold."""

PROGRAM = '''
"""The module's own words."""
import abc, collections, contextlib, dataclasses, functools, typing, weakref, threading, logging
from dataclasses import dataclass, field
@dataclass
class Item:
    """An item."""
    name: str
    price: float = 1.5
    tags: list = field(default_factory=list)
    def total(self, n: int = 2) -> float:
        """The sum."""
        return self.price * n
@dataclass(frozen=True, order=True)
class Key:
    a: int
    b: str = "x"
@dataclass(slots=True)
class Slim:
    x: int
class Account:
    bank = "B"
    count = 0
    def __init__(self, balance=0):
        self._balance = balance
        self.history = []
        self.meta = {"seen": {1}, "deep": {"list": [[1], [2]]}}
        Account.count += 1
    @property
    def balance(self): return self._balance
    @balance.setter
    def balance(self, v):
        if v < 0: raise ValueError("negative")
        self._balance = v
    @property
    def broken(self): return self.nothing
    @classmethod
    def of(cls, n): return cls(n)
    @staticmethod
    def add(a, b): return a + b
    def deposit(self, n):
        self._balance += n; self.history.append(n); return self
    def get_history(self): return self.history
    def copy_history(self): return list(self.history)
    @functools.cached_property
    def big(self): return [self._balance] * 3
class Savings(Account):
    bank = "S"
    def deposit(self, n): return super().deposit(n * 2)
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    def describe(self): return f"{type(self).__name__} {self.area()}"
class Square(Shape):
    def __init__(self, s): self.s = s
    def area(self): return self.s ** 2
@typing.runtime_checkable
class HasArea(typing.Protocol):
    def area(self): ...
T = typing.TypeVar("T")
class Box(typing.Generic[T]):
    def __init__(self, v: T): self.v = v
    def get(self) -> T: return self.v
class Slotted:
    __slots__ = ("x",)
    def __init__(self): self.x = 1
class Magic:
    def __getattr__(self, n):
        if n.startswith("no"): raise AttributeError(n)
        return n.upper()
    def __setattr__(self, n, v): object.__setattr__(self, n, v * 2)
class Positive:
    def __set_name__(self, owner, name): self.n = "_" + name
    def __get__(self, o, t): return self if o is None else getattr(o, self.n)
    def __set__(self, o, v):
        if v <= 0: raise ValueError(f"{self.n} must be positive")
        setattr(o, self.n, v)
class Order:
    qty = Positive()
    def __init__(self, q): self.qty = q
class Singleton:
    _one = None
    def __new__(cls):
        if cls._one is None: cls._one = super().__new__(cls)
        return cls._one
class Meta(type):
    _made = {}
    def __call__(cls, *a):
        if cls not in Meta._made: Meta._made[cls] = super().__call__(*a)
        return Meta._made[cls]
    def __len__(cls): return 42
class Config(metaclass=Meta): pass
class Node:
    def __init__(self, val, next=None): self.val = val; self.next = next
    def __iter__(self):
        n = self
        while n: yield n.val; n = n.next
def reverse(n):
    p = None
    while n: n.next, p, n = p, n, n.next
    return p
class Tree:
    def __init__(self): self.items = []; self.children = []; self.parent = None
    def add(self, c): self.children.append(c); c.parent = self; return c
class Base:
    def who(self): return "base"
class A(Base):
    def who(self): return "a" + super().who()
class B(Base):
    def who(self): return "b" + super().who()
class C(A, B): pass
class Timer:
    def __enter__(self): self.log = ["in"]; return self
    def __exit__(self, t, e, tb): self.log.append((t, e)); return t is KeyError
@contextlib.contextmanager
def tag(name, log):
    log.append(f"<{name}>")
    try: yield name.upper()
    except ZeroDivisionError: log.append("zero")
    finally: log.append(f"</{name}>")
class Pub:
    def __init__(self): self.subs = []
    def on(self, f): self.subs.append(f); return f
    def fire(self, *a, **k): return [f(*a, **k) for f in self.subs]
class Eq:
    def __init__(self, v): self.v = v
    def __eq__(self, o): return isinstance(o, Eq) and self.v == o.v
def f(a, /, b: int, *args, c=3, **kw) -> str:
    """Doc of f."""
    return "f"
f.extra = 5
def outer():
    def inner(): return 1
    return inner
add3 = functools.partial(lambda a, b: a + b, 3)
@functools.lru_cache(maxsize=None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def acc(x, seen=[]): seen.append(x); return seen
def kwargs(**k): return k
def args(*a): return a
CONSTANT = {"a": [1, 2]}
LIST = [3]
def constant(): return CONSTANT
counter = 0
def bump():
    global counter
    counter += 1
    return counter
'''

SAID = [
    "assert Item('a') == Item('a', 1.5, []) and Item('a') != Item('b') and repr(Item('a')) == \"Item(name='a', price=1.5, tags=[])\"",
    "assert Item('a') == Item('b')",
    "i = Item('a')\ni.tags.append(1)\nassert i.tags == [1] and Item('a').tags == [] and i.total() == 3.0 and i.total(n=4) == 6.0",
    "i = Item('a')\ni.price = 2\nassert i.total() == 4 and i == Item('a', 2)",
    "import dataclasses\nassert dataclasses.is_dataclass(Item) and [f.name for f in dataclasses.fields(Item)] == ['name', 'price', 'tags'] and dataclasses.asdict(Item('a')) == {'name': 'a', 'price': 1.5, 'tags': []} and dataclasses.astuple(Key(1)) == (1, 'x') and dataclasses.replace(Key(1), a=2) == Key(2)",
    "assert Item.__dataclass_fields__['price'].default == 1.5 and Item.__doc__ == 'An item.' and Item.__name__ == 'Item' and Item.__annotations__ == {'name': str, 'price': float, 'tags': list}",
    "Key(1).a = 2",
    "hash(Item('a'))",
    "assert Key(1) < Key(2) < Key(2, 'y') and sorted([Key(2), Key(1)]) == [Key(1), Key(2)] and hash(Key(1)) == hash(Key(1)) and {Key(1): 5}[Key(1)] == 5 and max([Key(1), Key(3)], key=lambda k: k.a).a == 3",
    "Item()",
    "Slim(1).y = 3",
    "assert Slim(1) == Slim(1) and not hasattr(Slim(1), '__dict__')",
    "a = Account(5)\nassert a.balance == 5 and a.bank == 'B' and Account.bank == 'B'\na.balance = 9\nassert a.balance == 9",
    "Account(5).balance = -1",
    "Account(5).broken",
    "assert not hasattr(Account(1), 'broken') and getattr(Account(1), 'nope', 4) == 4",
    "a = Account()\na.history.append(7)\na.deposit(1)\nassert a.history == [7, 1] and a.get_history() == [7, 1]\na.get_history().append(8)\nassert a.history == [7, 1, 8]\na.copy_history().append(9)\nassert a.history == [7, 1, 8]",
    "a = Account()\nh = a.history\na.deposit(3)\nassert h == [3] and h is a.history\nh.clear()\nassert a.get_history() == []",
    "a = Account()\nh = a.copy_history()\na.deposit(3)\nassert h == [3]",
    "a = Account()\na.meta['seen'].add(2)\na.meta['deep']['list'][0].append(9)\na.meta['new'] = {}\nassert a.meta == {'seen': {1, 2}, 'deep': {'list': [[1, 9], [2]]}, 'new': {}}",
    "assert vars(Account(3))['_balance'] == 3 and Account(3).__dict__['history'] == []",
    "a = Account(1)\nvars(a)['_balance'] = 70\nassert a.balance == 70",
    "a = Account(1)\na.new = 4\nassert a.new == 4 and hasattr(a, 'new')\ndel a.new\nassert not hasattr(a, 'new')",
    "assert Account.of(3).balance == 3 and Account.add(1, 2) == 3 and Savings.of(1).bank == 'S' and type(Savings.of(1)) is Savings",
    "n = Account.count\nAccount()\nassert Account.count == n + 1",
    "Account.bank = 'Z'\nassert Account(1).bank == 'Z' and Savings(1).bank == 'S'",
    "assert isinstance(Savings(), Account) and issubclass(Savings, Account) and not isinstance(Account(), Savings) and Savings(1).deposit(2).balance == 5 and Savings.__mro__[1] is Account and Savings.__bases__ == (Account,)",
    "a = Account(2)\nassert a.deposit(1) is a and a.deposit(1).deposit(1).balance == 5",
    "a = Account(2)\nassert a.big == [2, 2, 2] and a.big is a.big\na.big.append(1)\nassert a.big == [2, 2, 2, 1]",
    "m = Account(2).deposit\nassert m(3).balance == 5 and callable(m) and m.__name__ == 'deposit'",
    "assert Account.deposit(Account(1), 2).balance == 3 and Account.deposit.__name__ == 'deposit' and Account.deposit.__qualname__ == 'Account.deposit'",
    "Shape()",
    "assert Square(3).area() == 9 and Square(2).describe() == 'Square 4' and isinstance(Square(1), Shape) and isinstance(Square(1), HasArea) and not isinstance(3, HasArea) and not isinstance(3, Shape)",
    "import abc, inspect\nassert isinstance(Square(1), abc.ABC) and inspect.isabstract(Shape) and not inspect.isabstract(Square) and Shape.__abstractmethods__ == {'area'} and inspect.isclass(Shape)",
    "assert Box(3).get() == 3 and Box[int](4).v == 4 and isinstance(Box[str]('a'), Box)",
    "Slotted().y = 1",
    "assert Slotted().x == 1 and not hasattr(Slotted(), 'y')",
    "m = Magic()\nm.q = 4\nassert m.q == 8 and m.hello == 'HELLO' and not hasattr(m, 'nope')",
    "o = Order(3)\nassert o.qty == 3 and type(Order.qty).__name__ == 'Positive'\no.qty = 0",
    "Order(-1)",
    "assert Singleton() is Singleton() and Singleton() == Singleton() and Config() is Config() and len(Config) == 42",
    "assert Item('a') is Item('a')",
    "n = reverse(Node(1, Node(2, Node(3))))\nassert list(n) == [3, 2, 1] and n.next.val == 2 and n.next.next.next is None",
    "a, b = Node(1), Node(2)\na.next = b\nassert a.next is b and b.next is None and a.next != a and a.next == b",
    "class N:\n    def __init__(self, val, next=None): self.val, self.next = val, next\nn = reverse(N(1, N(2)))\nassert n.val == 2 and n.next.val == 1 and isinstance(n, N) and n.next.next is None",
    "t = Tree()\nc = t.add(Tree())\nassert c.parent is t and t.children == [c] and t.children[0] is c and c in t.children and t.parent is None",
    "t = Tree()\nt.items.append(1)\nt.items += [2]\nt.items[0] = 5\nassert t.items == [5, 2]\nt.items = [9]\nassert t.items == [9] and type(t.items) is list",
    "assert C().who() == 'abbase' and [k.__name__ for k in C.__mro__] == ['C', 'A', 'B', 'Base', 'object'] and isinstance(C(), B)",
    "with Timer() as t:\n    raise KeyError(1)\nassert t.log[1][0] is KeyError and t.log[1][1].args == (1,)",
    "with Timer() as t: pass\nassert t.log == ['in', (None, None)]",
    "with Timer(): raise IndexError(2)",
    "log = []\nwith tag('b', log) as n: log.append(n)\nassert log == ['<b>', 'B', '</b>']",
    "log = []\ntry:\n    with tag('b', log): 1 / 0\nexcept ZeroDivisionError: log.append('escaped')\nassert log == ['<b>', 'zero', '</b>']",
    "log = []\nwith tag('b', log): raise OSError('x')",
    "p = Pub()\nlog = []\n@p.on\ndef g(x, y=1): log.append(x); return x + y\nassert p.fire(1, y=5) == [6] and log == [1] and p.subs == [g] and p.subs[0] is g",
    "p = Pub()\nlog = []\np.on(log.append)\np.fire(3)\nassert log == [3]",
    "assert Eq(1) == Eq(1) and Eq(1) != Eq(2) and Eq(1) != 1 and [Eq(1), Eq(2)] == [Eq(1), Eq(2)] and {'a': Eq(1)} == {'a': Eq(1)}",
    "assert [Eq(1)] == [Eq(2)]",
    "assert f.__name__ == 'f' and f.__doc__ == 'Doc of f.' and f.__annotations__ == {'b': int, 'return': str} and f.extra == 5 and f.__module__ == 'solution' and f.__kwdefaults__ == {'c': 3}",
    "import inspect\nassert str(inspect.signature(f)) == '(a, /, b: int, *args, c=3, **kw) -> str' and list(inspect.signature(Item).parameters) == ['name', 'price', 'tags'] and inspect.signature(f).parameters['c'].default == 3 and inspect.signature(Account(1).deposit).parameters.keys() == {'n'}",
    "import inspect, types\nassert inspect.isfunction(f) and isinstance(f, types.FunctionType) and inspect.ismethod(Account(1).deposit) and not inspect.isfunction(Item) and inspect.getdoc(Item.total) == 'The sum.' and not inspect.isgeneratorfunction(f)",
    "assert outer().__name__ == 'inner' and outer()() == 1 and outer().__qualname__ == 'outer.<locals>.inner'",
    "import functools\nassert add3(4) == 7 and isinstance(add3, functools.partial) and add3.args == (3,)",
    "fib.cache_clear()\nassert fib(10) == 55 and fib.cache_info().misses == 11 and fib.cache_info().hits == 8 and fib.__wrapped__(1) == 1 and fib.__name__ == 'fib'",
    "a = acc(1)\nb = acc(2)\nassert a == [1, 2] and a is b",
    "assert acc(1)[-1:] == [1] and kwargs(a=1, b=[2]) == {'a': 1, 'b': [2]} and args(1, [2]) == (1, [2])",
    "constant()['a'].append(3)\nassert CONSTANT['a'] == [1, 2, 3]",
    "import solution\nsolution.LIST.append(4)\nassert solution.LIST == [3, 4] and solution.__doc__ == \"The module's own words.\" and solution.__name__ == 'solution' and not hasattr(solution, 'zzz')",
    "import solution\nsolution.counter = 10\nassert bump() == 11 and solution.counter == 11",
    "from solution import nothing_like_it",
    "from unittest import mock\nimport solution\nwith mock.patch('solution.fib', return_value=99) as m:\n    assert solution.fib(3) == 99\nassert solution.fib(3) == 2 and m.call_count == 1",
    "from unittest import mock\np = Pub()\nm = mock.Mock(return_value=4)\np.on(m)\nassert p.fire(1, k=[2]) == [4]\nm.assert_called_once_with(1, k=[2])",
    "from unittest import mock\nn = Node(mock.Mock())\nn.val.send.return_value = 3\nassert n.val.send(1) == 3",
    "import copy\na = Account(5)\nb = copy.copy(a)\nc = copy.deepcopy(a)\na.history.append(1)\nassert b.history == [1] and c.history == [] and b is not a and type(c) is Account and b.history is a.history",
    "import copy, pickle\ni = Item('a', tags=[1])\nassert copy.deepcopy([i, {'k': i}]) == [i, {'k': i}] and pickle.loads(pickle.dumps(i)) == i and pickle.loads(pickle.dumps([i])) is not i",
    "import weakref\na = Account(1)\nassert weakref.ref(a)() is a",
    "import json\njson.dumps(Item('a'))",
    'import json\nassert json.dumps(vars(Item(\'a\'))) == \'{"name": "a", "price": 1.5, "tags": []}\'',
    "assert type(Item('a')) == Item and type(Item('a')) is not Account and Item('a').__class__.__name__ == 'Item' and str(Item) == \"<class 'solution.Item'>\"",
    "match Item('a', 2.0):\n    case Item(name='a', price=p): assert p == 2.0\n    case _: assert False",
    "match Key(1):\n    case Key(a, b): assert (a, b) == (1, 'x')\n    case _: assert False",
    "assert sorted([Item('b'), Item('a')], key=lambda i: i.name)[0].name == 'a' and {i.name: i for i in [Item('q')]}['q'].price == 1.5 and min([3, 1], key=lambda v: Item('a', v).price) == 1",
    "data = [1]\na = Account()\na.history = data\na.deposit(2)\nassert data == [1, 2]\ndata.append(3)\nassert a.history == [1, 2, 3] and a.history is data",
    "a = Account()\nassert a.history is a.history and a.meta['deep'] is a.meta['deep']",
    "assert isinstance(Account.balance, property) and Account.balance.fget(Account(6)) == 6",
    "assert callable(Account) and callable(f) and not callable(Account(1)) and isinstance(Account, type)",
    "assert Item('a').__eq__(Item('a')) is True and Item('a').__eq__(5) is NotImplemented",
    "class Mine(Account):\n    def deposit(self, n): return 'mine'\nassert Mine",
    "a = Account(1)\nassert a != 1 and a != None and not a == 'x' and a is not None and a in [1, a] and 1 not in [a]",
    "assert repr(Account(1)).startswith('<solution.Account object at 0x') and str(f).startswith('<function f at 0x')",
]
