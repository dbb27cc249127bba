# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Small files of tests, for programs that get them right and wrong; pytest is the judge."""

# The program under test, right and in ways wrong: each case names the function that matters.
RIGHT = """
import warnings, logging, sys
class Broke(ValueError):
    def __init__(self, code=0, text="broke"):
        super().__init__(text)
        self.code = code
def f(x):
    return x + 1
def half(x):
    return x / 2
def fail(x):
    raise Broke(7, f"bad value {x}")
def say(x):
    print("said", x)
    print("err", x, file=sys.stderr)
def warn(x):
    warnings.warn(f"old {x}", DeprecationWarning)
    return x
def log(x):
    logging.getLogger("s").warning("logged %s", x)
    logging.getLogger("s").info("quiet %s", x)
def pairs(n):
    return {i: i / 3 for i in range(n)}
def thirds(n):
    return [i / 3 for i in range(n)]
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
async def later(x):
    return x + 1
class Box:
    made = 0
    def __init__(self):
        type(self).made += 1
        self.items = []
    def put(self, x):
        self.items.append(x)
        return len(self.items)
"""
WRONG = """
class Broke(Exception):
    pass
def f(x):
    return x + 2 if x > 2 else x + 1
def half(x):
    return x / 2 + 0.001
def fail(x):
    return None
def say(x):
    print("said nothing")
def warn(x):
    return x
def log(x):
    pass
def pairs(n):
    return {i: i / 3.001 for i in range(n)}
def thirds(n):
    return [i / 3.001 for i in range(n)]
def write(path, text):
    pass
async def later(x):
    return 0
class Box:
    made = 0
    def __init__(self):
        self.items = []
    def put(self, x):
        return 1
"""
HEAD = "import pytest, unittest, math, sys, warnings, logging, os\nfrom solution import *\n"

CASES = {
    "plain": "def test_a():\n    assert f(3) == 4\n",
    "one of two": "def test_a():\n    assert f(1) == 2\ndef test_b():\n    assert f(5) == 6\n",
    "class": "class TestF:\n    def test_a(self):\n        assert f(3) == 4\n",
    "inherited": "class Base:\n    x = 3\n    def test_a(self):\n        assert f(self.x) == self.x + 1\nclass TestA(Base):\n    x = 1\nclass TestB(Base):\n    x = 9\n",
    "nested class": "class TestA:\n    class TestB:\n        def test_a(self):\n            assert f(3) == 4\n",
    "class with __init__": "class TestA:\n    def __init__(self): pass\n    def test_a(self): assert 0\ndef test_b():\n    assert f(3) == 4\n",
    "not a test": "class TestA:\n    __test__ = False\n    def test_a(self): assert 0\ndef test_b():\n    assert f(3) == 4\ndef test_c(): assert 0\ntest_c.__test__ = False\n",
    "static and class methods": "class TestA:\n    @staticmethod\n    def test_a():\n        assert f(3) == 4\n    @classmethod\n    def test_b(cls):\n        assert f(4) == 5\n",
    "a lambda": "test_a = lambda: f(3) == 4 or pytest.fail('no')\n",
    "made in a loop": "def make(n):\n    def check():\n        assert f(n) == n + 1\n    return check\nfor n in (1, 2, 5):\n    globals()[f'test_{n}'] = make(n)\n",
    "parametrize": "@pytest.mark.parametrize('x', [1, 2, 3])\ndef test_a(x):\n    assert f(x) == x + 1\n",
    "parametrize pairs": "@pytest.mark.parametrize('x, y', [(1, 2), (5, 6)], ids=['one', 'five'])\ndef test_a(x, y):\n    assert f(x) == y\n",
    "parametrize by keyword": "@pytest.mark.parametrize(argnames=('x', 'y'), argvalues=[(1, 2), (5, 6)])\ndef test_a(x, y):\n    assert f(x) == y\n",
    "parametrize stacked": "@pytest.mark.parametrize('x', [1, 5])\n@pytest.mark.parametrize('y', [0, 1])\ndef test_a(x, y):\n    assert f(x + y) == x + y + 1\n",
    "parametrize a class": "@pytest.mark.parametrize('x', [1, 5])\nclass TestA:\n    def test_a(self, x):\n        assert f(x) == x + 1\n    def test_b(self, x):\n        assert f(x - 1) == x\n",
    "parametrize a module": "pytestmark = pytest.mark.parametrize('x', [1, 5])\ndef test_a(x):\n    assert f(x) == x + 1\n",
    "param with marks": "@pytest.mark.parametrize('x', [1, pytest.param(5, id='five'), pytest.param(0, marks=pytest.mark.skip)])\ndef test_a(x):\n    assert f(x) == x + 1 and x\n",
    "param xfail": "@pytest.mark.parametrize('x', [5, pytest.param(9, marks=pytest.mark.xfail)])\ndef test_a(x):\n    assert f(x) == (0 if x == 9 else x + 1)\n",
    "empty parametrize": "@pytest.mark.parametrize('x', [])\ndef test_a(x): assert 0\ndef test_b():\n    assert f(3) == 4\n",
    "indirect": "@pytest.fixture\ndef box(request):\n    return f(request.param)\n@pytest.mark.parametrize('box, y', [(3, 4), (1, 2)], indirect=['box'])\ndef test_a(box, y):\n    assert box == y\n",
    "indirect all": "@pytest.fixture\ndef x(request):\n    return request.param * 2\n@pytest.mark.parametrize('x', [1, 2], indirect=True)\ndef test_a(x):\n    assert f(x) == x + 1 and x in (2, 4)\n",
    "unknown parameter": "@pytest.mark.parametrize('z', [1])\ndef test_a(x):\n    assert f(3) == 4\n",
    "too few values": "@pytest.mark.parametrize('x, y', [(1,)])\ndef test_a(x, y):\n    assert f(3) == 4\n",
    "fixture": "@pytest.fixture\ndef three():\n    return 3\ndef test_a(three):\n    assert f(three) == 4\n",
    "fixture called by name": "@pytest.fixture(name='three')\ndef make():\n    return 3\ndef test_a(three):\n    assert f(three) == 4\n",
    "fixtures of fixtures": "@pytest.fixture\ndef one():\n    return 1\n@pytest.fixture()\ndef three(one):\n    return one + 2\nclass TestA:\n    @pytest.fixture\n    def four(self, three):\n        return three + 1\n    def test_a(self, three, four):\n        assert f(three) == four\n",
    "overridden fixture": "@pytest.fixture\ndef x():\n    return 1\nclass TestA:\n    @pytest.fixture\n    def x(self, x):\n        return x + 4\n    def test_a(self, x):\n        assert f(x) == 6\n",
    "fixture params": "@pytest.fixture(params=[1, pytest.param(5)], ids=['a', 'b'])\ndef x(request):\n    return request.param\ndef test_a(x):\n    assert f(x) == x + 1\n",
    "module fixture params": "made = []\n@pytest.fixture(params=[1, 5], scope='module')\ndef x(request):\n    made.append(request.param)\n    yield request.param\ndef test_a(x):\n    assert f(x) == x + 1\n",
    "made once a module": "made = []\n@pytest.fixture(scope='module')\ndef box():\n    made.append(1)\n    return made\ndef test_a(box):\n    assert len(box) == 1 and f(3) == 4\ndef test_b(box):\n    assert len(box) == 1\n",
    "made once a class": "made = []\n@pytest.fixture(scope='class')\ndef box():\n    made.append(1)\n    return len(made)\nclass TestA:\n    def test_a(self, box):\n        assert box == 1 and f(3) == 4\n    def test_b(self, box):\n        assert box == 1\nclass TestB:\n    def test_a(self, box):\n        assert box == 2\n",
    "made anew a test": "made = []\n@pytest.fixture\ndef box():\n    made.append(1)\n    return len(made)\ndef test_a(box):\n    assert box == 1 and f(3) == 4\ndef test_b(box):\n    assert box == 2\n",
    "yield and teardown": "log = []\n@pytest.fixture\ndef x():\n    log.append('up')\n    yield 3\n    log.append('down')\ndef test_a(x):\n    assert f(x) == 4 and log == ['up']\ndef test_b():\n    assert log == ['up', 'down']\n",
    "addfinalizer": "log = []\n@pytest.fixture\ndef x(request):\n    request.addfinalizer(lambda: log.append('down'))\n    return 3\ndef test_a(x):\n    assert f(x) == 4 and not log\ndef test_b():\n    assert log == ['down']\n",
    "teardown fails": "@pytest.fixture\ndef x():\n    yield 3\n    assert 0\ndef test_a(x):\n    assert f(x) == 4\n",
    "teardown checks": "@pytest.fixture\ndef x():\n    seen = []\n    yield seen\n    assert seen == [4]\ndef test_a(x):\n    x.append(f(3))\n",
    "setup fails": "@pytest.fixture\ndef x():\n    assert f(3) == 5\ndef test_a(x):\n    pass\n",
    "yields twice": "@pytest.fixture\ndef x():\n    yield 3\n    yield 4\ndef test_a(x):\n    assert f(x) == 4\n",
    "autouse": "seen = []\n@pytest.fixture(autouse=True)\ndef always():\n    seen.append(f(3))\ndef test_a():\n    assert seen == [4]\n",
    "autouse module": "seen = []\n@pytest.fixture(autouse=True, scope='module')\ndef always():\n    seen.append(f(3))\n    yield\ndef test_a():\n    assert seen == [4]\ndef test_b():\n    assert seen == [4]\n",
    "autouse session and class": "seen = []\n@pytest.fixture(autouse=True, scope='session')\ndef s():\n    seen.append('s')\nclass TestA:\n    @pytest.fixture(autouse=True, scope='class')\n    def c(self):\n        seen.append('c')\n    def test_a(self):\n        assert seen == ['s', 'c'] and f(3) == 4\n    def test_b(self):\n        assert seen == ['s', 'c']\n",
    "usefixtures": "seen = []\n@pytest.fixture\ndef once():\n    seen.append(f(3))\n@pytest.mark.usefixtures('once')\ndef test_a():\n    assert seen == [4]\n",
    "usefixtures on a class": "@pytest.fixture\ndef three(request):\n    request.cls.x = 3\n@pytest.mark.usefixtures('three')\nclass TestA:\n    def test_a(self):\n        assert f(self.x) == 4\n",
    "autouse sets self": "class TestA:\n    @pytest.fixture(autouse=True)\n    def prepare(self):\n        self.x = 3\n    def test_a(self):\n        assert f(self.x) == 4\n",
    "setup_method": "class TestA:\n    def setup_method(self, method):\n        self.box = Box()\n        self.name = method.__name__\n    def test_a(self):\n        assert self.box.put(1) == 1 and self.box.put(1) == 2 and self.name == 'test_a'\n",
    "setup_method before fixtures": "class TestA:\n    def setup_method(self):\n        self.x = 3\n    @pytest.fixture\n    def y(self):\n        return self.x\n    def test_a(self, y):\n        assert f(y) == 4\n",
    "setup_class": "class TestA:\n    count = 0\n    @classmethod\n    def setup_class(cls):\n        cls.count += 1\n    @classmethod\n    def teardown_class(cls):\n        pass\n    def test_a(self):\n        assert self.count == 1 and f(3) == 4\n    def test_b(self):\n        assert self.count == 1\n",
    "teardown_class fails": "class TestA:\n    @classmethod\n    def teardown_class(cls):\n        assert 0\n    def test_a(self):\n        assert f(3) == 4\n",
    "teardown_method checks": "class TestA:\n    def teardown_method(self):\n        assert self.x == 4\n    def test_a(self):\n        self.x = f(3)\n",
    "setup_module": "def setup_module(module):\n    module.x = 3\ndef teardown_module():\n    assert x == 3\ndef test_a():\n    assert f(x) == 4\n",
    "teardown_module fails": "def teardown_module():\n    assert 0\ndef test_a():\n    assert f(3) == 4\n",
    "setup_function": "x = []\ndef setup_function(function):\n    x.append(function.__name__)\ndef teardown_function():\n    x.clear()\ndef test_a():\n    assert x == ['test_a'] and f(3) == 4\ndef test_b():\n    assert x == ['test_b']\n",
    "old nose setup is not called": "class TestA:\n    def setup(self):\n        assert 0\n    def test_a(self):\n        assert f(3) == 4\n",
    "unittest": "class T(unittest.TestCase):\n    def setUp(self):\n        self.box = Box()\n    def tearDown(self):\n        self.assertTrue(self.box.items or True)\n    def test_a(self):\n        self.assertEqual(f(3), 4)\n    def test_b(self):\n        self.box.put(1)\n        self.assertEqual(self.box.put(2), 2)\n",
    "unittest class setup": "class T(unittest.TestCase):\n    count = 0\n    @classmethod\n    def setUpClass(cls):\n        cls.count += 1\n        cls.three = 3\n    def test_a(self):\n        self.assertEqual(self.count, 1)\n        self.assertEqual(f(self.three), 4)\n    def test_b(self):\n        self.assertEqual(self.count, 1)\n",
    "unittest tearDown fails": "class T(unittest.TestCase):\n    def tearDown(self):\n        self.fail('no')\n    def test_a(self):\n        self.assertEqual(f(3), 4)\n",
    "unittest tearDownClass fails": "class T(unittest.TestCase):\n    @classmethod\n    def tearDownClass(cls):\n        raise OSError\n    def test_a(self):\n        self.assertEqual(f(3), 4)\n",
    "unittest subTest": "class T(unittest.TestCase):\n    def test_a(self):\n        for x in (1, 2, 5):\n            with self.subTest(x=x):\n                self.assertEqual(f(x), x + 1)\n",
    "unittest raises": "class T(unittest.TestCase):\n    def test_a(self):\n        with self.assertRaises(Broke) as caught:\n            fail(3)\n        self.assertEqual(caught.exception.code, 7)\n        with self.assertRaisesRegex(ValueError, 'bad value'):\n            fail(3)\n",
    "unittest skip": "class T(unittest.TestCase):\n    @unittest.skip('no')\n    def test_a(self):\n        self.fail()\n    def test_b(self):\n        self.assertEqual(f(3), 4)\n    def test_c(self):\n        self.skipTest('later')\n@unittest.skipIf(True, 'no')\nclass U(unittest.TestCase):\n    def test_a(self):\n        self.fail()\n",
    "unittest expected failure": "class T(unittest.TestCase):\n    @unittest.expectedFailure\n    def test_a(self):\n        self.assertEqual(1, 2)\n    def test_b(self):\n        self.assertEqual(f(3), 4)\n",
    "unittest cleanup": "log = []\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.addCleanup(log.append, 1)\n        self.assertEqual(f(3), 4)\n    def test_b(self):\n        self.assertEqual(log, [1])\n",
    "unittest inherited": "class Base(unittest.TestCase):\n    x = 3\n    def test_a(self):\n        self.assertEqual(f(self.x), self.x + 1)\nclass Other(Base):\n    x = 0\n",
    "unittest with fixtures": "class T(unittest.TestCase):\n    @pytest.fixture(autouse=True)\n    def prepare(self, tmp_path):\n        self.path = tmp_path\n    def test_a(self):\n        assert self.path.exists() and f(3) == 4\n",
    "unittest async": "class T(unittest.IsolatedAsyncioTestCase):\n    async def asyncSetUp(self):\n        self.x = 3\n    async def test_a(self):\n        self.assertEqual(f(self.x), 4)\n",
    "unittest module setup": "x = []\ndef setUpModule():\n    x.append(3)\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(f(x[0]), 4)\n",
    "raises": "def test_a():\n    with pytest.raises(Broke):\n        fail(3)\n",
    "raises base class": "def test_a():\n    with pytest.raises(ValueError):\n        fail(3)\n",
    "raises other": "def test_a():\n    with pytest.raises(KeyError):\n        fail(3)\n",
    "raises tuple": "def test_a():\n    with pytest.raises((KeyError, ValueError)):\n        fail(3)\n",
    "raises match": "def test_a():\n    with pytest.raises(ValueError, match=r'bad value \\d'):\n        fail(3)\n",
    "raises match fails": "def test_a():\n    with pytest.raises(ValueError, match='good'):\n        fail(3)\n",
    "raises info": "def test_a():\n    with pytest.raises(ValueError) as info:\n        fail(3)\n    assert info.type is Broke and info.value.code == 7 and 'bad' in str(info.value)\n    assert info.typename == 'Broke' and info.match('bad')\n",
    "raises call": "def test_a():\n    info = pytest.raises(ValueError, fail, 3)\n    assert info.value.code == 7\n",
    "raises lambda": "def test_a():\n    pytest.raises(ValueError, lambda: fail(3))\n",
    "raises nothing": "def test_a():\n    with pytest.raises(ValueError):\n        f(3)\n",
    "raises no type": "def test_a():\n    with pytest.raises('ValueError'):\n        fail(3)\n",
    "raises does not see pytest.fail": "def test_a():\n    with pytest.raises(Exception):\n        pytest.fail('no')\n",
    "raises in parametrize": "from contextlib import nullcontext as ok\n@pytest.mark.parametrize('call, expected', [(fail, pytest.raises(ValueError)), (f, ok())])\ndef test_a(call, expected):\n    with expected:\n        call(3)\n",
    "approx": "def test_a():\n    assert half(1) == pytest.approx(0.5)\n    assert pytest.approx(0.5) == half(1)\n    assert half(3) != pytest.approx(1)\n",
    "approx abs": "def test_a():\n    assert half(1) == pytest.approx(0.51, abs=0.0105)\n",
    "approx rel": "def test_a():\n    assert half(100) == pytest.approx(50, rel=1e-5)\n",
    "approx list": "def test_a():\n    assert thirds(3) == pytest.approx([0, 0.33333333, 0.66666667])\n    assert thirds(3) != pytest.approx([0, 0.3])\n",
    "approx tuple": "def test_a():\n    assert tuple(thirds(3)) == pytest.approx((0, 1 / 3, 2 / 3))\n",
    "approx dict": "def test_a():\n    assert pairs(3) == pytest.approx({0: 0, 1: 0.33333333, 2: 0.66666667})\n",
    "approx nested": "def test_a():\n    assert {'a': [half(1)]} == pytest.approx({'a': [0.5]})\n",
    "approx set": "def test_a():\n    assert {half(1)} == pytest.approx({0.5})\n",
    "approx nan and inf": "def test_a():\n    nan = float('nan')\n    assert nan != pytest.approx(nan) and nan == pytest.approx(nan, nan_ok=True)\n    assert math.inf == pytest.approx(math.inf) and math.inf != pytest.approx(-math.inf)\n    assert 1e300 != pytest.approx(math.inf) and f(3) == 4\n",
    "approx decimal": "from decimal import Decimal as D\ndef test_a():\n    assert D('1.0000001') == pytest.approx(D('1')) and D('1.1') != pytest.approx(D('1'))\n    assert f(3) == 4\n",
    "approx complex": "def test_a():\n    assert 1 + 1.0000001j == pytest.approx(1 + 1j) and f(3) == pytest.approx(4)\n",
    "approx bool and none": "def test_a():\n    assert True == pytest.approx(True) and None == pytest.approx(None) and 'a' == pytest.approx('a')\n    assert 1 != pytest.approx(True) and f(3) == 4\n",
    "approx numpy": "import numpy as np\ndef test_a():\n    assert np.array(thirds(3)) == pytest.approx(np.array([0, 1 / 3, 2 / 3]))\n    assert thirds(3) == pytest.approx(np.array([0, 1 / 3, 2 / 3]))\n    assert np.array(thirds(3)) == pytest.approx([0, 1 / 3, 2 / 3])\n    assert np.array([1, 2]) != pytest.approx(np.array([[1, 2]]))\n",
    "approx numpy scalar": "import numpy as np\ndef test_a():\n    assert np.float64(half(1)) == pytest.approx(0.5) and half(1) == pytest.approx(np.float64(0.5))\n    assert np.array([0.5, 0.5]) == pytest.approx(half(1))\n",
    "approx truth": "def test_a():\n    assert pytest.approx(3)\n    assert f(3) == 4\n",
    "approx order": "def test_a():\n    assert f(3) < pytest.approx(5)\n",
    "approx negative tolerance": "def test_a():\n    assert 1.5 == pytest.approx(1, abs=-1)\n",
    "warns": "def test_a():\n    with pytest.warns(DeprecationWarning, match='old 3'):\n        assert warn(3) == 3\n",
    "warns list": "def test_a():\n    with pytest.warns() as seen:\n        warn(3)\n        warn(4)\n    assert len(seen) == 2 and 'old 4' in str(seen[1].message) and seen[0].category is DeprecationWarning\n",
    "warns other": "def test_a():\n    with pytest.warns(UserWarning):\n        warn(3)\n",
    "deprecated_call": "def test_a():\n    with pytest.deprecated_call():\n        warn(3)\n",
    "catch_warnings": "def test_a():\n    with warnings.catch_warnings(record=True) as seen:\n        warnings.simplefilter('always')\n        warn(3)\n    assert len(seen) == 1 and issubclass(seen[0].category, DeprecationWarning)\n",
    "warnings as errors": "def test_a():\n    with warnings.catch_warnings():\n        warnings.simplefilter('error')\n        with pytest.raises(DeprecationWarning):\n            warn(3)\n",
    "capsys": "def test_a(capsys):\n    say(3)\n    seen = capsys.readouterr()\n    assert seen.out == 'said 3\\n' and seen.err == 'err 3\\n'\n    say(4)\n    assert capsys.readouterr().out == 'said 4\\n'\n",
    "capfd": "def test_a(capfd):\n    say(3)\n    out, err = capfd.readouterr()\n    assert out == 'said 3\\n'\n",
    "capsys own": "def test_a(capsys):\n    print('x')\n    with capsys.disabled():\n        print('y')\n    assert capsys.readouterr().out == 'x\\n' and f(3) == 4\n",
    "redirect_stdout": "import io, contextlib\ndef test_a():\n    text = io.StringIO()\n    with contextlib.redirect_stdout(text):\n        say(3)\n    assert text.getvalue() == 'said 3\\n'\n",
    "assertLogs": "class T(unittest.TestCase):\n    def test_a(self):\n        with self.assertLogs('s', 'INFO') as seen:\n            log(3)\n        self.assertEqual(seen.output, ['WARNING:s:logged 3', 'INFO:s:quiet 3'])\n",
    "tmp_path": "def test_a(tmp_path):\n    path = tmp_path / 'a.txt'\n    write(str(path), 'hi')\n    assert path.read_text() == 'hi' and path.is_absolute()\n",
    "monkeypatch": "class Thing:\n    x = 1\ndef test_a(monkeypatch):\n    monkeypatch.setattr(Thing, 'x', 3)\n    monkeypatch.setitem(sys.__dict__, 'zz', 1)\n    monkeypatch.setenv('ZZ', 'q')\n    monkeypatch.setattr('os.sep', '!')\n    assert f(Thing.x) == 4 and os.environ['ZZ'] == 'q' and os.sep == '!'\ndef test_b():\n    assert Thing.x == 1 and not hasattr(sys, 'zz') and 'ZZ' not in os.environ and os.sep == '/'\n",
    "monkeypatch raising": "def test_a(monkeypatch):\n    with pytest.raises(AttributeError):\n        monkeypatch.setattr(os, 'no_such', 1)\n    monkeypatch.setattr(os, 'no_such', 1, raising=False)\n    assert os.no_such == 1 and f(3) == 4\ndef test_b():\n    assert not hasattr(os, 'no_such')\n",
    "monkeypatch delete": "d = {'a': 1}\ndef test_a(monkeypatch):\n    monkeypatch.delitem(d, 'a')\n    monkeypatch.delenv('NO_SUCH', raising=False)\n    monkeypatch.delattr('os.sep')\n    assert d == {} and f(3) == 4\ndef test_b():\n    assert d == {'a': 1} and os.sep\n",
    "request": "def test_a(request):\n    assert request.function is test_a and f(3) == 4\n    assert request.getfixturevalue('x') == 3\n@pytest.fixture\ndef x():\n    return 3\n",
    "skip": "@pytest.mark.skip(reason='no')\ndef test_a():\n    assert 0\ndef test_b():\n    assert f(3) == 4\n@pytest.mark.skip\ndef test_c(): assert 0\n",
    "skipif": "@pytest.mark.skipif(sys.version_info > (3,), reason='no')\ndef test_a():\n    assert 0\n@pytest.mark.skipif('sys.version_info < (3,)', reason='no')\ndef test_b():\n    assert f(3) == 4\n@pytest.mark.skipif(condition=False, reason='no')\ndef test_c():\n    assert f(3) == 4\n",
    "skip in the test": "def test_a():\n    pytest.skip('no')\ndef test_b():\n    assert f(3) == 4\n",
    "skip in a fixture": "@pytest.fixture\ndef x():\n    pytest.skip('no')\ndef test_a(x):\n    assert 0\ndef test_b():\n    assert f(3) == 4\n",
    "skip a class": "@pytest.mark.skip\nclass TestA:\n    def test_a(self): assert 0\ndef test_b():\n    assert f(3) == 4\n",
    "importorskip": "np = pytest.importorskip('math')\ndef test_a():\n    assert f(3) == 4\ndef test_b():\n    pytest.importorskip('no_such_module')\n    assert 0\n",
    "xfail": "@pytest.mark.xfail\ndef test_a():\n    assert 0\n@pytest.mark.xfail(reason='x')\ndef test_c():\n    assert 1\ndef test_b():\n    assert f(3) == 4\n",
    "xfail strict": "@pytest.mark.xfail(strict=True)\ndef test_a():\n    assert 1\ndef test_b():\n    assert f(3) == 4\n",
    "xfail strict fails": "@pytest.mark.xfail(strict=True)\ndef test_a():\n    assert f(3) == 5\ndef test_b():\n    assert f(3) == 4\n",
    "xfail raises": "@pytest.mark.xfail(raises=ZeroDivisionError)\ndef test_a():\n    1 / 0\ndef test_b():\n    assert f(3) == 4\n",
    "xfail raises other": "@pytest.mark.xfail(raises=KeyError)\ndef test_a():\n    1 / 0\ndef test_b():\n    assert f(3) == 4\n",
    "xfail condition": "@pytest.mark.xfail(sys.version_info < (3,), reason='no')\ndef test_a():\n    assert f(3) == 4\n",
    "xfail without a run": "@pytest.mark.xfail(run=False)\ndef test_a():\n    os._exit(0)\ndef test_b():\n    assert f(3) == 4\n",
    "xfail in the test": "def test_a():\n    pytest.xfail('no')\ndef test_b():\n    assert f(3) == 4\n",
    "fail": "def test_a():\n    if f(3) != 4:\n        pytest.fail('no')\n",
    "fail always": "def test_a():\n    f(3)\n    pytest.fail('no')\n",
    "unknown marks": "@pytest.mark.slow\n@pytest.mark.timeout(5)\n@pytest.mark.order(1)\ndef test_a():\n    assert f(3) == 4\n",
    "unknown fixture": "def test_a(no_such):\n    assert f(3) == 4\n",
    "fixture of a wider scope asks a narrower": "@pytest.fixture\ndef x():\n    return 3\n@pytest.fixture(scope='module')\ndef y(x):\n    return x\ndef test_a(y):\n    assert f(y) == 4\n",
    "fixture called directly": "@pytest.fixture\ndef x():\n    return 3\ndef test_a():\n    assert f(x()) == 4\n",
    "yield in a test": "def test_a():\n    yield\n    assert f(3) == 4\n",
    "default arguments": "def test_a(x=3, *, y=4):\n    assert f(x) == y\n",
    "the last definition counts": "def test_a():\n    assert 0\ndef test_a():\n    assert f(3) == 4\n",
    "mock": "from unittest.mock import patch, Mock\n@patch('os.getcwd', return_value='here')\ndef test_a(cwd):\n    assert os.getcwd() == 'here' and cwd.called and f(3) == 4\ndef test_b():\n    with patch.object(os, 'sep', '!'):\n        assert os.sep == '!'\n    callback = Mock(return_value=3)\n    assert f(callback()) == 4\n    callback.assert_called_once()\n",
    "wrapped": "import functools\ndef twice(test):\n    @functools.wraps(test)\n    def inner(*args, **kwargs):\n        test(*args, **kwargs)\n        return test(*args, **kwargs)\n    return inner\n@pytest.fixture\ndef x():\n    return 3\n@twice\ndef test_a(x):\n    assert f(x) == 4\n",
    "partial": "import functools\ndef check(x):\n    assert f(x) == x + 1\ntest_a = functools.partial(check, x=3)\n",
    "system exit": "def test_a():\n    with pytest.raises(SystemExit):\n        sys.exit(2)\n    assert f(3) == 4\ndef test_b():\n    sys.exit(0)\n",
    "no tests": "def check_a():\n    assert 0\nassert f(3) == 4\nclass TestNothing:\n    pass\ndef test_a(): pass\n",
    "returns a value": "def test_a():\n    assert f(3) == 4\n    return 5\n",
    "a dataclass of the tests": "from dataclasses import dataclass\n@dataclass\nclass Case:\n    x: int\n    y: int\n@pytest.mark.parametrize('case', [Case(1, 2), Case(5, 6)])\ndef test_a(case):\n    assert f(case.x) == case.y\n",
    "async": "import asyncio\nasync def test_a():\n    await asyncio.sleep(0)\n    assert f(3) == 4\n@pytest.mark.asyncio\nasync def test_b():\n    assert f(1) == 2\n",
    "async in a class with a fixture": "class TestA:\n    @pytest.fixture\n    def x(self):\n        return 3\n    async def test_a(self, x):\n        assert f(x) == 4\n",
    "async fails": "async def test_a():\n    assert 0\n",
    "main at the end": "def test_a():\n    assert f(3) == 4\nif __name__ == '__main__':\n    pytest.main()\n",
    "context of a class": "def test_a():\n    box = Box()\n    assert Box.made >= 1 and box.put(3) == 1 and box.put(4) == 2 and box.items == [3, 4]\n",
}

# More files, all of which accept the one program and refuse the other.
ADDS_ONE = "def g(x): return x + 1\ndef h(x): return x\n"
ADDS_TWO = "def g(x): return x + 2\ndef h(x): return x\n"
MORE = [
    (
        "input patched",
        "import builtins\nfrom solution import g\ndef test_a(monkeypatch):\n    monkeypatch.setattr('builtins.input', lambda *_: '5')\n    assert g(4)==5\n",
    ),
    (
        "sub mark class fixture",
        "import pytest\nfrom solution import g\nclass TestA:\n    @pytest.fixture(params=[1,2])\n    def p(self, request): return request.param\n    @pytest.fixture(autouse=True)\n    def auto(self, p): self.p=p\n    @pytest.mark.parametrize('k',[3,4])\n    def test_a(self,k): assert g(self.p)==self.p+1 and g(k)==k+1\n",
    ),
    (
        "class hierarchy setup",
        "from solution import g\nclass Base:\n    def setup_method(self): self.a=1\nclass TestA(Base):\n    def setup_method(self):\n        super().setup_method(); self.b=2\n    def test_a(self): assert g(self.a)==self.b\n",
    ),
    (
        "namedtuple params",
        "import pytest\nfrom collections import namedtuple\nfrom solution import g\nC=namedtuple('C','i o')\n@pytest.mark.parametrize('i,o',[C(1,2),C(2,3)])\ndef test_a(i,o): assert g(i)==o\n",
    ),
    (
        "dict items params",
        "import pytest\nfrom solution import g\nD={1:2,3:4}\n@pytest.mark.parametrize('i,o',D.items())\ndef test_a(i,o): assert g(i)==o\n",
    ),
    (
        "ids func",
        "import pytest\nfrom solution import g\n@pytest.mark.parametrize('i',[1,2],ids=lambda v: f'v{v}')\ndef test_a(i): assert g(i)==i+1\n",
    ),
    (
        "zip params",
        "import pytest\nfrom solution import g\n@pytest.mark.parametrize(['i','o'],zip([1,2],[2,3]))\ndef test_a(i,o): assert g(i)==o\n",
    ),
    ("assert msg", "from solution import g\ndef test_a():\n    assert g(1)==2, f'got {g(1)}'\n"),
    (
        "global state",
        "from solution import g\ncount=0\ndef test_a():\n    global count\n    count+=1\n    assert g(1)==2\ndef test_b():\n    assert count==1\n",
    ),
    (
        "unittest mock object",
        "from unittest.mock import MagicMock\nfrom solution import g, h\ndef test_a():\n    m=MagicMock(return_value=3)\n    assert g(m())==4\n",
    ),
    (
        "patch solution",
        "from unittest.mock import patch\nimport solution\ndef test_a():\n    with patch('solution.h', return_value=9):\n        assert solution.h(1)==9\n    assert solution.h(1)==1 and solution.g(1)==2\n",
    ),
    (
        "patch.object",
        "from unittest.mock import patch\nimport solution\ndef test_a():\n    with patch.object(solution,'h') as m:\n        solution.h(3)\n        m.assert_called_once_with(3)\n    assert solution.g(1)==2\n",
    ),
    (
        "time budget",
        "import time\nfrom solution import g\ndef test_a():\n    t=time.time()\n    for i in range(50): assert g(i)==i+1\n    assert time.time()-t<20\n",
    ),
    (
        "helper class",
        "from solution import g\nclass Helper:\n    def run(self,x): return g(x)\ndef test_a():\n    assert Helper().run(1)==2\n",
    ),
    (
        "testcase with params via loop",
        "import unittest\nfrom solution import g\nclass TestG(unittest.TestCase):\n    CASES=[(1,2),(2,3)]\n    def test_all(self):\n        for i,o in self.CASES:\n            with self.subTest(i=i): self.assertEqual(g(i),o)\n",
    ),
    (
        "try import pytest",
        "try:\n    import pytest\nexcept ImportError:\n    pytest=None\nfrom solution import g\ndef test_a():\n    assert g(1)==2\n",
    ),
    (
        "sys.path",
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__))\nfrom solution import g\ndef test_a():\n    assert g(1)==2\n",
    ),
    (
        "type hints",
        "import pytest\nfrom typing import Any\nfrom solution import g\n@pytest.fixture\ndef v() -> int: return 1\ndef test_a(v: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:\n    assert g(v)==2\n",
    ),
    (
        "future annotations",
        "from __future__ import annotations\nimport pytest\nfrom solution import g\ndef test_a(request: pytest.FixtureRequest) -> None:\n    assert g(1)==2\n",
    ),
    (
        "docstring file",
        '"""Tests."""\nfrom solution import g\n\ndef test_a():\n    """A."""\n    assert g(1) == 2\n',
    ),
    (
        "importfixture factory",
        "import pytest\nfrom solution import g\n@pytest.fixture\ndef make():\n    def inner(x): return g(x)\n    return inner\ndef test_a(make):\n    assert make(1)==2\n",
    ),
    (
        "contextlib.suppress",
        "import contextlib\nfrom solution import g\ndef test_a():\n    with contextlib.suppress(ZeroDivisionError):\n        1/0\n    assert g(1)==2\n",
    ),
    (
        "test name prefix only",
        "from solution import g\ndef testa(): assert g(1)==2\nclass Testing:\n    def testb(self): assert g(2)==3\n",
    ),
    (
        "abstract base",
        "import abc\nfrom solution import g\nclass Base(abc.ABC):\n    @abc.abstractmethod\n    def v(self): ...\n    def test_a(self): assert g(self.v())==self.v()+1\nclass TestOne(Base):\n    def v(self): return 1\n",
    ),
    (
        "mark on params class",
        "import pytest\nfrom solution import g\n@pytest.mark.usefixtures('tmp_path')\n@pytest.mark.parametrize(('i','o'),[pytest.param(1,2,id='x'),pytest.param(2,3)])\nclass TestX:\n    def test_a(self,i,o): assert g(i)==o\n",
    ),
    (
        "asyncio.run",
        "import asyncio\nfrom solution import g\ndef test_a():\n    async def inner(): return g(1)\n    assert asyncio.run(inner())==2\n",
    ),
    (
        "gather",
        "import asyncio\nfrom solution import g\nasync def test_a():\n    async def one(x): return g(x)\n    assert await asyncio.gather(one(1),one(2))==[2,3]\n",
    ),
    (
        "numpy testing",
        "import numpy as np\nfrom solution import g\ndef test_a():\n    np.testing.assert_allclose(g(1.0),2.0)\n",
    ),
    (
        "nested helpers star",
        "from solution import *\ndef expect(x,y): assert g(x)==y\ndef test_a(): expect(1,2)\n",
    ),
    ("shared, with class", "class TestG:\n    def test_a(self): assert g(1)==2\n"),
    (
        "shared, unittest",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(g(1),2)\n",
    ),
    (
        "raises ExceptionGroup",
        "import pytest\nfrom solution import g\ndef test_a():\n    with pytest.raises(ExceptionGroup) as e:\n        raise ExceptionGroup('x',[ValueError(1)])\n    assert len(e.value.exceptions)==1 and g(1)==2\n",
    ),
]
