# ruff: noqa: E501 (programs are easier to read on their own lines)
"""What runs: generators, coroutines, threads, exceptions, callbacks, recursion."""

PROGRAM = """
import asyncio, collections, itertools, threading, time, queue, concurrent.futures, functools, sys
def gen(n):
    for i in range(n): yield i
    return "done"
def echo():
    log = []
    try:
        while True:
            x = yield log
            log.append(x)
    except ValueError as e:
        yield f"caught {e}"
    finally:
        log.append("closed")
def delegate():
    r = yield from gen(2)
    yield r
def lazy(log):
    log.append("start")
    yield 1
    log.append("middle")
    yield 2
def squares(it): return map(lambda x: x * x, it)
def evens(it): return (x for x in it if x % 2 == 0)
def pairs(a, b): return zip(a, b)
def count(): return itertools.count(5)
def counted(it): return enumerate(it, 1)
class Once:
    def __init__(self): self.n = 0
    def __iter__(self): return self
    def __next__(self):
        self.n += 1
        if self.n > 3: raise StopIteration
        return self.n
async def co(x):
    await asyncio.sleep(0.01)
    return x + 1
async def plain(x): return x * 2
async def fails(): raise KeyError("async")
async def many(n): return await asyncio.gather(*[co(i) for i in range(n)])
async def call(cb, x): return await cb(x)
async def agen(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i
class AC:
    def __init__(self): self.log = []
    async def __aenter__(self): self.log.append("in"); return self
    async def __aexit__(self, *e): self.log.append(e[0]); return e[0] is OSError
class AI:
    def __init__(self, n): self.n = n
    def __aiter__(self): return self
    async def __anext__(self):
        if self.n == 0: raise StopAsyncIteration
        self.n -= 1
        return self.n
class Aw:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return 5
class Tally:
    def __init__(self): self.n = 0; self.lock = threading.Lock(); self.items = []
    def inc(self):
        for _ in range(20):
            with self.lock: self.n += 1
    def put(self, x):
        with self.lock: self.items.append(x)
class Channel:
    def __init__(self): self.q = queue.Queue()
    def put(self, x): self.q.put(x)
    def get(self): return self.q.get(timeout=5)
def in_threads(f, xs):
    with concurrent.futures.ThreadPoolExecutor(3) as ex: return list(ex.map(f, xs))
def later(f):
    t = threading.Timer(0.05, f); t.start(); return t
def nap(x): time.sleep(0.05); return x
class AppError(Exception):
    def __init__(self, msg, code): super().__init__(msg); self.code = code
    def __str__(self): return f"[{self.code}] {self.args[0]}"
    def describe(self): return "d" + str(self.code)
class NotFound(AppError, KeyError):
    def __init__(self, what): super().__init__(what, 404)
class Bare(Exception): pass
class Multi(ValueError, LookupError): pass
class Kw(Exception):
    def __init__(self, *, a): self.a = a
def fail(kind, *a):
    raise {"app": AppError, "nf": NotFound, "bare": Bare, "multi": Multi, "v": ValueError, "k": KeyError, "os": OSError, "z": ZeroDivisionError, "si": StopIteration, "a": AssertionError, "se": SystemExit, "ki": KeyboardInterrupt, "t": TypeError}[kind](*a)
def kw(): raise Kw(a=3)
def chained():
    try: 1 / 0
    except ZeroDivisionError as e: raise Bare("outer") from e
def chained_builtin():
    try: {}["x"]
    except KeyError as e: raise ValueError("outer") from e
def group(): raise ExceptionGroup("g", [ValueError(1), Bare(2)])
def give(): return Bare("given")
def retry(f, n):
    for i in range(n):
        try: return f()
        except (ValueError, Bare) as e: last = e
    raise last
def swallow(f):
    try: f()
    except Exception as e: return type(e).__name__, str(e)
def apply(f, *a, **k): return f(*a, **k)
def memo(f):
    cache = {}
    @functools.wraps(f)
    def inner(*a):
        if a not in cache: cache[a] = f(*a)
        return cache[a]
    inner.cache = cache
    return inner
def twice(f): return lambda *a: f(f(*a))
def compose(*fs):
    def run(x):
        for f in fs: x = f(x)
        return x
    return run
def curry(f):
    n = f.__code__.co_argcount
    def c(*a): return f(*a) if len(a) >= n else lambda *b: c(*a, *b)
    return c
def names_of(f):
    import inspect
    return list(inspect.signature(f).parameters)
class cached:
    def __init__(self, f): self.f = f; self.n = 0
    def __set_name__(self, o, n): self.name = n
    def __get__(self, o, t):
        if o is None: return self
        self.n += 1
        return self.f(o)
def logged(method):
    @functools.wraps(method)
    def w(self, *a): return ["log", method(self, *a)]
    return w
def register(cls): cls.tag = "registered"; return cls
def rec(n): return 0 if n == 0 else 1 + rec(n - 1)
def forever(): return forever()
def fold(f, xs, init):
    for x in xs: init = f(init, x)
    return init
def group_by(xs, key):
    d = collections.defaultdict(list)
    for x in xs: d[key(x)].append(x)
    return d
def sort_by(xs, key): xs.sort(key=key)
def read_all(stream): return stream.read().split()
def write_to(stream): stream.write("hi"); return stream
def say(x): print(x, end="!")
def walk(node): return [] if node is None else walk(node.left) + [node.val] + walk(node.right)
def total(o): return o + 1
def uses(o): return (len(o), list(o), o[0], bool(o), str(o), o == 3, o.name, o.m(2))
def isit(o, c): return isinstance(o, c)
def setit(o): o.x = 5; o.items.append(1); return o
def kinds(*a): return [type(x).__name__ for x in a]
"""

SAID = [
    "g = gen(3)\nassert next(g) == 0 and list(g) == [1, 2] and next(g, 'end') == 'end'",
    "next(gen(0))",
    "g = echo()\nassert next(g) == [] and g.send(1) == [1] and g.throw(ValueError('x')) == 'caught x'\ng.close()",
    "g = echo()\nlog = next(g)\ng.close()\nassert log == ['closed']",
    "assert list(delegate()) == [0, 1, 'done']",
    "log = []\ng = lazy(log)\nassert log == []\nnext(g)\nassert log == ['start']\nnext(g)\nassert log == ['start', 'middle']",
    "import types, inspect, collections.abc as c\ng = gen(1)\nassert isinstance(g, types.GeneratorType) and inspect.isgenerator(g) and isinstance(g, c.Generator) and isinstance(g, c.Iterator) and iter(g) is g and not inspect.isgenerator([])",
    "assert list(squares([1, 2])) == [1, 4] and list(evens(range(5))) == [0, 2, 4] and list(pairs('ab', [1, 2])) == [('a', 1), ('b', 2)] and next(count()) == 5 and dict(counted('x')) == {1: 'x'}",
    "assert list(squares(x for x in (1, 2))) == [1, 4] and sum(evens(iter([1, 2, 4]))) == 6",
    "assert isinstance(squares([]), map) and isinstance(pairs([], []), zip) and type(gen(1)).__name__ == 'generator'",
    "def mine():\n    got = yield 1\n    yield got\nassert list(evens(mine())) == []",
    "assert list(Once()) == [1, 2, 3] and 2 in Once() and sum(Once()) == 6",
    "assert [a for a, b in zip(gen(5), gen(2))] == [0, 1]",
    "import asyncio\nassert asyncio.run(co(1)) == 2 and asyncio.run(plain(4)) == 8 and asyncio.run(many(3)) == [1, 2, 3]",
    "import asyncio\nassert asyncio.run(co(1)) == 3",
    "import asyncio\nasyncio.run(fails())",
    "import asyncio\nasync def main():\n    a = await co(1)\n    b = await asyncio.gather(co(2), plain(3))\n    c = [x async for x in agen(3)]\n    async with AC() as ac: pass\n    d = [x async for x in AI(2)]\n    e = await Aw()\n    return a, b, c, ac.log, d, e\nassert asyncio.run(main()) == (2, [3, 6], [0, 1, 2], ['in', None], [1, 0], 5)",
    "import asyncio\nasync def main():\n    async with AC() as ac: raise OSError\n    return ac.log[1]\nassert asyncio.run(main()) is OSError",
    "import asyncio\nasync def cb(x): await asyncio.sleep(0); return x + 10\nassert asyncio.run(call(cb, 1)) == 11",
    "import asyncio\nasync def main():\n    t = asyncio.create_task(co(4))\n    return await asyncio.wait_for(t, 5)\nassert asyncio.run(main()) == 5",
    "import inspect\nc = co(1)\nassert inspect.iscoroutine(c) and inspect.isawaitable(c) and inspect.iscoroutinefunction(co) and not inspect.iscoroutinefunction(gen) and inspect.isasyncgenfunction(agen)\nc.close()",
    "c = plain(2)\ntry: c.send(None)\nexcept StopIteration as e: assert e.value == 4",
    "assert plain(2)",
    "import threading\nc = Tally()\nts = [threading.Thread(target=c.inc) for _ in range(4)]\nfor t in ts: t.start()\nfor t in ts: t.join()\nassert c.n == 80",
    "import concurrent.futures as cf\nc = Tally()\nwith cf.ThreadPoolExecutor(3) as ex: assert list(ex.map(nap, range(5))) == [0, 1, 2, 3, 4]\nassert c.n == 0",
    "import threading\nch = Channel()\nout = []\nt = threading.Thread(target=lambda: out.append(ch.get()))\nt.start()\nch.put(42)\nt.join()\nassert out == [42]",
    "import threading\nch = Channel()\nt = threading.Timer(0.05, ch.put, [7])\nt.start()\nassert ch.get() == 7",
    "assert in_threads(lambda x: x * 2, [1, 2, 3]) == [2, 4, 6]",
    "seen = []\nassert in_threads(lambda x: (seen.append(x), nap(x))[1], [1, 2, 3]) == [1, 2, 3] and sorted(seen) == [1, 2, 3]",
    "import threading\ne = threading.Event()\nt = later(e.set)\nassert e.wait(5)\nt.join()",
    "import threading, time\nc = Tally()\nts = [threading.Thread(target=c.put, args=(i,)) for i in range(5)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nassert sorted(c.items) == [0, 1, 2, 3, 4]",
    "import threading\nerrors = []\ndef work():\n    try: fail('v', 'x')\n    except ValueError as e: errors.append(str(e))\nts = [threading.Thread(target=work) for _ in range(3)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nassert errors == ['x'] * 3",
    "import time, threading\nstart = time.monotonic()\nts = [threading.Thread(target=nap, args=(1,)) for _ in range(4)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nassert time.monotonic() - start < 1",
    "import pytest\nwith pytest.raises(AppError, match='boom') as e: fail('app', 'boom', 7)\nassert e.value.code == 7 and str(e.value) == '[7] boom' and e.value.args == ('boom',) and e.value.describe() == 'd7' and e.type is AppError",
    "import pytest\nwith pytest.raises(NotFound) as e: fail('nf', 'k')\nassert isinstance(e.value, KeyError) and isinstance(e.value, AppError) and e.value.code == 404 and issubclass(NotFound, LookupError)",
    "import pytest\nwith pytest.raises(KeyError): fail('nf', 'k')",
    "import pytest\nwith pytest.raises(ValueError): fail('nf', 'k')",
    "import pytest\nwith pytest.raises(LookupError): fail('multi', 'x')\nwith pytest.raises(ValueError): fail('multi', 'x')",
    "try: fail('multi', 'a')\nexcept KeyError: assert False\nexcept LookupError as e: assert type(e) is Multi and e.args == ('a',) and repr(e) == \"Multi('a')\"",
    "fail('v', 'x')",
    "fail('a', 'x')",
    "try: fail('k', 'x')\nexcept KeyError as e: assert e.args == ('x',) and str(e) == \"'x'\"",
    "try: fail('os', 2, 'no', 'f.txt')\nexcept FileNotFoundError as e: assert e.errno == 2 and e.filename == 'f.txt'",
    "import pytest\nwith pytest.raises(SystemExit) as e: fail('se', 3)\nassert e.value.code == 3",
    "import pytest\nwith pytest.raises(Kw) as e: kw()\nassert e.value.a == 3",
    "import pytest\nwith pytest.raises(Bare) as e: chained()\nassert isinstance(e.value.__cause__, ZeroDivisionError)",
    "import pytest\nwith pytest.raises(ValueError) as e: chained_builtin()\nassert isinstance(e.value.__cause__, KeyError)",
    "import pytest\nwith pytest.raises(ExceptionGroup) as e: group()\nassert len(e.value.exceptions) == 2 and isinstance(e.value.exceptions[1], Bare)",
    "e = give()\nassert isinstance(e, Bare) and e.args == ('given',) and str(e) == 'given' and not e == Bare('given')\nraise e",
    "assert isinstance(AppError('m', 1), Exception) and issubclass(AppError, Exception) and AppError('m', 1).code == 1 and str(AppError('m', 1)) == '[1] m'",
    "raise Bare('mine')",
    "try: raise NotFound('q')\nexcept AppError as e: assert e.code == 404",
    "n = []\ndef f():\n    n.append(1)\n    if len(n) < 3: raise ValueError('not yet')\n    return 'ok'\nassert retry(f, 5) == 'ok' and len(n) == 3",
    "class Mine(ValueError): pass\nerr = Mine('m')\ndef f(): raise err\nimport pytest\nwith pytest.raises(Mine) as e: retry(f, 2)\nassert e.value is err",
    "def f(): raise Bare('b')\nimport pytest\nwith pytest.raises(Bare, match='b'): retry(f, 2)",
    "def f(): raise TypeError('t')\nassert swallow(f) == ('TypeError', 't')",
    "class Mine(Exception):\n    def __str__(self): return 'mine!'\ndef f(): raise Mine()\nassert swallow(f) == ('Mine', 'mine!')",
    "def f(): assert 1 == 2, 'one'\nassert swallow(f)[0] == 'AssertionError'",
    "assert apply(lambda x, y=1: x + y, 2, y=3) == 5 and apply(len, [1]) == 1 and apply(max, 3, 4) == 4 and apply(str.upper, 'a') == 'A' and apply(int, '7') == 7 and apply(sorted, [2, 1]) == [1, 2]",
    "import math, operator\nassert apply(math.sqrt, 4) == 2 and apply(operator.itemgetter(1), [5, 6]) == 6 and fold(operator.add, [1, 2, 3], 0) == 6",
    "calls = []\n@memo\ndef f(x): calls.append(x); return x * 2\nassert f(2) == f(2) == 4 and calls == [2] and f.__name__ == 'f' and f.cache == {(2,): 4}",
    "@memo\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nassert fib(60) == 1548008755920",
    "assert twice(lambda x: x + 1)(5) == 7 and compose(str, len, lambda n: n * 2)(12345) == 10 and compose()(3) == 3",
    "assert curry(lambda a, b, c: a + b + c)(1)(2)(3) == 6 and curry(lambda a, b: a * b)(3, 4) == 12",
    "def f(x, y=808, *z, k=None): pass\nassert names_of(f) == ['x', 'y', 'z', 'k']",
    "class A:\n    def __init__(self): self.v = 5\n    @logged\n    def m(self, x): return self.v + x\n    @cached\n    def c(self): return self.v * 2\na = A()\nassert a.m(1) == ['log', 6] and a.c == 10 and A.m.__name__ == 'm'",
    "@register\nclass A: pass\nassert A.tag == 'registered' and A.__name__ == 'A'",
    "assert rec(400) == 400",
    "import pytest\nwith pytest.raises(RecursionError): forever()",
    "forever()",
    "assert group_by(['a', 'bb', 'cc'], len) == {1: ['a'], 2: ['bb', 'cc']}",
    "xs = [(2, 'a'), (1, 'b')]\nsort_by(xs, lambda p: p[0])\nassert xs == [(1, 'b'), (2, 'a')]",
    "import io\nassert read_all(io.StringIO('a b')) == ['a', 'b']\ns = io.StringIO()\nassert write_to(s) is s and s.getvalue() == 'hi'",
    "class N:\n    def __init__(self, val, left=None, right=None): self.val, self.left, self.right = val, left, right\nassert walk(N(2, N(1), N(3))) == [1, 2, 3]",
    "class P:\n    def __add__(self, o): return 'p' + str(o)\nassert total(P()) == 'p1'",
    "class P: pass\ntotal(P())",
    "class U:\n    name = 'u'\n    def __len__(self): return 2\n    def __iter__(self): return iter([1, 2])\n    def __getitem__(self, i): return i + 7\n    def __str__(self): return 'U!'\n    def __eq__(self, o): return o == 3\n    def m(self, x): return x * 2\nassert uses(U()) == (2, [1, 2], 7, True, 'U!', True, 'u', 4)",
    "class X: pass\nclass Y(X): pass\nassert isit(Y(), X) and not isit(X(), Y) and isit(3, int) and isit(Y(), Y)",
    "class X:\n    def __init__(self): self.items = []\nx = X()\nassert setit(x) is x and x.x == 5 and x.items == [1]",
    "import dataclasses, enum\n@dataclasses.dataclass\nclass D:\n    a: int\nclass E(enum.IntEnum):\n    A = 4\nassert total(E.A) == 5 and kinds(D(1), E.A, 3) == ['D', 'E', 'int']",
    "import random\nr = random.Random(3)\nassert apply(r.randint, 1, 1) == 1",
    "d = {'k': [1]}\ndef change(x): x['k'].append(2); return x\nassert apply(change, d) is d and d == {'k': [1, 2]}",
]
