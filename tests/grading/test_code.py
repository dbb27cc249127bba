# ruff: noqa: E501 (programs are easier to read on their own lines)
"""The four forms of unit tests, and programs that try to pass them without solving them."""

import json

import pytest

from entropy_mech.grading import Limits, grade_code
from entropy_mech.grading.code import extract_program, grade_program, same_output

STDIN = {"inputs": ["1 2", "5 7"], "outputs": ["3", "12"]}
CALLS = {"fn_name": "add", "inputs": [[1, 2], [5, 7]], "outputs": [3, 12]}
ASSERTS = ["assert add(1, 2) == 3", "assert add(5, 7) == 12"]
PYTEST = "from solution import add\n\ndef test_a():\n    assert add(1, 2) == 3\n\ndef test_b():\n    assert add(5, 7) == 12\n"
SHARED = "def test_a():\n    assert add(1, 2) == 3\n\ndef test_b():\n    assert add(5, 7) == 12\n"
FUNCTION_FORMS = {"calls": CALLS, "asserts": ASSERTS, "pytest": PYTEST, "shared": SHARED}
RIGHT = "def add(a, b):\n    return a + b\n"
RIGHT_MAIN = "print(sum(map(int, input().split())))"


def grade(sandbox, program, tests, **limits):
    return grade_program(program, tests, sandbox, Limits(**{"timeout_s": 2.0, **limits}))


@pytest.mark.parametrize("form", FUNCTION_FORMS)
def test_right_half_right_and_broken_programs(sandbox, form):
    tests = FUNCTION_FORMS[form]
    assert grade(sandbox, RIGHT, tests).name == "correct"
    half = grade(sandbox, "def add(a, b):\n    return 3", tests)
    assert (half.name, half.passed, half.total) == ("wrong", 1, 2)
    assert half.reward == 0.0
    assert half.reward_by("passed_fraction") == 0.5
    broken = grade(sandbox, "def add(a, b:\n", tests)
    assert (broken.name, broken.passed) == ("wrong", 0)
    assert "SyntaxError" in broken.reason
    missing = grade(sandbox, "def plus(a, b): return a + b", tests)
    assert (missing.name, missing.passed) == ("wrong", 0)
    assert grade(sandbox, "", tests).name == "no_answer"


def test_standard_input_and_output(sandbox):
    assert grade(sandbox, RIGHT_MAIN, STDIN).name == "correct"
    half = grade(sandbox, "print(3)", STDIN)
    assert (half.name, half.passed, half.reason) == (
        "wrong",
        1,
        "case 1: printed '3' instead of '12'",
    )
    crash = grade(sandbox, "int('x')", STDIN)
    assert "ValueError" in crash.reason
    assert grade(sandbox, RIGHT_MAIN + "\nraise SystemExit(1)", STDIN).name == "wrong"


def test_json_text_and_lists_of_lines_are_read(sandbox):
    assert grade(sandbox, RIGHT_MAIN, json.dumps(STDIN)).name == "correct"
    assert grade(sandbox, RIGHT, json.dumps(ASSERTS)).name == "correct"
    lines = {"inputs": [["1 2", "3"]], "outputs": [["1", "2"]]}
    assert grade(sandbox, "print(1)\nprint(2)", lines).name == "correct"
    encoded = {"fn_name": "add", "inputs": ["1\n2"], "outputs": ["3"]}
    assert grade(sandbox, RIGHT, encoded).name == "correct"
    wrapped = {"fn_name": "add", "inputs": [[1, 2], [2, 2]], "outputs": [[3], [4]]}
    assert grade(sandbox, RIGHT, wrapped).name == "correct"


def test_a_method_of_solution_and_json_keys(sandbox):
    program = (
        "class Solution:\n    def swap(self, d):\n        return {v: (k,) for k, v in d.items()}"
    )
    tests = {"fn_name": "swap", "inputs": [[{"1": 2}]], "outputs": [{"2": [1]}]}
    assert grade(sandbox, program, tests).name == "correct"


@pytest.mark.parametrize(
    "tests",
    [None, 7, [], {}, {"inputs": ["1"], "outputs": []}, "not python at all (", "x = 1", ["not ("],
     ["x = 1"], {"inputs": ["1"], "outputs": ["1"], "fn_name": "a b"},
     "def test_a(no_such_fixture):\n    assert True"],
)  # fmt: skip
def test_tests_that_make_no_sense_are_an_error(sandbox, tests):
    verdict = grade(sandbox, RIGHT, tests)
    assert verdict.name == "error"
    assert verdict.reason.startswith("tests: ")


CHEATS = {
    "exits before the tests": "import os\nos._exit(0)",
    "raises SystemExit": "raise SystemExit(0)",
    "exits in the call": "import os\ndef add(a, b):\n    os._exit(0)",
    "prints the expected result": "print(3)\nprint(12)\ndef add(a, b):\n    print(a + b)",
    "equal to everything": (
        "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    def __bool__(self): return True\ndef add(a, b):\n    return Any()"
    ),
    "a number equal to everything": (
        "class Any(int):\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "def add(a, b):\n    return Any(0)"
    ),
    "a class as the function": "class add:\n    def __init__(self, a, b): pass\n    def __eq__(self, o): return True",
    "mock.ANY": "from unittest.mock import ANY\ndef add(a, b):\n    return ANY",
    "patches builtins": (
        "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.all = lambda *a: True\n"
        "builtins.AssertionError = ValueError\ndef add(a, b):\n    return 0"
    ),
    "imports and patches the grader": (
        "import sys\nfor name in ('entropy_mech.grading.verdict', 'forms', 'server', 'remote', 'testing'):\n"
        "    try:\n        module = __import__(name)\n        for key in list(vars(module)):\n"
        "            if callable(getattr(module, key)): setattr(module, key, lambda *a, **k: True)\n"
        "    except Exception: pass\ndef add(a, b):\n    return 0"
    ),
    "patches what it finds in memory": (
        "import gc, sys\nfor o in gc.get_objects():\n    try:\n        if isinstance(o, dict) and 'passed' in o: o['passed'] = 2\n"
        "        if type(o).__name__ == 'Peer': o.send({'value': 3})\n    except Exception: pass\n"
        "def add(a, b):\n    return 0"
    ),
    "writes reports to every descriptor": (
        "import os, json\nreport = json.dumps({'passed': 2, 'total': 2}).encode()\nfor fd in range(64):\n"
        "    for data in (report, b'!' + report, len(report).to_bytes(4, 'big') + report):\n"
        "        try: os.write(fd, data)\n        except OSError: pass\ndef add(a, b):\n    return 0"
    ),
    "answers with raw messages": (
        "import socket, json\ndef add(a, b):\n    for fd in range(64):\n        try:\n"
        "            s = socket.socket(fileno=fd)\n            m = json.dumps({'value': {'t': 'module', 'v': 'os'}}).encode()\n"
        "            s.sendall(len(m).to_bytes(4, 'big') + m)\n        except OSError: pass\n    return 0"
    ),
    "traces the frames above": (
        "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for k in list(f.f_locals):\n"
        "            f.f_locals[k] = 3\n        f = f.f_back\n    return 0"
    ),
    "looks for the tests": (
        "import os, gc\ndef find(a, b):\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n"
        "            for v in list(o.values()):\n                if isinstance(v, str) and 'assert add' in v: return eval(v.split('== ')[1].split()[0])\n"
        "    return 0\nadd = find"
    ),
    "kills the tests": (
        "import os, signal\ndef add(a, b):\n    for p in range(2, 400):\n"
        "        if p != os.getpid():\n            try: os.kill(p, signal.SIGKILL)\n            except OSError: pass\n    return 0"
    ),
    "raises what skips a test": "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('no')",
    "raises KeyboardInterrupt": "def add(a, b):\n    raise KeyboardInterrupt",
}  # fmt: skip


@pytest.mark.parametrize("form", FUNCTION_FORMS)
@pytest.mark.parametrize("name", CHEATS)
def test_cheats_do_not_pass(sandbox, name, form):
    verdict = grade(sandbox, CHEATS[name], FUNCTION_FORMS[form])
    assert verdict.name in ("wrong", "timeout")
    assert verdict.passed == 0
    assert grade(sandbox, RIGHT, FUNCTION_FORMS[form]).name == "correct"


def test_a_program_cannot_redefine_builtins_and_modules_for_its_tests(sandbox):
    program = (
        "def all(*a): return True\nclass math:\n    isclose = lambda *a: True\ndef f(x): return [0]"
    )
    tests = ["assert all(v == 1 for v in f(1))", "assert math.isclose(f(1)[0], 2)"]
    assert grade(sandbox, program, tests).passed == 0
    assert grade(sandbox, "def pow(a, b): return 0", ["assert pow(2, 3) == 8"]).name == "wrong"
    assert (
        grade(sandbox, "def pow(a, b): return a ** b", ["assert pow(2, 3) == 8"]).name == "correct"
    )


def test_an_object_that_computes_with_the_expected_value_does_not_pass(sandbox):
    program = (
        "class Zero(float):\n    def __sub__(self, o): return 0.0\n    __rsub__ = __sub__\n"
        "    def __lt__(self, o): return True\n    def __abs__(self): return 0.0\n"
        "class Plain:\n    __sub__ = __rsub__ = lambda s, o: 0.0\n    __contains__ = lambda s, o: True\n"
        "    __lt__ = __gt__ = lambda s, o: True\n"
        "def f(x): return Zero(9)\ndef g(x): return Plain()"
    )
    tests = ["assert abs(f(1) - 2) < 1e-6", "assert abs(g(1) - 2) < 1e-6", "assert 3 in g(1)",
             "assert g(1) > 3", "assert [g(1)] == [3]", "assert {'a': g(1)} == {'a': 3}"]  # fmt: skip
    assert grade(sandbox, program, tests).passed == 0


CLASSES = """
import collections
from dataclasses import dataclass
class EmptyError(Exception):
    pass
class Stack:
    limit = 3
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        if not self.items:
            raise EmptyError("empty")
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __iter__(self):
        return iter(self.items)
@dataclass
class Vector:
    x: int
    y: int
    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)
    def __mul__(self, k):
        return Vector(self.x * k, self.y * k)
Point = collections.namedtuple("Point", "x y")
def count(words): return collections.Counter(words)
def sort_in_place(items): items.sort()
def apply(function, value): return function(value)
def numbers(n):
    for i in range(n):
        yield i
def depth(node): return 0 if node is None else 1 + max(depth(node.left), depth(node.right))
def shout(text): print(text.upper())
def origin(): return Point(0, 0)
def same(x): return x
"""
CLASS_TESTS = """
import pytest
from solution import *
from solution import Stack, EmptyError, Vector
class Node:
    def __init__(self, left=None, right=None):
        self.left, self.right = left, right
@pytest.fixture
def stack():
    return Stack([1, 2])
class TestStack:
    def setup_method(self):
        self.one = Stack([1])
    def test_methods(self, stack):
        assert stack.push(3).pop() == 3
        assert len(stack) == 2 and list(stack) == [1, 2] and stack.items == [1, 2]
        assert isinstance(stack, Stack) and Stack.limit == 3
        assert len(self.one) == 1
    def test_errors(self):
        with pytest.raises(EmptyError, match="empty"):
            Stack().pop()
@pytest.mark.parametrize("a, b", [(1, 2), (3, 4)])
def test_vectors(a, b):
    assert Vector(a, b) + Vector(1, 1) == Vector(a + 1, b + 1)
    assert Vector(a, b) * 2 == Vector(2 * a, 2 * b)
    assert Vector(a, b) != Vector(b, a)
def test_values():
    assert count("aab") == {"a": 2, "b": 1}
    items = [3, 1, 2]
    assert sort_in_place(items) is None and items == [1, 2, 3]
    assert same(items) is items
    assert apply(lambda x: x + 1, 41) == 42
    assert list(numbers(3)) == [0, 1, 2]
    assert depth(Node(Node(), Node(Node()))) == 3
    assert origin() == (0, 0) and origin().x == 0
    for value in (None, True, 1.5, "\\ud800", b"x", 2**100, {1: (2, [3])}, {4}, frozenset([5]), 1j):
        assert same(value) == value and type(same(value)) is type(value)
    assert same(1 / 3) == pytest.approx(0.3333333)
def test_printing(capsys):
    shout("hi")
    assert capsys.readouterr().out == "HI\\n"
"""


def test_classes_callbacks_generators_fixtures_and_printing(sandbox):
    verdict = grade(sandbox, CLASSES, CLASS_TESTS)
    assert (verdict.name, verdict.passed) == ("correct", 6), verdict.reason
    worse = CLASSES.replace("self.x + other.x", "self.x").replace(".upper()", "")
    verdict = grade(sandbox, worse, CLASS_TESTS)
    assert (verdict.name, verdict.passed) == ("wrong", 3), verdict.reason


def test_slow_and_greedy_programs(sandbox):
    verdict = grade(sandbox, "def add(a, b):\n    while True: pass", ASSERTS, timeout_s=0.5)
    assert (verdict.name, verdict.reason) == ("timeout", "over 0.5 s")
    verdict = grade(sandbox, "while True: print('x' * 1000)", STDIN, timeout_s=2.0, output_mib=0.1)
    assert (verdict.name, verdict.reason) == ("wrong", "case 0: printed more than 0.1 MiB")
    huge = "def add(a, b):\n    return [0] * 10**8"
    assert grade(sandbox, huge, ASSERTS, memory_gib=0.5).name in ("wrong", "timeout")
    deep = "def add(a, b):\n    x = []\n    for _ in range(10**4): x = [x]\n    return x"
    assert grade(sandbox, deep, ASSERTS).name == "wrong"
    threads = (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n" + RIGHT
    )
    assert grade(sandbox, threads, ASSERTS).name == "correct"


def test_fenced_blocks():
    assert extract_program("```python\na\n```\nor\n```python\nb\n```") == "b\n"
    assert extract_program("x = 1") == "x = 1"
    assert extract_program("```cpp\nint\n```\n```\npy\n```") == "py\n"


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [("1\n2\n", "1\n2", True), ("1 2", "1\n2", False), ("1  2 \n\n", "1 2", True), ("2.0000001", "2.0", True),
     ("3", "4", False), ("12", "12.0", True), ("1e400", "2.5", False), ("nan", "1.5", False),
     ("100000001", "100000000", False), ("a", "b.c", False)],
)  # fmt: skip
def test_same_output(printed, expected, same):
    assert same_output(printed, expected) is same


def test_grade_code_by_itself():
    assert (
        grade_code("print(input())", {"inputs": ["a"], "outputs": ["a"]}, timeout_s=5).name
        == "correct"
    )
