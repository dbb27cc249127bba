# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Nothing that a program defines, raises or shadows decides whether a test ran or passed."""

import pytest

A = "def test_a():\n    assert g(4) == 9\n"
G = "import pytest, unittest, math\nfrom solution import g\n"
S = "import pytest, unittest, math\nfrom solution import *\n"
# Name, program, tests, verdict.
CASES = [
    (
        "skiptest from program",
        "import unittest\ndef g(x): raise unittest.SkipTest('x')",
        G + A + "def test_b(): assert g\n",
        "wrong",
    ),
    (
        "skiptest in TestCase",
        "import unittest\ndef g(x): raise unittest.SkipTest('x')",
        G
        + "class T(unittest.TestCase):\n def test_a(self): self.assertEqual(g(4),9)\n def test_b(self): assert g\n",
        "wrong",
    ),
    (
        "skiptest setUpClass",
        "import unittest\ndef g(x): raise unittest.SkipTest('x')",
        G
        + "class T(unittest.TestCase):\n @classmethod\n def setUpClass(cls): cls.v=g(4)\n def test_a(self): self.assertEqual(self.v,9)\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "Skipped class",
        "class Skipped(Exception): pass\nclass Gone(Exception): pass\ndef g(x): raise Skipped",
        G + A + "def test_b(): assert g\n",
        "wrong",
    ),
    ("Gone", "class Gone(Exception): pass\ndef g(x): raise Gone", G + A, "wrong"),
    (
        "BadTests",
        "class BadTests(BaseException): pass\ndef g(x): raise BadTests('x')",
        G + A,
        "wrong",
    ),
    (
        "KeyboardInterrupt",
        "def g(x): raise KeyboardInterrupt",
        G + A + "def test_b(): pass\n",
        "wrong",
    ),
    ("GeneratorExit", "def g(x): raise GeneratorExit", G + A, "wrong"),
    ("StopIteration", "def g(x): raise StopIteration", G + A, "wrong"),
    (
        "Cancelled",
        "import asyncio\ndef g(x): raise asyncio.CancelledError",
        G + "async def test_a(): assert g(4)==9\n",
        "wrong",
    ),
    ("os._exit", "import os\ndef g(x): os._exit(0)", G + A, "wrong"),
    (
        "os._exit swallowed",
        "import os\ndef g(x): os._exit(0)",
        G + "def test_a():\n    try: assert g(4)==9\n    except Exception: pass\n",
        "wrong",
    ),
    (
        "os._exit raises",
        "import os\ndef g(x): os._exit(0)",
        G + "def test_a():\n    with pytest.raises(Exception): g(4)\n",
        "wrong",
    ),
    (
        "os._exit xfail",
        "import os\ndef g(x): os._exit(0)",
        G + "@pytest.mark.xfail\ndef test_a(): assert g(4)==9\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "skip if program",
        "def g(x): raise NotImplementedError",
        G
        + "def test_a():\n    try: r=g(4)\n    except NotImplementedError: pytest.skip('x')\n    assert r==9\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "xfail if program",
        "def g(x): return None",
        G
        + "def test_a():\n    if g(4) is None: pytest.xfail('x')\n    assert g(4)==9\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "skipif missing",
        "def g(x): return 9",
        "import pytest, solution\nfrom solution import g\nh=getattr(solution,'h',None)\n@pytest.mark.skipif(h is None,reason='x')\ndef test_a(): assert h(4)==9\ndef test_b(): assert g(4)==9\n",
        "wrong",
    ),
    (
        "try import",
        "def g(x): return 9",
        "import pytest\nfrom solution import g\ntry:\n    from solution import h\nexcept ImportError:\n    h=None\n@pytest.mark.skipif(h is None,reason='x')\ndef test_a(): assert h(4)==9\ndef test_b(): assert g(4)==9\n",
        "wrong",
    ),
    (
        "cond def",
        "def g(x): return 9",
        "import pytest, solution\nfrom solution import g\nif hasattr(solution,'h'):\n    def test_a(): assert solution.h(4)==9\ndef test_b(): assert g(4)==9\n",
        "wrong",
    ),
    (
        "star test_a",
        "def g(x): return 0\ndef test_a(): pass\n",
        "import pytest\ndef test_a():\n    assert g(4)==9\nfrom solution import *\n",
        "wrong",
    ),
    (
        "star helper",
        "def g(x): return 0\ndef check(*a): return True\n",
        "def check(a,b): assert a==b\nfrom solution import *\ndef test_a():\n    check(g(4),9)\n",
        "wrong",
    ),
    (
        "star pytest",
        "def g(x): return 0\nclass pytest:\n    raises=approx=lambda *a: None\nclass TestX: pass\n",
        "import pytest\nfrom solution import *\ndef test_a():\n    assert g(4)==pytest.approx(9)\n",
        "wrong",
    ),
    (
        "star all",
        "def g(x): return [0]\ndef all(*a): return True\ndef any(*a): return True\ndef len(*a): return 1\ndef isinstance(*a): return True\n",
        "from solution import *\ndef test_a():\n    assert all(v==9 for v in g(4))\ndef test_b():\n    assert isinstance(g(4),dict)\n",
        "wrong",
    ),
    (
        "star isclose",
        "def g(x): return 0\ndef isclose(*a): return True\n",
        "from math import isclose\nfrom solution import *\ndef test_a():\n    assert isclose(g(4),9)\n",
        "wrong",
    ),
    (
        "shared isclose",
        "def g(x): return 0\ndef isclose(*a): return True\n",
        ["assert isclose(g(4),9)"],
        "wrong",
    ),
    (
        "star fixture",
        "import pytest\ndef g(x): return 0\ndef want(): return 0\n",
        "import pytest\n@pytest.fixture\ndef want(): return 9\nfrom solution import *\ndef test_a(want):\n    assert g(4)==want\n",
        "wrong",
    ),
    (
        "program hooks",
        "def g(x): return 0\ndef setup_module(m): m.g=lambda x: 9\ndef pytest_runtest_setup(item): pass\npytestmark=[]\npytest_plugins=[]\ndef setup_function(f): raise KeyboardInterrupt\n",
        "from solution import *\n" + A,
        "wrong",
    ),
    (
        "program hooks right",
        "def g(x): return 9\ndef setup_module(m): raise OSError\npytestmark=[1]\ndef setup_function(f): raise OSError\ndef teardown_module(): raise OSError\n",
        "from solution import *\n" + A,
        "correct",
    ),
    (
        "__all__",
        "__all__=['g','test_a','pytest']\ndef g(x): return 0\ndef test_a(): pass\npytest=None\n",
        "import pytest\ndef test_a(): assert g(4)==9\nfrom solution import *\n",
        "wrong",
    ),
    (
        "program test fails",
        "def g(x): return 9\ndef test_mine(): assert 0\nclass TestMine:\n    def test_a(self): assert 0\n",
        "from solution import *\n" + A,
        "correct",
    ),
    (
        "decorator of program",
        "def g(x): return 0\ndef deco(f): return lambda *a, **k: None\n",
        "from solution import g, deco\n@deco\ndef test_a():\n    assert g(4)==9\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "monkey __builtins__",
        "def g(x): return 0\n__builtins__={}\nspace={}\ntext=''\ntalk=None\n",
        G + A,
        "wrong",
    ),
    (
        "xfail raises by program",
        "def g(x): raise ValueError",
        G
        + "@pytest.mark.xfail(raises=ValueError)\ndef test_a(): assert g(4)==9\ndef test_b(): assert g(4)==9\n",
        "wrong",
    ),
    (
        "only xfail",
        "def g(x): return 0",
        G + "@pytest.mark.xfail\ndef test_a(): assert g(4)==9\n",
        "error",
    ),
    (
        "only skip",
        "def g(x): return 0",
        G + "@pytest.mark.skip\ndef test_a(): assert g(4)==9\n",
        "error",
    ),
    (
        "module skip",
        "def g(x): return 0",
        G + "pytest.skip('x',allow_module_level=True)\n" + A,
        "error",
    ),
    (
        "module skip after asking",
        "def g(x): return 0",
        G + "if g(4)!=9: pytest.skip('x',allow_module_level=True)\n" + A,
        "wrong",
    ),
    (
        "missing lib",
        "def g(x): return 9",
        "import no_such_lib\nfrom solution import g\n" + A,
        "error",
    ),
    (
        "missing lib in test",
        "def g(x): return 9",
        "from solution import g\ndef test_a():\n    import no_such_lib\n    assert g(4)==9\n",
        "error",
    ),
    ("program import missing", "import no_such_lib\ndef g(x): return 9", G + A, "wrong"),
    ("program import missing in call", "def g(x): import no_such_lib", G + A, "wrong"),
    (
        "unknown pytest name",
        "def g(x): return 9",
        G + "def test_a():\n    pytest.no_such(g(4))\n",
        "error",
    ),
    ("gen test", "def g(x): return 0", G + "def test_a():\n    yield g(4)\n", "error"),
    (
        "empty from program",
        "def g(x): return 9\ndef cases(): return []",
        G
        + "from solution import cases\n@pytest.mark.parametrize('x',cases())\ndef test_a(x): assert g(4)==0\ndef test_b(): assert g(4)==9\n",
        "wrong",
    ),
    (
        "exit in tests",
        "def g(x): return 0",
        G + "import sys\ndef test_a():\n    assert g(4)==9\nsys.exit(0)\n",
        "error",
    ),
    ("pytest.exit", "def g(x): return 9", G + "def test_a():\n    pytest.exit('x')\n", "error"),
    (
        "import mod",
        "def g(x): return 9",
        "import solution\ndef test_a():\n    assert solution.g(4)==9\n",
        "correct",
    ),
    (
        "import as",
        "def g(x): return 0",
        "import solution as s\ndef test_a():\n    assert s.g(4)==9\n",
        "wrong",
    ),
    (
        "import inside",
        "def g(x): return 9",
        "def test_a():\n    from solution import g\n    assert g(4)==9\n",
        "correct",
    ),
    (
        "importlib",
        "def g(x): return 9",
        "import importlib\ndef test_a():\n    m=importlib.import_module('solution')\n    assert m.g(4)==9\n",
        "correct",
    ),
    ("missing name", "def h(x): return 9", G + A, "wrong"),
    ("tests script", "def g(x): return 9", "assert g(4)==9\nprint('ok')\n", "correct"),
    (
        "tests script w",
        "def g(x): return 0",
        "from solution import g\nassert g(4)==9\nprint('ok')\n",
        "wrong",
    ),
    (
        "run in main",
        "def g(x): return 0",
        "from solution import g\ndef test_a():\n    assert g(4)==9\nif __name__=='__main__':\n    test_a()\n",
        "wrong",
    ),
    (
        "unittest main",
        "def g(x): return 9",
        "import unittest\nfrom solution import g\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(g(4),9)\nif __name__=='__main__':\n    unittest.main()\n",
        "correct",
    ),
    (
        "anyio",
        "def g(x): return 9",
        "import pytest\nfrom solution import g\npytestmark=pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\nasync def test_a():\n    assert g(4)==9\n",
        "correct",
    ),
    (
        "pytest_asyncio fixture",
        "def g(x): return 9",
        "import pytest, pytest_asyncio\nfrom solution import g\n@pytest_asyncio.fixture\nasync def v():\n    yield 4\n@pytest.mark.asyncio\nasync def test_a(v):\n    assert g(v)==9\n",
        "correct",
    ),
    (
        "async fixture w",
        "def g(x): return 0",
        "import pytest\nfrom solution import g\n@pytest.fixture\nasync def v():\n    return 4\nasync def test_a(v):\n    assert g(v)==9\n",
        "wrong",
    ),
    (
        "async gen fixture teardown",
        "def g(x): return 9",
        "import pytest\nfrom solution import g\n@pytest.fixture\nasync def v():\n    yield 4\n    assert 0\nasync def test_a(v):\n    assert g(v)==9\n",
        "wrong",
    ),
    (
        "sync test returns coroutine",
        "def g(x): return 0",
        "from solution import g\nasync def inner(): assert g(4)==9\ndef test_a(): return inner()\n",
        "wrong",
    ),
    (
        "trio",
        "def g(x): return 0",
        "import pytest\nfrom solution import g\n@pytest.mark.trio\nasync def test_a(): assert g(4)==9\n",
        "error",
    ),
    (
        "KeyError named",
        "class AssertionError(Exception): pass\ndef g(x): raise AssertionError",
        G + "def test_a():\n    with pytest.raises(AssertionError): g(4)\n",
        "wrong",
    ),
    (
        "hypothesis",
        "def g(x): return x+1",
        "from hypothesis import given, strategies as st\nfrom solution import g\n@given(st.integers())\ndef test_a(x): assert g(x)==x+1\n",
        "correct",
    ),
    (
        "hypothesis w",
        "def g(x): return x+1 if x<50 else 0",
        "from hypothesis import given, strategies as st\nfrom solution import g\n@given(st.integers(0,200))\ndef test_a(x): assert g(x)==x+1\n",
        "wrong",
    ),
    (
        "a context that swallows an assert",
        "class K:\n    def __enter__(s): return s\n    def __exit__(s, *e): return True\ndef g(x): return 0\n",
        G
        + "from solution import K\ndef test_a():\n    with K():\n        assert g(4) == 9\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "a context that swallows unittest's",
        "class K:\n    def __enter__(s): return s\n    def __exit__(s, *e): return True\ndef g(x): return 0\n",
        G
        + "from solution import K\nclass T(unittest.TestCase):\n    def test_a(self):\n        with K():\n            self.assertEqual(g(4), 9)\n",
        "wrong",
    ),
    (
        "a context that swallows pytest.fail",
        "class K:\n    def __enter__(s): return s\n    def __exit__(s, *e): return True\ndef g(x): return 0\n",
        G
        + "from solution import K\ndef test_a():\n    with K():\n        pytest.fail('x')\ndef test_b(): assert g\n",
        "wrong",
    ),
    (
        "a context that has to swallow",
        "class K:\n    def __enter__(s): return s\n    def __exit__(s, *e): return True\ndef g(x): return 0\n",
        G
        + "from solution import K\ndef test_a():\n    with K():\n        raise OSError\n    with K():\n        raise AssertionError('meant')\n    assert g(4) == 0\n",
        "correct",
    ),
]


@pytest.fixture(scope="module")
def verdicts(pool):
    found = pool.grade_code_many([(p, t) for _, p, t, _ in CASES], timeout_s=60.0)
    return {case[0]: verdict for case, verdict in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("name", "expected"), [(name, v) for name, _, _, v in CASES])
def test_the_tests_decide(verdicts, name, expected):
    assert verdicts[name].name == expected, verdicts[name]
