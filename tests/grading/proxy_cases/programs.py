# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Small whole programs."""

PROGRAM = """
import functools, asyncio, time, itertools, collections, re, io, contextlib, random
def asks(o, k): return o[k], [x for x in o], len(o), k in o
def same(a, b): return a == b
def draw(n): return [random.randrange(1000) for _ in range(n)]
def around(name):
    import os
    return os.environ.get(name), os.path.basename(os.getcwd())
class LRU:
    def __init__(self, n): self.n, self.d = n, collections.OrderedDict()
    def get(self, k):
        if k not in self.d: return -1
        self.d.move_to_end(k); return self.d[k]
    def put(self, k, v):
        self.d[k] = v; self.d.move_to_end(k)
        if len(self.d) > self.n: self.d.popitem(last=False)
class Matrix:
    def __init__(self, rows): self.rows = rows
    def __getitem__(self, ij): i, j = ij; return self.rows[i][j]
    def __setitem__(self, ij, v): i, j = ij; self.rows[i][j] = v
    def __matmul__(self, o): return Matrix([[sum(a*b for a,b in zip(r,c)) for c in zip(*o.rows)] for r in self.rows])
    def __eq__(self, o): return self.rows == o.rows
    def __mul__(self, k): return Matrix([[x*k for x in r] for r in self.rows])
    @classmethod
    def identity(cls, n): return cls([[int(i==j) for j in range(n)] for i in range(n)])
    @property
    def T(self): return Matrix([list(r) for r in zip(*self.rows)])
    def __iter__(self): return iter(self.rows)
class Poly:
    def __init__(self, *c): self.c = list(c)
    def __call__(self, x): return sum(a * x**i for i, a in enumerate(self.c))
    def __add__(self, o): return Poly(*[a+b for a,b in itertools.zip_longest(self.c, o.c, fillvalue=0)])
    def diff(self): return Poly(*[i*a for i,a in enumerate(self.c)][1:])
    def __str__(self): return " + ".join(f"{a}x^{i}" for i,a in enumerate(self.c))
    def __eq__(self, o): return isinstance(o, Poly) and self.c == o.c
class Temp:
    def __init__(self, c): self.c = c
    @property
    def f(self): return self.c * 9/5 + 32
    @f.setter
    def f(self, v): self.c = (v - 32) * 5/9
    def __lt__(self, o): return self.c < o.c
    def __eq__(self, o): return self.c == o.c
    def __hash__(self): return hash(self.c)
class Chain:
    def __init__(self): self.ops = []
    def __getattr__(self, n):
        if n.startswith("_"): raise AttributeError(n)
        def add(*a): self.ops.append((n, a)); return self
        return add
class TreeNode:
    def __init__(self, val=0, left=None, right=None): self.val, self.left, self.right = val, left, right
def invert(t):
    if t: t.left, t.right = invert(t.right), invert(t.left)
    return t
def build(vals):
    if not vals: return None
    return TreeNode(vals[0], build(vals[1:len(vals)//2+1]), build(vals[len(vals)//2+1:]))
def timed(f):
    @functools.wraps(f)
    def w(*a, **k):
        w.calls += 1
        return f(*a, **k)
    w.calls = 0
    return w
def retry(n):
    def deco(f):
        @functools.wraps(f)
        def w(*a, **k):
            for i in range(n):
                try: return f(*a, **k)
                except Exception:
                    if i == n-1: raise
        return w
    return deco
@contextlib.contextmanager
def opened(name):
    yield io.StringIO(name)
def parse(s): return re.match(r"(\\w+)=(\\d+)", s)
def pattern(): return re.compile("a+")
def nested(): return {"a": {"b": [1, {"c": (2, 3)}]}}
def flat(x):
    for i in x:
        if isinstance(i, (list, tuple)): yield from flat(i)
        else: yield i
def merge(*ds): return {k: v for d in ds for k, v in d.items()}
def inplace(m):
    for r in m: r.reverse()
def freq(s): return collections.Counter(s)
def lines(f): return [l.strip() for l in f]
def perms(s): return set(itertools.permutations(s))
def apply_all(fs, x): return [f(x) for f in fs]
class Observer:
    def update(self, e): raise NotImplementedError
class Subject:
    def __init__(self): self.obs = []
    def attach(self, o): self.obs.append(o)
    def notify(self, e):
        for o in self.obs: o.update(e)
class Stack:
    def __init__(self): self._items = []
    def push(self, x): self._items.append(x)
    def pop(self):
        if not self._items: raise IndexError("pop from empty stack")
        return self._items.pop()
    def peek(self): return self._items[-1]
    def is_empty(self): return not self._items
    def __len__(self): return len(self._items)
    def __contains__(self, x): return x in self._items
    def __repr__(self): return f"Stack({self._items})"
class Frac:
    def __init__(self, n, d=1): self.n, self.d = n, d
    def __eq__(self, o):
        if isinstance(o, int): return self.n == o * self.d
        return isinstance(o, Frac) and self.n * o.d == o.n * self.d
    def __add__(self, o): o = o if isinstance(o, Frac) else Frac(o); return Frac(self.n*o.d + o.n*self.d, self.d*o.d)
    __radd__ = __add__
    def __float__(self): return self.n / self.d
    def __lt__(self, o): return float(self) < float(o)
    def __abs__(self): return Frac(abs(self.n), self.d)
def shuffle(x, rng): rng.shuffle(x); return x
def gen_err():
    yield 1
    raise ValueError("in gen")
def timeout(): raise TimeoutError("slow")
def clos():
    n = 0
    def inc():
        nonlocal n
        n += 1
        return n
    def get(): return n
    return inc, get
class Event:
    __slots__ = ("name", "prio")
    def __init__(self, name, prio): self.name, self.prio = name, prio
    def __lt__(self, o): return self.prio < o.prio
async def worker(q, out):
    while True:
        x = await q.get()
        if x is None: return
        out.append(x * 2)
async def run_all(xs):
    q, out = asyncio.Queue(), []
    t = asyncio.create_task(worker(q, out))
    for x in xs: await q.put(x)
    await q.put(None)
    await t
    return out
async def slow(x):
    await asyncio.sleep(0.2)
    return x
"""

SAID = [
    "l=LRU(2)\nl.put(1,1);l.put(2,2)\nassert l.get(1)==1\nl.put(3,3)\nassert l.get(2)==-1 and list(l.d)==[1,3] and l.d=={1:1,3:3}",
    "m=Matrix([[1,2],[3,4]])\nassert m[1,0]==3\nm[1,0]=9\nassert m.rows==[[1,2],[9,4]] and m.T.rows==[[1,9],[2,4]] and list(m)==[[1,2],[9,4]]",
    "assert Matrix.identity(2)*3==Matrix([[3,0],[0,3]]) and (Matrix.identity(2)@Matrix([[1,2],[3,4]])).rows==[[1,2],[3,4]] and (Matrix.identity(2).T*2)[0,0]==2",
    "assert Matrix.identity(2)*3==Matrix([[3,0],[0,4]])",
    "p=Poly(1,2,3)\nassert p(2)==17 and p.diff()==Poly(2,6) and str(p)=='1x^0 + 2x^1 + 3x^2' and (p+Poly(1))(0)==2",
    "t=Temp(100)\nassert t.f==212\nt.f=32\nassert t.c==0 and min([Temp(3),Temp(1)],key=lambda t:t.c).c==1 and sorted([Temp(3),Temp(1)])==[Temp(1),Temp(3)] and len({Temp(1),Temp(1)})==1",
    "c=Chain().select('a').where(1)\nassert c.ops==[('select',('a',)),('where',(1,))]",
    "t=invert(TreeNode(1,TreeNode(2),TreeNode(3)))\nassert t.left.val==3 and t.right.val==2 and t.left.left is None",
    "def tolist(t): return [] if t is None else tolist(t.left)+[t.val]+tolist(t.right)\nassert tolist(build([1,2,3,4,5]))==tolist(build([1,2,3,4,5])) and sorted(tolist(build(list(range(30)))))==list(range(30))",
    "@timed\ndef f(x): return x+1\nassert f(1)==2 and f(2)==3 and f.calls==2 and f.__name__=='f'",
    "n=[]\n@retry(3)\ndef f():\n    n.append(1)\n    if len(n)<3: raise ValueError\n    return 'ok'\nassert f()=='ok' and len(n)==3",
    "import pytest\n@retry(2)\ndef f(): raise KeyError('k')\nwith pytest.raises(KeyError): f()",
    "with opened('abc') as f: assert f.read()=='abc'",
    "m=parse('a=12')\nassert m and m.group(1)=='a' and m.groups()==('a','12') and m[2]=='12' and m.span()==(0,4)\nassert parse('zz') is None",
    "assert pattern().findall('aab a')==['aa','a'] and pattern().pattern=='a+'",
    "assert nested()['a']['b'][1]['c']==(2,3) and nested()=={'a':{'b':[1,{'c':(2,3)}]}}",
    "assert list(flat([1,[2,(3,[4])],5]))==[1,2,3,4,5]",
    "a={'x':1}\nassert merge(a,{'y':2})=={'x':1,'y':2} and a=={'x':1}",
    "m=[[1,2],[3,4]]\nr=m[0]\nassert inplace(m) is None and m==[[2,1],[4,3]] and r==[2,1] and m[0] is r",
    "assert freq('aab')['a']==2 and freq('ab')+freq('a')==freq('aab') and freq('aab').most_common(1)==[('a',2)]",
    "import io\nassert lines(io.StringIO('a\\nb\\n'))==['a','b']",
    "assert perms('ab')=={('a','b'),('b','a')}",
    "assert apply_all([len,str.upper,lambda s:s+'!',list],'ab')==[2,'AB','ab!',['a','b']]",
    "class O(Observer):\n    def __init__(self): self.seen=[]\n    def update(self,e): self.seen.append(e)\ns=Subject()\no=O()\ns.attach(o)\ns.notify('x')\nassert o.seen==['x']",
    "class O:\n    def __init__(self): self.seen=[]\n    def update(self,e): self.seen.append(e)\ns=Subject()\no=O()\ns.attach(o)\ns.notify('x')\nassert o.seen==['x'] and s.obs[0] is o",
    "import pytest\ns=Subject()\ns.attach(Observer())\nwith pytest.raises(NotImplementedError): s.notify(1)",
    "import pytest\ns=Stack()\nwith pytest.raises(IndexError, match='empty'): s.pop()\ns.push(1)\nassert 1 in s and 2 not in s and len(s)==1 and not s.is_empty() and repr(s)=='Stack([1])' and s._items==[1] and s.peek()==1 and bool(s)",
    "assert Frac(1,2)+Frac(1,2)==1 and Frac(2,2)==1 and sum([Frac(1,2),Frac(1,2)])==Frac(1) and float(Frac(1,4))==.25 and Frac(1,3)<Frac(1,2) and abs(Frac(-1,2))==Frac(1,2) and 1+Frac(1)==2",
    "assert Frac(1,2)==1",
    "import pytest\nassert float(Frac(1,3))==pytest.approx(0.33333333)",
    "import random\nx=shuffle([1,2,3],random.Random(1))\ny=[1,2,3]\nrandom.Random(1).shuffle(y)\nassert x==y",
    "import pytest\ng=gen_err()\nassert next(g)==1\nwith pytest.raises(ValueError, match='in gen'): next(g)",
    "import pytest\nwith pytest.raises(OSError): timeout()",
    "inc,get=clos()\ninc();inc()\nassert get()==2 and clos()[1]()==0",
    "import heapq\nh=[]\nfor e in (Event('b',2),Event('a',1)): heapq.heappush(h,e)\nassert heapq.heappop(h).name=='a'",
    "import asyncio\nassert asyncio.run(run_all([1,2]))==[2,4]",
    "import asyncio,time\nasync def main(): return await asyncio.gather(*[slow(i) for i in range(20)])\ns=time.time()\nassert asyncio.run(main())==list(range(20))\nassert time.time()-s<3.9",
    "import asyncio,pytest\nasync def main(): await asyncio.wait_for(slow(1),0.05)\nwith pytest.raises(asyncio.TimeoutError): asyncio.run(main())",
    "import asyncio\nasync def main():\n    q=asyncio.Queue(); out=[]\n    await q.put(3); await q.put(None)\n    await worker(q,out)\n    return out\nassert asyncio.run(main())==[6]",
    "s=Stack()\nassert isinstance(s,Stack) and not s and s is not None and type(s).__name__=='Stack'\nassert str(type(s))==\"<class 'solution.Stack'>\"",
    "a=b=Stack()\na.push(1)\nassert b.pop()==1 and a==b and {a:1}[b]==1",
    "x=nested()\ny=nested()\nassert x==y and x is not y\nx['a']['b'].append(5)\nassert x!=y",
    "import numpy as np\nassert np.array([1,2]).sum()==3",
    "assert [e.name for e in sorted([Event('b',2),Event('a',1)])]==['a','b'] and max(Event('x',1),Event('y',5)).name=='y'",
    "import dataclasses\n@dataclasses.dataclass(order=True)\nclass P:\n    v:int\nassert apply_all([lambda p:p.v],P(3))==[3]",
    "try: Stack().pop()\nexcept IndexError as e: assert 'empty' in str(e)\nelse: assert False",
    "assert all(isinstance(x,int) for x in flat([1,[2]])) and any(x==2 for x in flat([1,[2]])) and sum(flat([1,[2]]))==3 and max(flat([1,[5]]))==5 and sorted(flat([3,[1]]))==[1,3] and list(zip(flat([1]),flat([2])))==[(1,2)] and list(map(str,flat([1])))==['1'] and [*flat([1])]==[1] and tuple(flat([1]))==(1,) and set(flat([1,1]))=={1} and dict(enumerate(flat([7])))=={0:7} and ''.join(flat(['a',['b']]))=='ab'",
    "random.seed(7)\na=draw(9)\nrandom.seed(7)\nassert draw(9)==a",
    "random.seed(7)\na=draw(9)\nrandom.seed(8)\nassert draw(9)==a",
    "random.seed(7)\na=draw(9)\nrandom.seed(7)\nassert [random.randrange(1000) for _ in range(9)]==a",
    "import contextlib, tempfile, os\nwith tempfile.TemporaryDirectory() as d, contextlib.chdir(d):\n    assert around('X')[1]==os.path.basename(d)\nassert around('X')[1]!=os.path.basename(d)",
    "import os\nfrom unittest.mock import patch\nwith patch.dict(os.environ,{'COLOUR':'red'}):\n    assert around('COLOUR')[0]=='red'\nassert around('COLOUR')[0] is None",
    "import os, unittest.mock\nwith unittest.mock.patch.dict(os.environ,{'COLOUR':'red'}): pass\nassert around('COLOUR')[0]=='red'",
    "from unittest.mock import MagicMock\nm=MagicMock()\nm.__getitem__.side_effect=lambda k: k*2\nm.__iter__.return_value=[1]\nm.__len__.return_value=3\nm.__contains__.return_value=True\nassert asks(m,4)==(8,[1],3,True)\nm.__getitem__.assert_called_once_with(4)",
    "from unittest.mock import MagicMock\nm=MagicMock()\nm.__iter__.return_value=[1]\nassert asks(m,4)[1]==[2]",
    "class K:\n    def __init__(self,v): self.v=v\n    def __eq__(self,o): return self.v==o.v\nassert same(K(1),K(1)) and not same(K(1),K(2))",
    "import collections\nd=collections.OrderedDict(a=1)\nassert apply_all([list],d.values())==[[1]] and apply_all([list],d.keys())==[['a']]",
]
