# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Values: plain ones, containers, enumerations, classes that derive from builtin types."""

PROGRAM = """
import enum, collections, datetime, decimal, fractions, typing, uuid, array, types, pathlib
class Day(enum.IntEnum):
    MON = 1
    SUN = 7
    def next(self): return Day.SUN
    @property
    def short(self): return self.name[:2]
class Color(enum.Enum):
    RED = "r"
    BLUE = "b"
    CRIMSON = "r"
    @classmethod
    def parse(cls, s): return cls(s)
    def __str__(self): return self.name.lower()
class Perm(enum.IntFlag):
    R = 4
    W = 2
class Opt(enum.Flag):
    A = enum.auto()
    B = enum.auto()
class Mode(enum.StrEnum):
    ON = "on"
    OFF = "off"
class Old(str, enum.Enum):
    A = "a"
class Planet(enum.Enum):
    EARTH = (1, 2)
    def __init__(self, m, r): self.m = m; self.r = r
class Money(int):
    def __add__(self, o): return Money(int(self) + int(o))
    def __repr__(self): return f"Money({int(self)})"
    def cents(self): return self * 100
class Name(str):
    def shout(self): return Name(self.upper() + "!")
    def __len__(self): return 99
class Temp(float):
    @property
    def k(self): return self + 273.15
class Pair(tuple):
    def __new__(cls, a, b): return super().__new__(cls, (a, b))
    @property
    def first(self): return self[0]
Point = collections.namedtuple("Point", "x y", defaults=[0])
class Person(typing.NamedTuple):
    name: str
    age: int = 3
    def older(self): return self._replace(age=self.age + 1)
class Stack(list):
    def push(self, x): self.append(x); return self
    def peek(self): return self[-1]
class Default(dict):
    def __missing__(self, k): self[k] = v = len(k); return v
class Lower(dict):
    def __setitem__(self, k, v): super().__setitem__(k.lower(), v)
    def __getitem__(self, k): return super().__getitem__(k.lower())
class Bag(collections.Counter):
    def total_of(self): return sum(self.values())
class Uniq(set):
    def add(self, x): super().add(abs(x))
class Ring(collections.deque):
    def spin(self): self.rotate(1); return self
class Ordered(collections.OrderedDict): pass
class DD(collections.defaultdict): pass
class Ints(collections.UserList): pass
class Conf(collections.UserDict): pass
class Frozen(frozenset):
    def big(self): return len(self) > 1
class When(datetime.date):
    def shift(self, n): return self + datetime.timedelta(n)
class Dec(decimal.Decimal): pass
class By(bytes): pass
def same(x): return x
def day(n): return Day(n)
def money(n): return Money(n)
def make(n):
    return {"a": [n, (n, {n}), {"b": collections.deque([n], 3)}], "c": collections.OrderedDict(x=1), "d": collections.Counter("aab")}
def dd():
    d = collections.defaultdict(list); d["a"].append(1); return d
def dlam(): return collections.defaultdict(lambda: 7)
def loop():
    a = [1]; a.append(a); return a
def rows():
    r = [0, 0]; return [r, r]
nan = float("nan")
def nans(): return [nan]
def big(n): return list(range(n))
def deep(n):
    x = []
    for _ in range(n): x = [x]
    return x
def values():
    return [decimal.Decimal("1.50"), fractions.Fraction(1, 3), 1j, range(3), slice(1, 2), b"x", bytearray(b"y"), datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
            datetime.date(2020, 1, 2), datetime.time(3, 4), datetime.timedelta(1, 2, 3), uuid.UUID(int=5), pathlib.PurePosixPath("/a/b"), array.array("i", [1, 2]), frozenset([1]), ..., None, int, ValueError, len, list[int], typing.List[int], 2**200, -0.0, float("inf")]
def views(): d = {1: 2}; return d.keys(), d.values(), d.items()
def proxy(): return types.MappingProxyType({1: 2})
def chain(): return collections.ChainMap({1: 2}, {3: 4})
"""

SAID = [
    "assert day(1) == 1 and 1 == day(1) and day(1) == Day.MON and day(1) is Day.MON",
    "assert day(1) == 2",
    "assert day(7) == Day.MON",
    "assert Day.MON + 1 == 2 and Day.SUN > Day.MON and Day.SUN > 5 and sorted([Day.SUN, Day.MON]) == [1, 7] and max(Day) is Day.SUN",
    "assert [10, 20][Day.MON] == 20 and range(Day.SUN)[-1] == 6 and {1: 'a'}[Day.MON] == 'a' and {Day.MON: 'b'}[1] == 'b'",
    "assert isinstance(Day.MON, int) and isinstance(Day.MON, Day) and not isinstance(1, Day)",
    "import enum\nassert isinstance(Day.MON, enum.IntEnum) and isinstance(Color.RED, enum.Enum) and issubclass(Color, enum.Enum) and not isinstance(Color.RED, int)",
    "assert Day.MON.name == 'MON' and Day.MON.value == 1 and Day.MON.next() is Day.SUN and Day.MON.short == 'MO'",
    "assert list(Day) == [1, 7] and len(Day) == 2 and Day['MON'] is Day.MON and Day(7) is Day.SUN and Day.MON in Day",
    "Day(3)",
    "Day['X']",
    "import json\nassert json.dumps({'d': Day.MON}) == '{\"d\": 1}' and f'{Day.MON}' == '1' and str(Day.MON) == '1' and repr(Day.MON) == '<Day.MON: 1>' and '%d' % Day.MON == '1'",
    "assert Color.RED != Color.BLUE and Color.RED == Color.RED and Color.RED is Color.CRIMSON and Color('r') is Color.RED",
    "assert Color.RED == Color.BLUE",
    "assert Color.RED == 'r'",
    "assert Color.RED.value == 'r' and [c.name for c in Color] == ['RED', 'BLUE'] and set(Color.__members__) == {'RED', 'BLUE', 'CRIMSON'}",
    "assert Color.parse('b') is Color.BLUE and str(Color.RED) == 'red' and f'{Color.RED}' == 'red' and repr(Color.RED) == \"<Color.RED: 'r'>\"",
    "assert {Color.RED: 1}[Color('r')] == 1 and len({Color.RED, Color.CRIMSON, Color.BLUE}) == 2",
    "Color.RED < Color.BLUE",
    "Color('zzz')",
    "Color.GREEN",
    "Color.RED = 3",
    "Color.RED.value = 3",
    "assert Color.RED in Color and bool(Color) and Color.RED.__class__ is Color and type(Color.RED) is Color",
    "assert Perm.R | Perm.W == 6 and (Perm.R | Perm.W) & Perm.W == Perm.W and Perm.R in (Perm.R | Perm.W) and Perm(6) == Perm.R | Perm.W and ~Perm.R == Perm.W",
    "assert Perm.R | Perm.W == 5",
    "assert (Opt.A | Opt.B) & Opt.A is Opt.A and not (Opt.A & Opt.B) and list(Opt.A | Opt.B) == [Opt.A, Opt.B] and Opt.A in (Opt.A | Opt.B)",
    "assert Mode.ON == 'on' and Mode.ON.upper() == 'ON' and str(Mode.ON) == 'on' and f'{Mode.OFF}' == 'off' and ''.join(Mode) == 'onoff' and Mode('on') is Mode.ON",
    "assert Mode.ON == 'off'",
    "assert Old.A == 'a' and Old.A + 'b' == 'ab' and isinstance(Old.A, str) and str(Old.A) == 'Old.A'",
    "assert Planet.EARTH.m == 1 and Planet.EARTH.value == (1, 2)",
    "assert money(3) == 3 and money(3) + 2 == 5 and money(3) * 2 == 6 and 1 + money(3) == 4 and money(3) < 4 and hash(money(3)) == hash(3)",
    "assert money(3) == 4",
    "assert Money(3) + 2 == Money(5) and isinstance(Money(3) + 2, Money) and repr(Money(3)) == 'Money(3)' and Money(3).cents() == 300",
    "assert isinstance(money(3), int) and type(money(3)) is Money and type(money(3)).__name__ == 'Money' and int(money(3)) == 3 and f'{money(3):03d}' == '003'",
    "n = Name('bob')\nassert n == 'bob' and n.shout() == 'BOB!' and n.upper() == 'BOB' and len(n) == 99 and n[1] == 'o' and n + 'x' == 'bobx' and 'o' in n and n.startswith('b') and isinstance(n.shout(), Name)",
    "assert Temp(1.5) == 1.5 and Temp(0).k == 273.15 and round(Temp(1.234), 1) == 1.2 and Temp(1) < 2",
    "p = Pair(1, 2)\nassert p == (1, 2) and p[0] == 1 and p.first == 1 and len(p) == 2 and list(p) == [1, 2] and hash(p) == hash((1, 2)) and p + (3,) == (1, 2, 3)\na, b = p\nassert b == 2",
    "assert Pair(1, 2) == (1, 3)",
    "p = Point(1)\nassert p == (1, 0) and p.x == 1 and p._asdict() == {'x': 1, 'y': 0} and p._replace(x=5) == Point(5, 0) and Point._fields == ('x', 'y') and repr(p) == 'Point(x=1, y=0)' and isinstance(p, tuple)",
    "p = Person('a')\nassert p == ('a', 3) and p.older() == ('a', 4) and p.older().age == 4 and p.name == 'a' and Person('a', age=3) == p and Person._field_defaults == {'age': 3}",
    "Point(1).x = 3",
    "Point(1, 2, 3)",
    "s = Stack([1])\ns.push(2)\nassert s == [1, 2] and s.peek() == 2 and len(s) == 2 and s[0] == 1 and s.pop() == 2 and s == [1] and isinstance(s, list) and [0] + s == [0, 1]",
    "s = Stack()\ns.append(5)\ns.extend([6, 7])\nassert s.peek() == 7 and s.push(8)[-1] == 8 and s.push(9) is s and sorted(s, reverse=True) == [9, 8, 7, 6, 5]",
    "import json\ns = Stack([1, 2])\nassert json.dumps(s) == '[1, 2]' and s.index(2) == 1 and s[::-1] == [2, 1] and s.count(1) == 1 and repr(s) == '[1, 2]'",
    "assert Stack([1]) == [2]",
    "xs = [Stack([i]) for i in range(5)]\nassert [x.peek() for x in xs] == [0, 1, 2, 3, 4] and xs[0].push(7) is xs[0] and xs[0] == [0, 7]\nys = {i: Default(a=i) for i in range(5)}\nassert [y['bb'] for y in ys.values()] == [2] * 5 and ys[3] == {'a': 3, 'bb': 2}",
    "for i in range(50):\n    s = Stack([i])\n    s.append(i)\n    assert s.push(3).peek() == 3 and s == [i, i, 3]",
    "d = Default()\nassert d['abc'] == 3 and d == {'abc': 3} and 'abc' in d and d.get('zz') is None",
    "d = Lower()\nd['ABC'] = 1\nassert d == {'abc': 1} and d['Abc'] == 1 and list(d) == ['abc']",
    "b = Bag('aab')\nassert b == {'a': 2, 'b': 1} and b.total_of() == 3 and b['zz'] == 0 and b.most_common(1) == [('a', 2)]",
    "u = Uniq()\nu.add(-3)\nassert u == {3} and 3 in u and u | {4} == {3, 4}",
    "r = Ring([1, 2, 3], maxlen=3)\nr.append(4)\nassert list(r) == [2, 3, 4] and list(r.spin()) == [4, 2, 3] and r[0] == 4",
    "o = Ordered(a=1, b=2)\no.move_to_end('a')\nassert list(o) == ['b', 'a'] and o == {'a': 1, 'b': 2}",
    "d = DD(list)\nd['x'].append(1)\nassert d == {'x': [1]}",
    "assert Ints([1, 2]) == [1, 2] and Ints([1])[0] == 1 and Ints([1]) + [2] == [1, 2]",
    "c = Conf(a=1)\nc['b'] = 2\nassert c == {'a': 1, 'b': 2} and dict(c) == {'a': 1, 'b': 2}",
    "assert Frozen([1, 2]) == {1, 2} and Frozen([1, 2]).big() and hash(Frozen([1])) == hash(frozenset([1])) and Frozen([1]) | {3} == {1, 3}",
    "import datetime\nassert When(2020, 1, 1).shift(2) == datetime.date(2020, 1, 3) and When(2020, 1, 1).year == 2020 and When(2020, 1, 1) < datetime.date(2021, 1, 1)",
    "import decimal\nassert Dec('1.5') == decimal.Decimal('1.5') and Dec('1.5') + 1 == decimal.Decimal('2.5') and By(b'x') == b'x'",
    "x = make(3)\nassert x == {'a': [3, (3, {3}), {'b': __import__('collections').deque([3])}], 'c': {'x': 1}, 'd': {'a': 2, 'b': 1}} and type(x['d']).__name__ == 'Counter' and x['a'][2]['b'].maxlen == 3",
    "d = dd()\nassert d == {'a': [1]} and d['zz'] == [] and dlam()['q'] == 7",
    "a = loop()\nassert a[1] is a and a[1][1][0] == 1 and repr(a) == '[1, [...]]'",
    "r = rows()\nr[0][0] = 9\nassert r == [[9, 0], [9, 0]] and r[0] is r[1]",
    "assert nans() == nans()",
    "import math\nassert math.isnan(nans()[0]) and nans() != [math.nan] and same([math.nan]) == [math.nan]",
    "x = float('nan')\nassert same(x) is x and [same(x)] == [x] and same([x]) == [x]",
    "assert big(200000) == list(range(200000))",
    "x = deep(300)\nassert x == deep(300) and x != deep(299)",
    "import decimal, fractions, datetime, uuid, pathlib, array, typing\nassert values() == [decimal.Decimal('1.50'), fractions.Fraction(1, 3), 1j, range(3), slice(1, 2), b'x', bytearray(b'y'), datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), datetime.date(2020, 1, 2), datetime.time(3, 4), datetime.timedelta(1, 2, 3), uuid.UUID(int=5), pathlib.PurePosixPath('/a/b'), array.array('i', [1, 2]), frozenset([1]), ..., None, int, ValueError, len, list[int], typing.List[int], 2**200, -0.0, float('inf')]",
    "for v in values(): assert same(v) == v and type(same(v)) is type(v), v",
    "k, v, i = views()\nassert k == {1} and list(v) == [2] and i == {(1, 2)} and 1 in k",
    "assert proxy() == {1: 2} and proxy()[1] == 2\nproxy()[1] = 3",
    "c = chain()\nassert c[3] == 4 and dict(c) == {1: 2, 3: 4} and c == {1: 2, 3: 4} and len(c) == 2",
    "for v in ['\\ud800', 'é', '', b'', 0, -1, 1 << 53, -(1 << 53), 1 << 70, 1.5, True, None, (), [], {}, set(), ((1,), [2]), {(1, 2): [3]}, {1.5: None}]: assert same(v) == v and type(same(v)) is type(v)",
    "x = [1, [2]]\nassert same(x) is x and same(x)[1] is x[1] and same({'k': x})['k'] is x",
    "assert same(True) is True and same(None) is None and same(...) is ... and same(NotImplemented) is NotImplemented and same(int) is int and same(Day) is Day and same(Day.MON) is Day.MON",
    "import copy, pickle\nassert copy.copy(Day.MON) is Day.MON and copy.deepcopy(Color.RED) is Color.RED and pickle.loads(pickle.dumps(Color.RED)) is Color.RED and copy.deepcopy(Stack([1])) == [1] and pickle.loads(pickle.dumps(Point(1, 2))) == (1, 2)",
]
