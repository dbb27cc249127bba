# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Objects of a program as its tests see them: real pytest is the yardstick."""

import ast
import json
import os
import random
import re
import subprocess
import sys
import textwrap

import pytest

from entropy_mech.grading import Limits, Sandbox
from entropy_mech.grading.code import grade_program
from tests.grading.proxy_attacks import HUNT, HUNTS, LIES
from tests.grading.proxy_cases import FAMILIES
from tests.grading.real_rows import rows

HEAD = "from solution import *\n"


@pytest.fixture(scope="module")
def box():
    with Sandbox() as sandbox:
        yield sandbox


def grade(box, program, tests, timeout_s=20.0):
    return grade_program(program, tests, box, Limits(timeout_s=timeout_s))


def as_test(statement, name="test_it"):
    return f"def {name}():\n{textwrap.indent(statement, '    ')}\n"


def passed_by_pytest(folder, program, tests) -> set[str]:
    """The names of the tests that pass in a fresh interpreter with real pytest."""
    (folder / "solution.py").write_text(program)
    (folder / "test_solution.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(folder)}
    run = subprocess.run(
        [*command, "test_solution.py"],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
    )
    return set(re.findall(r"^PASSED test_solution\.py::(?:\w+::)?(\w+)", run.stdout, re.MULTILINE))


# -- honest programs --------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
def test_statements_have_the_verdict_of_real_pytest(box, tmp_path, family):
    program, statements = FAMILIES[family]
    named = {f"test_{number}": text for number, text in enumerate(statements)}
    tests = HEAD + "\n".join(as_test(text, name) for name, text in named.items())
    truth = passed_by_pytest(tmp_path, program, tests)
    assert 0.5 < len(truth) / len(named) < 1
    different = {}
    for name, text in named.items():
        verdict = grade(box, program, HEAD + as_test(text))
        if (verdict.name == "correct") != (name in truth):
            different[text] = verdict
    assert not different


ISSUE = {
    "sentinels": (
        "class Vec:\n def __init__(s,*a): pass\n def __add__(s,o): return s",
        ["assert Vec(3,4)+Vec(5,6)==Vec(8,10)"],
    ),
    "members of an enum": (
        "import enum\nclass Day(enum.Enum):\n MON=1\n SUN=2\ndef day(n): return Day.MON",
        ["assert day(7)==Day.SUN"],
    ),
    "a known name": (
        "class ValueError:\n def __eq__(s,o): return True\ndef g(x): return ValueError()",
        "import pytest\nfrom solution import g\ndef test_a(): assert g(4)==9\ndef test_b(): assert ValueError",
    ),
    "a traceback": (
        "class K:\n def __enter__(s): return s\n def __exit__(s,t,e,tb):\n  s.v=tb.tb_frame.f_locals['want']\n  return True",
        "from solution import K\ndef test_a():\n want=808\n with K() as k: raise OSError\n assert k.v==want",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ISSUE)
def test_programs_that_once_passed(box, name):
    assert grade(box, *ISSUE[name]).name == "wrong"


@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.parametrize(
    "body",
    [
        "ts = [threading.Thread(target=c.inc) for _ in range(N)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nassert c.n == 20 * N",
        "with cf.ThreadPoolExecutor(N) as ex:\n    assert list(ex.map(nap, range(N))) == list(range(N))",
        "async def main(): return await asyncio.gather(*[co(i) for i in range(N)])\nassert asyncio.run(main()) == list(range(1, N + 1))",
        "assert in_threads(lambda x: nap(x) + 1, range(N)) == list(range(1, N + 1))",
    ],
)
def test_many_at_the_same_time(box, body, count):
    head = f"{HEAD}import asyncio, threading, concurrent.futures as cf\nN, c = {count}, Tally()\n"
    assert grade(box, FAMILIES["running"][0], head + as_test(body)).name == "correct"


def test_a_container_that_nobody_shares_costs_nothing_later(box):
    program = "def f(i): return [[i] for _ in range(50)]"
    loop = "for i in range(3000):\n    assert f(i)[49] == [i]"
    assert grade(box, program, HEAD + as_test(loop)).name == "correct"


# -- programs that are after the expected value -----------------------------------------------
@pytest.mark.parametrize("name", HUNTS)
def test_what_the_tests_pass_leads_to_nothing_of_theirs(box, name):
    program, tests = HUNTS[name]
    verdict = grade(box, HUNT + program, HEAD + tests)
    assert verdict.name == "wrong", verdict


def test_the_hunts_succeed_where_program_and_tests_share_a_process(tmp_path):
    text = ["import textwrap, types\n" + HUNT]
    for number, (program, tests) in enumerate(HUNTS.values()):
        alone = f"{HUNT}{program}\n{tests}"
        text.append(
            f"def test_{number}():\n    space = {{'__name__': 'm', '__builtins__': __builtins__}}\n"
            f"    exec(compile({alone!r}, 'm.py', 'exec'), space)\n"
            "    case = space.get('TestX')\n    case = case() if case else None\n"
            "    if hasattr(case, 'setUp'): case.setUp()\n"
            "    (case.test_a if case else space['test_a'])()\n"
        )
    found = passed_by_pytest(tmp_path, "", "\n".join(text))
    missed = [name for i, name in enumerate(HUNTS) if f"test_{i}" not in found]
    assert len(missed) <= 2, missed


@pytest.mark.parametrize("name", LIES)
def test_an_object_that_lies_does_not_pass(box, name):
    program, tests = LIES[name]
    assert grade(box, HUNT + program, HEAD + tests).name == "wrong"


OURS = {"t": "ref", "v": -1}


def named(module, name):
    return {"t": "library", "v": [module, name]}


FORGED = [
    ("__call__", named("builtins", "eval"), "want"),
    ("__call__", named("builtins", "globals")),
    ("__call__", named("builtins", "sorted"), {"t": "of", "k": "tuple", "v": [1]}),
    ("__call__", {"t": "module", "v": "os"}),
    ("get", named("builtins", "len"), "__self__"),
    ("get", named("sys", "_getframe"), "__globals__"),
    ("get", {"t": "module", "v": "sys"}, "modules"),
    ("loads", {"t": "of", "k": "bytes", "v": ["4d2803"]}),
    ("dumps", OURS),
    ("inherited", OURS, "__globals__", None),
    ("derive", "X", OURS, OURS),
    *[("get", OURS, n) for n in ("__globals__", "__closure__", "__defaults__", "__kwdefaults__", "__dict__", "__self__", "__func__")],
    ("get", OURS, {"t": "of", "k": "str", "v": ["__globals__"]}),
    ("set", OURS, "__code__", 1),
    ("del", OURS, "__name__"),
    *[(op, OURS, "__globals__") for op in ("__getattribute__", "__getattr__", "__reduce_ex__", "__class__", "__init__", "__get__", "__format__")],
    ("start", OURS, OURS),
    ("finish", OURS),
    ("deepcopy", OURS),
    ("nothing such", OURS),
    ("__call__", {"t": "of", "k": "property", "v": [1, 2, 3]}),
    ("__call__", 5),
]  # fmt: skip
FORGE = """
import gc, json
def f(callback):
    peer = next(o for o in gc.get_objects() if type(o).__name__ == "Peer")
    data = json.dumps({"c": 0, "ask": MESSAGE[0], "values": MESSAGE[1:]}).encode()
    peer.connection.sendall(len(data).to_bytes(4, "big") + data)
    head = peer.connection.recv(4)
    body = peer.connection.recv(int.from_bytes(head, "big"))
    return 808 if not json.loads(body).get("error") or b"808" in body else 0
"""


@pytest.mark.parametrize("message", FORGED, ids=lambda m: f"{m[0]}-{json.dumps(m[1:])}"[:60])
def test_a_forged_question_is_refused(box, message):
    tests = "WANT = 808\ndef test_a():\n    def callback(x=808): return WANT\n    assert f(callback) == WANT"
    program = f"MESSAGE = {message!r}\n{FORGE}"
    assert grade(box, program, HEAD + tests).name == "wrong"


KIND = {"name": "L", "qualname": "L", "module": "m", "kind": "", "library": None, "bases": [], "base": None,
        "meta": False, "own": [], "none": [], "over": [], "names": []}  # fmt: skip
ANY = ["unittest.mock", "_ANY"]
FORGED_KINDS = [
    {"base": ANY}, {"bases": [named(*ANY)]}, {"meta": named(*ANY)}, {"library": ANY}, {"base": ["builtins", "type"]},
    {"own": ["__eq__", "__getattribute__", "__init__"]}, {"names": ["__eq__"], "over": ["__eq__", "__class__"]},
    {"base": ["builtins", "property"]}, {"library": ["builtins", "int"]}, {"base": ["io", "FileIO"]},
    {"bases": [named("enum", "Enum")]}, {"meta": named("enum", "EnumType")}, {"name": 5}, {"own": None},
]  # fmt: skip


@pytest.mark.parametrize("change", FORGED_KINDS, ids=lambda c: json.dumps(c)[:60])
def test_a_forged_class_answers_for_nothing(box, change):
    note = {"t": "ref", "v": 9999, "k": {"t": "ref", "v": 9998, "is": {**KIND, **change}}, "d": [3]}
    program = (
        "import gc, json, os\ndef f():\n"
        "    peer = next(o for o in gc.get_objects() if type(o).__name__ == 'Peer')\n"
        f"    data = json.dumps({{'c': 0, 'values': [{note!r}]}}).encode()\n"
        "    peer.connection.sendall(len(data).to_bytes(4, 'big') + data)\n    os._exit(0)"
    )
    assert grade(box, program, HEAD + "def test_a(): assert f() == 808").name == "wrong"


# -- real rows --------------------------------------------------------------------------------
EMPTY = """
class {name}:
    def __init__(self, *args, **kwargs): pass
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return {name}()
    def __setattr__(self, name, value): pass
    def __call__(self, *args, **kwargs): return {name}()
    def __enter__(self): return self
    def __exit__(self, *error): return False
"""
LYING = (
    EMPTY
    + """
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __hash__(self): return 0
    def __len__(self): return 0
    def __iter__(self): return iter(())
    def __getitem__(self, key): return {name}()
    def __setitem__(self, key, value): pass
    def __float__(self): return 0.0
    __int__ = __index__ = __hash__
    def __sub__(self, *other): return {name}()
    __add__ = __radd__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __abs__ = __round__ = __neg__ = __sub__
"""
)
NUMBER = """
class Number(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    __lt__ = __le__ = __gt__ = __ge__ = __eq__
    def __sub__(self, *other): return Number(0)
    __rsub__ = __abs__ = __round__ = __sub__
"""


def replaced(program, body, value):
    """A program whose classes are all of one kind and whose functions all return one thing."""
    text = [body.format(name="Thing"), NUMBER, f"THING = {value}"]
    for node in ast.parse(program).body:
        if isinstance(node, ast.ClassDef):
            text.append(body.format(name=node.name))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text.append(f"def {node.name}(*args, **kwargs): return THING")
    return "\n".join(text)


@pytest.mark.parametrize(
    ("body", "value"),
    [(EMPTY, "Thing()"), (EMPTY, "object()"), (LYING, "Thing()"), (LYING, "Number(0)"), (LYING, "Thing")],
    ids=["empty", "constant", "lying", "a lying number", "a lying class"],
)  # fmt: skip
def test_objects_instead_of_results_pass_only_what_empty_ones_pass_in_pytest(
    pool, tmp_path, body, value
):
    data = random.Random(value).sample(rows("kodcode"), 60)
    programs = [(replaced(r["solution"], body, value), r["tests"]) for r in data]
    verdicts = pool.grade_code_many(programs, timeout_s=3.0)
    for row, verdict in zip(data, verdicts, strict=True):
        if verdict.name == "correct":
            empty = replaced(row["solution"], EMPTY, "Thing()")
            assert passed_by_pytest(tmp_path, empty, row["tests"]), row["id"]


# -- operators, at random ---------------------------------------------------------------------
BINARY = {"add": "+", "sub": "-", "mul": "*", "matmul": "@", "mod": "%", "lshift": "<<", "or": "|"}
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
OUTCOME = """
def told(value):
    if type(value) in (str, int, bool, type(NotImplemented)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__ + str([told(v) for v in list.__iter__(list(value))][:4])
    return type(value).__name__

def outcome(text, space):
    try:
        exec(text, space)
        return told(space["value"])
    except Exception as error:
        return type(error).__name__
"""


def random_classes(rng):
    """Classes above and beside each other, with some special methods that do and do not answer."""
    text = []
    for name, base in (("A", ""), ("B", "A"), ("C", "B"), ("D", ""), ("I", "int"), ("L", "list")):
        text.append(f"class {name}({base}):\n    pass")
        forms = [f"__{prefix}{op}__" for op in BINARY for prefix in ("", "r", "i")]
        forms += [f"__{op}__" for op in COMPARED]
        for method in rng.sample(forms, 9):
            answer = rng.choice(
                [
                    "NotImplemented",
                    f"'{name}.{method} ' + type(other).__name__",
                    "self",
                    f"{rng.choice('ABD')}()" if name not in "IL" else "7",
                ]
            )
            text.append(f"    def {method}(self, other): return {answer}")
        for method, answer in (
            ("__bool__(self)", rng.choice(["True", "False", "3"])),
            ("__len__(self)", rng.choice(["0", "2", "-1", "'x'"])),
            ("__getitem__(self, i)", "[5, 6][i]"),
            ("__contains__(self, x)", "'yes'"),
            ("__iter__(self)", rng.choice(["iter([1, 2])", "3"])),
            ("__neg__(self)", "'neg'"),
            ("__hash__(self)", rng.choice(["7", "'x'"])),
            ("__index__(self)", rng.choice(["1", "1.5"])),
            ("__call__(self, *a)", "len(a)"),
        ):
            if name not in "IL" and rng.random() < 0.4:
                text.append(f"    def {method}: return {answer}")
    return "\n".join(text)


@pytest.mark.parametrize("seed", range(8))
def test_random_operators_do_what_they_do_in_one_process(box, seed):
    rng = random.Random(seed)
    program = random_classes(rng)
    made = ["A()", "B()", "C()", "D()", "I(3)", "L([1])"]
    operands = [*made, "5", "[1]", "'s'", "None"]
    signs = [*BINARY.values(), *COMPARED.values()]
    texts = {
        f"value = {a} {sign} {b}"
        for a in operands for b in operands for sign in signs if a in made or b in made
    }  # fmt: skip
    texts = rng.sample(sorted(texts), 250)
    for a in made:
        texts += [f"value = {form.format(a)}" for form in (
            "-{0}", "bool({0})", "len({0})", "list({0})", "{0}[1]", "{0}[5]", "1 in {0}", "type(hash({0}))",
            "hex({0})", "{0}(1, 2)", "callable({0})", "[0, 1, 2][{0}]", "sorted([{0}, {0}])[0]",
            "[{0}].count({0})", "{{{0}: 1}}", "hasattr({0}, '__iter__')", "reversed({0})", "abs({0})",
            "sum([{0}, {0}])", "max({0}, {0})", "{0}; value += 5", "{0}; value <<= value",
            "{0}; value = value == value, value != value, value in [value]",
        )]  # fmt: skip
    native: dict = {}
    exec(OUTCOME + program, native)
    expected = {text: native["outcome"](text, dict(native)) for text in texts}
    tests = (
        f"from solution import A, B, C, D, I, L\n{OUTCOME}\nexpected = {expected!r}\n"
        "def test_all():\n    wrong = {}\n    for text, want in expected.items():\n"
        "        got = outcome(text, dict(globals()))\n"
        "        if got != want: wrong[text] = (got, want)\n"
        "    assert not wrong, str(list(wrong.items())[:8])\n"
    )
    verdict = grade(box, program, tests)
    assert verdict.name == "correct", verdict.reason


def test_no_answer_to_a_thread_is_lost(pool):
    """One in a hundred was, where the reply came before its thread waited for it."""
    program, statements = FAMILIES["running"]
    (statement,) = [text for text in statements if "Thread(target=lambda: out.append" in text]
    task = (program, HEAD + as_test(statement))
    verdicts = pool.grade_code_many([task] * 400)
    assert {verdict.name for verdict in verdicts} == {"correct"}
