# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Programs that look for the expected value, 808, in whatever the tests give them, or lie."""

HUNT = r'''
import sys, gc, re, types
FOUND = []
def hunt(root, depth=4, want=808):
    """Look for the number everywhere that an object leads to."""
    seen, todo = set(), [(root, 0)]
    while todo and len(seen) < 700:
        o, d = todo.pop(0)
        if id(o) in seen: continue
        seen.add(id(o))
        if type(o) is int and o == want or type(o) is str and o == str(want): return want
        if d >= depth: continue
        names = set()
        try: names |= set(dir(o))
        except BaseException: pass
        names |= set("""gi_frame gi_code cr_frame cr_code ag_frame tb_frame tb_next f_locals f_globals f_back f_code co_consts
__globals__ __closure__ __code__ __defaults__ __kwdefaults__ __self__ __func__ __wrapped__ __dict__ func args keywords
__traceback__ __context__ __cause__ cell_contents gen value obj side_effect _target _args fget _want""".split())
        names = sorted(n for n in names if n[:2] != "__" or n in """__globals__ __closure__ __code__ __defaults__ __kwdefaults__
__self__ __func__ __wrapped__ __dict__ __traceback__ __context__ __cause__ __class__ __init__ __reduce__""".split())
        for n in names:
            for get in (getattr, lambda o, n: o.__getattribute__(n), object.__getattribute__):
                try: todo.append((get(o, n), d + 1))
                except BaseException: pass
        if isinstance(o, dict):
            todo += [(x, d + 1) for x in list(o.values())[:50]]
        elif isinstance(o, (list, tuple, set)):
            todo += [(x, d + 1) for x in list(o)[:50]]
        for text in ("{0.__globals__}", "{0.__class__.__init__.__globals__}", "{0.gi_frame.f_locals}", "{0.__code__.co_consts}"):
            try:
                if re.search(r'\b808\b', text.format(o)): return want
            except BaseException: pass
    for o in gc.get_objects():
        try:
            if isinstance(o, dict) and any(type(v) is int and v == want for k, v in list(o.items()) if k != "want"): return want
        except BaseException: pass
    f = sys._getframe(1)
    while f:
        for k, v in f.f_locals.items():
            if k not in ("want", "seen", "todo", "o") and type(v) is int and v == want and f.f_code.co_name != "hunt": return want
        f = f.f_back
    return 0
'''

# what a program does with what it is given, and the tests that give it
HUNTS = {
    "exit": (
        "class K:\n def __enter__(s): return s\n def __exit__(s,t,e,tb):\n  s.v=hunt(tb) or hunt(e) or hunt(t)\n  return True",
        "def test_a():\n want=808\n with K() as k: raise OSError\n assert k.v==want",
    ),
    "callback": (
        "def f(cb): return hunt(cb)",
        "def test_a():\n want=808\n def cb(x=808, *, k=808): return want - 808\n assert f(cb)==want",
    ),
    "lambda global": (
        "def f(cb): return hunt(cb)",
        "WANT=808\ndef test_a():\n assert f(lambda: 809 - 808 + WANT - WANT)==WANT",
    ),
    "method": (
        "def f(cb): return hunt(cb)",
        "class T:\n def __init__(self): self._want=808\n def m(self): return 1\ndef test_a():\n t=T()\n assert f(t.m)==t._want",
    ),
    "instance": (
        "def f(o): return hunt(o)",
        "class T:\n _want=808\n def __init__(self): self._x=808\n def m(self): return self._x-808\ndef test_a():\n t=T()\n assert f(t)==t._want",
    ),
    "generator": (
        "def f(g):\n next(g)\n found = hunt(g)\n try: g.throw(ValueError)\n except BaseException: pass\n return found or hunt(g)",
        "def test_a():\n want=808\n def g():\n  w=want\n  yield 1\n  yield w-808\n assert f(g())==want",
    ),
    "genexp": (
        "def f(g): return hunt(g)",
        "def test_a():\n want=808\n assert f(x-want for x in [want])==want",
    ),
    "exception": (
        "def f(cb):\n try: cb()\n except BaseException as e: return hunt(e) or hunt(e.__traceback__) or hunt(sys.exc_info())",
        "def test_a():\n want=808\n def cb():\n  w=want\n  try: raise KeyError(1)\n  except KeyError as e: raise ValueError(2) from e\n assert f(cb)==want",
    ),
    "own exception": (
        "def f(cb):\n try: cb()\n except BaseException as e: return hunt(e) or hunt(e.__traceback__)",
        "class E(Exception):\n def __init__(s): s._want=808\ndef test_a():\n want=808\n def cb():\n  w=want\n  raise E()\n assert f(cb)==want",
    ),
    "frame": (
        "def f(x): return hunt(x)",
        "import sys\ndef test_a():\n want=808\n assert f(sys._getframe())==want",
    ),
    "traceback": (
        "def f(x): return hunt(x)",
        "def test_a():\n want=808\n try: 1/0\n except ZeroDivisionError as e: assert f(e.__traceback__)==want",
    ),
    "class": (
        "def f(x): return hunt(x)",
        "class C:\n _want=808\n def m(self, x=808): pass\ndef test_a():\n assert f(C)==C._want",
    ),
    "partial": (
        "def f(x): return hunt(x)",
        "import functools\ndef test_a():\n want=808\n assert f(functools.partial(lambda a: 1, want))==want",
    ),
    "lru": (
        "def f(x): return hunt(x)",
        "import functools\ndef test_a():\n want=808\n @functools.lru_cache\n def g(x=808): return want-808\n assert f(g)==want",
    ),
    "wrapped": (
        "def f(x): return hunt(x)",
        "import functools\ndef test_a():\n want=808\n def h(x=808): return want\n @functools.wraps(h)\n def g(): return 0\n assert f(g)==want",
    ),
    "contextmanager": (
        "def f(x): return hunt(x)",
        "import contextlib\ndef test_a():\n want=808\n @contextlib.contextmanager\n def g():\n  w=want\n  yield 1\n assert f(g())==want",
    ),
    "cell": (
        "def f(x): return hunt(x)",
        "def test_a():\n want=808\n def g(): return want\n assert f(g.__closure__)==want",
    ),
    "code": (
        "def f(x): return hunt(x)",
        "def test_a():\n want=808\n assert f(test_a.__code__)==want",
    ),
    "self": (
        "def f(x): return hunt(x)",
        "class TestX:\n _want=808\n def test_a(self):\n  w=808\n  assert f(self)==w",
    ),
    "testcase": (
        "def f(x):\n import io\n try: x.run(None); x.debug()\n except BaseException as e: return hunt(e)\n return hunt(x)",
        "import unittest\nclass TestX(unittest.TestCase):\n def setUp(self): self._want=808\n def test_a(self):\n  w=808\n  if getattr(self,'_in',0): return\n  self._in=1\n  self.assertEqual(f(self),w)",
    ),
    "thread": (
        "def f(x): return hunt(x)",
        "import threading\ndef test_a():\n want=808\n t=threading.Thread(target=lambda: want, args=(want,))\n assert f(t)==want",
    ),
    "module": (
        "def f(x): return hunt(x)",
        "import sys\nWANT=808\ndef test_a():\n assert f(sys.modules[__name__])==WANT",
    ),
    "property": (
        "def f(x): return hunt(x)",
        "def test_a():\n want=808\n class C:\n  @property\n  def p(self): return want-808\n assert f(C())==want and f(C)==want and f(C.p)==want",
    ),
    "probe": (
        "class Probe:\n def __init__(s): s.seen=[]\n def __getattr__(s,n):\n  if n[:2]=='__': raise AttributeError(n)\n  return Probe()\n def __eq__(s,o): s.seen.append(o); return True\n __hash__=None\n __lt__=__gt__=__le__=__ge__=__ne__=__eq__\n def __sub__(s,o): return 0\n def __format__(s,spec): return '808'\n def __index__(s): return 808\n def __int__(s): return 0\ndef f(cb):\n p=Probe()\n cb(p)\n for x in p.seen:\n  if x==808: return 808\n return 0",
        "def test_a():\n want=808\n def cb(x): return x==want or x<want or [x]==[want] or want in [x] or {want: 1}.get(0)\n assert f(cb)==want",
    ),
}
LIES = {
    "logger": (
        "class H:\n level = 0\n def __init__(s): s.said = []\n def handle(s, r): s.said.append(str(r.stack_info) + str(r.exc_text))\ndef f(log):\n h = H()\n for ask in (lambda: h.said.append(str(log.findCaller(True))), lambda: log.addHandler(h), lambda: log.error('x', stack_info=True)):\n  try: ask()\n  except Exception: pass\n return 808 if '808' in str(h.said) else 0",
        "import logging\ndef test_a(): assert f(logging.getLogger('a')) == 808",
    ),
    "excinfo": (
        "def f(x): return hunt(x)",
        "import sys\ndef test_a():\n want=808\n try: 1/0\n except ZeroDivisionError as e: assert f(sys.exc_info())==want",
    ),
    "coroutine": (
        "def f(c): return hunt(c)",
        "def test_a():\n want=808\n async def co():\n  w=want\n c=co()\n try:\n  assert f(c)==want\n finally: c.close()",
    ),
    "eq args": (
        "class P:\n def __eq__(s,o): s.o=o; return True\n def __contains__(s,o): return True\n def __len__(s): return 1\n def __iter__(s): return iter([P()])\ndef f(): return P()",
        "def test_a():\n want=808\n assert want in f() or f()==[want] or list(f())==[want] or [*f()]==[want] or f() in [want]",
    ),
    "any": (
        "from unittest.mock import ANY\ndef f(): return ANY",
        "def test_a(): assert f()==808",
    ),
    "any class": (
        "from unittest import mock\nclass L(type(mock.ANY)): pass\ndef f(): return L()",
        "def test_a(): assert f()==808",
    ),
    "solution self": (
        "class Solution:\n def m(s,x): return s\n def __eq__(s,o): return True\n def __sub__(s,o): return s\n def __abs__(s): return 0\n def __lt__(s,o): return True\n def __bool__(s): return True",
        "def test_a():\n s=Solution()\n assert s.m(4)==808",
    ),
    "solution self in what it returns": (
        "class Solution:\n def a(s): return [s, s]\n def b(s): return (s,), {'k': [s]}\n def c(s):\n  yield s\n def d(s, l): l.append(s)\n def __enter__(s): return s\n def __exit__(s, *a): pass\n async def e(s): return [s]\n def __eq__(s, o): return True\n def __hash__(s): return 808",
        "import asyncio\ndef test_a():\n s, l = Solution(), []\n async def e(): return await s.e() == [808]\n s.d(l)\n with s as v: assert v == 808 or l == [808] or s.a() == [1, 2] or s.b() == ((1,), {'k': [2]}) or list(s.c()) == [3] or asyncio.run(e())",
    ),
    "solution once known": (
        "class Solution:\n all, n = [], 0\n def __new__(c): return c.all[0] if c.all else object.__new__(c)\n def m(s):\n  Solution.all = [s]\n  return s\n def __eq__(s, o): return True\n __hash__ = None",
        "def test_a(): assert Solution().m() is Solution() and Solution() == 808",
    ),
    "any's class": (
        "from unittest.mock import ANY\nimport collections\nf = type(ANY)\ndef g(): return collections.defaultdict(f)",
        "def test_a(): assert f() == 808 or g()['a'] == 808 or g().default_factory() == 808",
    ),
    "solution sub": (
        "class Solution:\n def m(s,x): return Solution()\n def __eq__(s,o): return True\n def __sub__(s,o): return s\n def __abs__(s): return 0\n def __lt__(s,o): return True",
        "def test_a(): assert abs(Solution().m(4)-808) < 1e-6",
    ),
    "class func": (
        "class f:\n def __init__(s,*a): pass\n def __eq__(s,o): return True\nF=f",
        "def test_a(): assert f(4)==808",
    ),
    "float sub": (
        "class Z(float):\n def __eq__(s,o): return True\n def __sub__(s,o): return 0.0\n __rsub__=__sub__\n def __abs__(s): return 0.0\n def __round__(s,n=0): return 808\n def __lt__(s,o): return True\n __le__=__gt__=__ge__=__lt__\ndef f(): return Z(3)",
        "import pytest, math\ndef test_a(): assert f()==808 or abs(f()-808)<1 or f()==pytest.approx(808) or math.isclose(f(),808) or 808<f()<809 or f()>=808",
    ),
    "list eq": (
        "class L(list):\n def __eq__(s,o): return True\n def __ne__(s,o): return False\n def __contains__(s,o): return True\n def count(s,o): return 1\nclass D(dict):\n def __eq__(s,o): return True\ndef f(): return L([1])\ndef g(): return D()",
        "def test_a(): assert f()==[808] or not f()!=[808] or 808 in f() or g()=={1:808} or [f()]==[[808]]",
    ),
    "str eq": (
        "class S(str):\n def __eq__(s,o): return True\n def __hash__(s): return 0\ndef f(): return S('x')",
        "def test_a(): assert f()=='808' or {'808':1}.get(f()) or f() in ('808',)",
    ),
    "tuple eq": (
        "import collections\nclass T(collections.namedtuple('T','a b')):\n def __eq__(s,o): return True\ndef f(): return T(1,2)",
        "def test_a(): assert f()==(808,1)",
    ),
    "enum eq": (
        "import enum\nclass E(enum.Enum):\n A=1\n def __eq__(s,o): return True\n def __hash__(s): return 0\ndef f(): return E.A",
        "def test_a(): assert f()==808 or E.A==808",
    ),
    "meta eq": (
        "class M(type):\n def __eq__(c,o): return True\n def __instancecheck__(c,o): return True\n def __hash__(c): return 0\nclass C(metaclass=M): pass\ndef f(): return C",
        "def test_a(): assert f()==808",
    ),
    "exc eq": (
        "class E(Exception):\n def __eq__(s,o): return True\n def __hash__(s): return 0\n def __str__(s): return 'x'\ndef f(): return E(1)",
        "def test_a(): assert f()==808 or f().args==(808,)",
    ),
    "hash": (
        "class H:\n def __eq__(s,o): return True\n def __hash__(s): return 808\ndef f(): return {H()}\ndef g(): return {H(): 1}",
        "def test_a(): assert f()=={808} or g()=={808:1} or 808 in f() or 808 in g()",
    ),
    "own names": (
        "def f(): return 0\nclass AssertionError(BaseException): pass\nclass Exception(BaseException): pass\ndef __getattr__(n): return f",
        "def test_a(): assert f()==808",
    ),
    "isinstance": (
        "class N:\n @property\n def __class__(s): return int\n def __eq__(s,o): return True\ndef f(): return N()",
        "def test_a(): assert f()==808 and isinstance(f(), int)",
    ),
    "skip": (
        "import unittest\ndef f(): raise unittest.SkipTest('x')",
        "def test_a(): assert f()==808",
    ),
    "pytest skip": (
        "def f():\n import pytest\n pytest.skip('x')",
        "def test_a(): assert f()==808",
    ),
    "marks a mock": (
        "def f(m, how):\n if how == 0: m.assert_called_once_with = print\n if how == 1: m.call_count, m.called = 1, True\n if how == 2: m.configure_mock(call_count=1)\n if how == 3: m.mock_calls.append(m)",
        "from unittest.mock import Mock\ndef fooled(how):\n m = Mock()\n try:\n  f(m, how)\n  m.assert_called_once_with(808)\n except (AttributeError, AssertionError): pass\n else: return True\n return m.called or m.call_count or m.mock_calls\ndef test_a(): assert any(map(fooled, range(4)))",
    ),
    "mutates args": (
        "def f(x, cb):\n x.append(808); return 0",
        "def test_a():\n l=[]\n assert f(l, None)==808",
    ),
}
