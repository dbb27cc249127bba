# ruff: noqa: E501 (programs are easier to read on their own lines)
"""Function calls, assert statements and HumanEval's check: names, values, what judges provide."""

import pytest

ID = "def g(x): return x"


def calls(inputs, outputs, name="g"):
    return {"fn_name": name, "inputs": inputs, "outputs": outputs}


CHECK = "def check(candidate):\n    assert candidate(4) == 4\n    assert candidate(9) == 9\n"
STARTER = "class Solution:\n    def g(self, {}) -> {}:\n        {}\n"
# Name, program, tests, verdict.
CASES = [
    # Text and numbers, as the row means them.
    ("text is text", "def g(n): return oct(n)[2:]", calls([[9]], ["11"]), "correct"),
    ("a number is no text", "def g(n): return 11", calls([[9]], ["11"]), "wrong"),
    ("text is no number", "def g(n): return '11'", calls([[9]], [11]), "wrong"),
    ("JSON row", "def g(a, b): return a + b", calls(["1\n2"], ["3"]), "correct"),
    ("JSON row, a text instead", "def g(a, b): return str(a + b)", calls(["1\n2"], ["3"]), "wrong"),
    ("JSON row of texts", "def g(a): return a[::-1]", calls(['"ab"'], ['"ba"']), "correct"),
    ("JSON row, one line", "def g(a): return sum(a)", calls(["[1, 2]"], ["3"]), "correct"),
    ("JSON row, null", "def g(a): return None", calls(["1"], ["null"]), "correct"),
    ("JSON row, true", "def g(a): return a > 0", calls(["1", "-1"], ["true", "false"]), "correct"),
    ("JSON row, native outputs", "def g(a): return a + 1", calls(["1", "2"], [2, 3]), "correct"),
    ("words in, numbers as text out", "def g(a): return str(len(a))", calls(["ab", "1"], ["2", "1"]), "correct"),
    ("words in, native numbers out", "def g(a): return len(a)", calls(["ab", "1"], [2, 1]), "correct"),
    ("numbers in, words out", "def g(a): return ['one', '2'][a - 1]", calls(["1", "2"], ["one", "2"]), "correct"),
    ("text in a list is text", "def g(a): return a", calls([["[1, 2]"]], ["[1, 2]"]), "correct"),
    ("text in a list is no list", "def g(a): return [1, 2]", calls([["[1, 2]"]], ["[1, 2]"]), "wrong"),
    ("texts that look like numbers", ID, calls([[["1", "02"]]], [["1", "02"]]), "correct"),
    ("numbers for texts in a list", "def g(x): return [1, 2]", calls([[["1", "2"]]], [["1", "2"]]), "wrong"),
    ("None is no text", "def g(x): return None", calls([[1]], ["None"]), "wrong"),
    ("null is None", "def g(x): return None", calls([[1]], [None]), "correct"),
    ("empty text is not None", "def g(x): return ''", calls([[1]], [None]), "wrong"),
    ("a tuple is a list in JSON", "def g(x): return (x, (x,))", calls([[1]], [[1, [1]]]), "correct"),
    ("nested lists", "def g(x): return [[x]]", calls([[1]], [[[1]]]), "correct"),
    ("float noise", "def g(x): return 0.1 + 0.2", calls([[1]], [0.3]), "correct"),
    ("integers to the digit", "def g(x): return 2 * x / 2", calls([[10**16 + 1]], [10**16 + 1]), "wrong"),
    ("a whole number as a float", "def g(x): return 2 * x / 2", calls([[3]], [3]), "correct"),
    ("a key twice", "def g(x): return {1: 2, '1': 3}", calls([[1]], [{"1": 3}]), "wrong"),
    ("keys are numbers again", "def g(d): return {k + 1: v for k, v in d.items()}", calls([[{"1": 2}]], [{"2": 2}]), "correct"),
    ("wrapped results", "def g(x): return x", calls([[1], [2]], [[1], [2]]), "correct"),
    ("results that are lists of one", "def g(x): return [x]", calls([[1], [2]], [[1], [2]]), "correct"),
    ("wrapped now and then", "def g(x): return x if x > 1 else [x]", calls([[1], [2]], [[1], [2]]), "wrong"),
    ("an argument that is no list", "def g(x): return x + 1", calls([1, 2], [2, 3]), "correct"),
    # What LeetCode's judges provide.
    ("typing", STARTER.format("a: List[int]", "Optional[int]", "return max(a)"), calls([[[4, 9]]], [9]), "correct"),
    ("typing, wrong", STARTER.format("a: List[int]", "int", "return min(a)"), calls([[[4, 9]]], [9]), "wrong"),
    ("collections", STARTER.format("a: Dict[str, Set[int]]", "Tuple", "q = deque([3]); c = Counter('aa'); d = defaultdict(int); o = OrderedDict(); return q[0] + c['a'] + d[1]"), calls([[1]], [5]), "correct"),
    ("modules", STARTER.format("a", "int", "return math.gcd(4, 6) + collections.Counter('a')['a'] + heapq.nsmallest(1, [3])[0] + bisect.bisect([1], 2) + functools.reduce(operator.add, [1, 1]) + len(string.digits) + len(list(itertools.pairwise([1, 2]))) + len(re.findall('a', 'a')) + copy.copy(1) + sys.maxsize * 0 + len(json.dumps(1)) + random.randint(1, 1) + datetime.date(2020, 1, 1).day"), calls([[1]], [25]), "correct"),
    ("functions", STARTER.format("a", "int", "h = []; heappush(h, 3); return heappop(h) + bisect_left([1, 2], 2) + gcd(4, 6) + comb(4, 2) + len(list(permutations([1, 2]))) + reduce(lambda x, y: x + y, [1, 2]) + len(list(pairwise([1, 2, 3]))) + accumulate([1]).__next__() + isqrt(9) + floor(1.5)"), calls([[1]], [24]), "correct"),
    ("inf", STARTER.format("a", "int", "return 1 if a < inf and -inf < a and nan != nan else 0"), calls([[1]], [1]), "correct"),
    ("caches", "class Solution:\n    @lru_cache(None)\n    def h(self, x): return x\n    @cache\n    def g(self, x): return self.h(x)\n", calls([[1]], [1]), "correct"),
    ("nodes in annotations", STARTER.format("a: Optional[ListNode], t: TreeNode = None", "ListNode", "return a"), calls([[1]], [1]), "correct"),
    ("a function, no class", "def g(a: List[int]) -> int: return max(a)", calls([[[4, 9]]], [9]), "correct"),
    ("deep recursion", "def g(n): return 0 if n == 0 else 1 + g(n - 1)", calls([[5000]], [5000]), "correct"),
    ("builtins stay", "def g(a): return pow(a, 2, 5) + abs(-1) + sum([1])", calls([[3]], [6]), "correct"),
    ("own names win", "def gcd(a, b): return 7\nclass Counter: x = 1\ndef g(a): return gcd(4, 2) + Counter.x", calls([[3]], [8]), "correct"),
    ("a method with a provided name", "class Solution:\n    def search(self, a): return a + 1", calls([[3]], [4], "search"), "correct"),
    ("a function with a provided name", "def product(a): return a + 1", calls([[3]], [4], "product"), "correct"),
    ("missing, though provided", "def f(a): return a", calls([[4]], [2], "sqrt"), "wrong"),
    ("after a future import", '"""A text."""\nfrom __future__ import annotations\n\n\n@cache\ndef g(a: list[int]): return a', calls([[3]], [3]), "correct"),
    ("not for asserts", "def g(a): return sqrt(a)", ["assert g(4) == 2"], "wrong"),
    ("for asserts on Solution", STARTER.format("a: List[int]", "int", "return max(a)"), ["assert Solution().g([4, 9]) == 9"], "correct"),
    ("not for pytest", "def g(a: List[int]): return 9", "from solution import g\ndef test_a():\n    assert g([]) == 9\n", "wrong"),
    # HumanEval and MBPP.
    ("check, called", ID, CHECK + "check(g)", "correct"),
    ("check, called, wrong", "def g(x): return 4", CHECK + "check(g)", "wrong"),
    ("check, not called", ID, "METADATA = {'author': 'x'}\n\n\n" + CHECK, "correct"),
    ("check, not called, wrong", "def g(x): return 4", CHECK, "wrong"),
    ("check in a guard", ID, CHECK + "if __name__ == '__main__':\n    check(g)\n", "correct"),
    ("check in a guard, wrong", "def g(x): return 4\ndef h(x): return x", CHECK + "if __name__ == '__main__':\n    check(g)\n", "wrong"),
    ("the last function", "def h(x): return x\ndef g(x): return h(x)", CHECK, "correct"),
    ("helper below", "def g(x): return h(x)\ndef h(x): return x if x < 9 else 9", CHECK, "correct"),
    ("main is no entry", "def g(x): return x\ndef main(): print(g(1))", CHECK, "correct"),
    ("entry point", "def g(x): return x\ndef h(x): return 0", {"test": CHECK, "entry_point": "g"}, "correct"),
    ("entry point, wrong", "def g(x): return 0\ndef h(x): return x", {"test": CHECK, "entry_point": "g"}, "wrong"),
    ("entry point, missing", "def h(x): return x", {"test": CHECK, "entry_point": "g"}, "wrong"),
    ("check of a program that has one", ID + "\ndef check(x): return True", CHECK + "check(g)", "correct"),
    ("check of a program that has one, wrong", "def g(x): return 0\ndef check(x): return True", CHECK + "check(g)", "wrong"),
    ("check that raises", "def g(x): raise ValueError", CHECK + "check(g)", "wrong"),
    ("check with tests' own imports", "def g(x): return x / 3", "import math\ndef check(candidate):\n    assert math.isclose(candidate(1), 1 / 3)\n", "correct"),
    ("candidate in asserts", ID, ["assert candidate(4) == 4"], "correct"),
    ("setup code", "def g(x): return x.v", {"test_list": ["assert g(T()) == 4"], "test_setup_code": "class T:\n    v = 4"}, "correct"),
    ("imports of the tests", "def g(x): return x / 3", {"test_list": ["assert math.isclose(g(1), 1 / 3)"], "test_imports": ["import math"]}, "correct"),
    ("setup among the asserts", ID, ["import math", "x = 4", "assert g(x) == 4"], "correct"),
    ("setup counts for nothing", "def g(x): return 0", ["import math", "x = 4", "assert g(x) == 4"], "wrong"),
    ("setup that fails", ID, ["x = h(1)", "assert g(4) == 4"], "wrong"),
    ("a statement with await", "async def f(x): return x\ndef g(x): return x", ["import asyncio", "assert g(4) == 4"], "correct"),
    ("asserts in a loop", ID, ["for i in range(3):\n    assert g(i) == i"], "correct"),
    ("asserts in a loop, wrong", "def g(x): return 0", ["for i in range(3):\n    assert g(i) == i"], "wrong"),
]  # fmt: skip
# Function names that are also names of builtins, of modules, or of the grader.
NAMES = ["trace", "pow", "sum", "max", "all", "hash", "round", "math", "copy", "test", "check", "solution", "remote",
         "values", "frames", "names", "items", "forms", "running", "collect", "fixtures", "program", "checker", "server",
         "array", "queue", "string", "code", "select", "signal", "time", "calendar", "statistics", "isclose", "deepcopy",
         "Counter", "np", "candidate", "peer", "space", "text", "module", "self", "pytest", "tests", "_private",
         "search", "product", "reduce", "gcd", "divmod", "print", "input", "open", "exec", "type", "list"]  # fmt: skip
for _name in NAMES:
    right, wrong = f"def {_name}(m): return m[0][0]", f"def {_name}(m): return 0"
    tests = [f"assert {_name}([[4]]) == 4", f"assert {_name}([[5]]) == 5"]
    CASES += [
        (f"{_name} in asserts", right, tests, "correct"),
        (f"{_name} in asserts, wrong", wrong, tests, "wrong"),
        (f"{_name} in calls", right, calls([[[[4]]]], [4], _name), "correct"),
        (f"{_name} in calls, wrong", wrong, calls([[[[4]]]], [4], _name), "wrong"),
    ]
    if _name not in ("solution", "pytest"):
        for start in (f"from solution import {_name}\n", "from solution import *\n", ""):
            file = start + f"def test_a():\n    assert {_name}([[4]]) == 4\n"
            if start.endswith("*\n") and _name[0] == "_":
                continue
            CASES += [
                (f"{_name} in {start or 'a shared file'}", right, file, "correct"),
                (f"{_name} in {start or 'a shared file'}, wrong", wrong, file, "wrong"),
            ]


@pytest.fixture(scope="module")
def verdicts(pool):
    found = pool.grade_code_many([(p, t) for _, p, t, _ in CASES], timeout_s=60.0)
    return {case[0]: verdict for case, verdict in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("name", "expected"), [(name, v) for name, _, _, v in CASES])
def test_forms(verdicts, name, expected):
    assert verdicts[name].name == expected, verdicts[name]
