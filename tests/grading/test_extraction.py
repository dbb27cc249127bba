# ruff: noqa: E501 (responses are easier to read on their own lines)
"""The program in a response: the blocks of models' answers, and what tests want of them."""

import time

import pytest

from entropy_mech.grading.code import extract_program, grade_program
from entropy_mech.grading.sandbox import Limits

F = "def f(x):\n    return x + 1\n"
DRAFT = "def f(x):\n    return 0\n"
MAIN = "n = int(input())\nprint(n + 1)\n"


def fence(text, tag="python", marks="```"):
    return f"{marks}{tag}\n{text}{marks}\n"


# Each response holds a right program for ``f``.
FUNCTIONS = {
    "bare": F,
    "fenced": "Here:\n" + fence(F) + "Done.",
    "without a tag": "Here:\n" + fence(F, ""),
    "Python": fence(F, "Python"), "py": fence(F, "py"), "python3": fence(F, "python3"),
    "py3": fence(F, "py3"), "python 3.11": fence(F, "python3.11"), "PYTHON": fence(F, "PYTHON"),
    "{.python}": fence(F, "{.python}"), "{python}": fence(F, "{python}"),
    "with a title": fence(F, 'python title="f.py"'), "space before the tag": fence(F, " python "),
    "tildes": fence(F, "python", "~~~"), "four backticks": fence(F, "python", "````"),
    "carriage returns": fence(F).replace("\n", "\r\n"),
    "usage after": fence(F) + "Use it so:\n" + fence("print(f(3))\n"),
    "usage that defines": fence(F) + "Use it so:\n" + fence("result = f(3)\nprint(result)\n"),
    "usage without a tag": fence(F) + "Use:\n" + fence("f(3)\n", ""),
    "session after": fence(F) + "Use:\n" + fence(">>> f(3)\n4\n"),
    "output after": fence(F) + "It prints:\n" + fence("4\n", ""),
    "shell after": fence(F) + "Run:\n" + fence("python f.py\n", "bash"),
    "draft before": fence(DRAFT) + "That is wrong.\n" + fence(F),
    "other language after": fence(F) + "In C:\n" + fence("int f(int x) { return x + 1; }\n", "c"),
    "imports apart": fence("import math\n") + fence("def f(x):\n    return math.floor(x) + 1\n"),
    "star import apart": fence("from math import *\n") + fence("def f(x):\n    return floor(x) + 1\n"),
    "helper before": fence("def one():\n    return 1\n") + "Now:\n" + fence("def f(x):\n    return x + one()\n"),
    "helper after": fence("def f(x):\n    return x + one()\n") + "with\n" + fence("def one():\n    return 1\n"),
    "helper without a tag": fence("def one():\n    return 1\n", "") + fence("def f(x):\n    return x + one()\n"),
    "three pieces": fence("import math\n") + fence("def one():\n    return math.floor(1.5)\n") + fence("def f(x):\n    return x + one()\n") + fence("print(f(1))\n"),
    "never closed": "Here:\n```python\n" + F,
    "never closed, then another": "```python\n" + DRAFT + "No.\n" + fence(F),
    "only closed": F + "```\nThis adds one.\n",
    "stray before": "```\n" + fence(F),
    "stray after": fence(F) + "```\n",
    "in a list": "1. So:\n\n   ```python\n   def f(x):\n       return x + 1\n   ```\n2. Done\n",
    "indented content": fence("    def f(x):\n        return x + 1\n"),
    "in an outer fence": "````markdown\n# Answer\n" + fence(F) + "````\n",
    "fence in a docstring": fence('def f(x):\n    """Add one.\n\n    ```python\n    f(3)\n    ```\n    """\n    return x + 1\n'),
    "fence in a string": fence("def f(x):\n    s = '''\n```\nnot the end\n```\n'''\n    return x + 1\n"),
    "fence in a comment": fence("def f(x):\n    # not '''\n    # ```\n    return x + 1\n"),
    "quotes in strings": fence("def f(x):\n    a = \"'''\"\n    b = '\\'\"\"\"'\n    return x + 1\n"),
    "draft while thinking": "<think>\n" + fence(DRAFT) + "</think>\nSo:\n" + fence(F),
    "thoughts after": fence(F) + "<think>\nLet me check:\n" + fence(DRAFT) + "</think>\nYes.",
    "only the end of thoughts": "Maybe\n" + fence(DRAFT) + "</think>\n" + fence(F),
    "two thoughts": "<think>\n" + fence(DRAFT) + "</think>\nso\n<think>\n" + fence(DRAFT) + "</think>\n" + fence(F),
    "bare after thoughts": "<think>\nhm\n</think>\n" + F,
    "tags in the program": fence("def f(x):\n    s = '<think></think>'\n    return x + 1\n"),
    "prose around": "The program:\n\n" + F + "\nIt adds one.\n",
    "session": ">>> def f(x):\n...     return x + 1\n...\n>>> f(3)\n4\n",
    "session in a fence": fence(">>> def f(x):\n...     return x + 1\n...\n>>> f(3)\n4\n"),
    "decorated prose": "Answer below\n\nimport functools\n\n@functools.cache\ndef f(x):\n    if x > 5:\n        return x + 1\n    else:\n        return x + 1\n\nThat is all",
    "inline": "Simply ```f = lambda x: x + 1``` will do.",
    "assigned": fence("f = lambda x: x + 1\n") + fence("f(3)\n"),
    "broken after": fence(F) + "or\n" + fence("def f(x):\n    return x +\n"),
    "signature after": fence(F) + "for the given\n" + fence("def f(x: int) -> int:\n    \"\"\"Add one.\"\"\"\n    ...\n"),
    "starter after": fence(F) + "in place of\n" + fence("class Starter:\n    def f(self, x):\n        pass\n") + fence("def f(x):\n    # your code\n    pass\n"),
    "overloaded": fence(DRAFT) + "Better:\n" + fence("from typing import overload\n@overload\ndef f(x: int): ...\n" + F),
    "test block after": fence(F) + "Tests:\n" + fence("from solution import f\ndef test_f():\n    assert f(3) == 4\n"),
    "glued to the text": "The code: ```python\n" + F + "```",
    "glued to the code": "```python\ndef f(x):\n    return x + 1```\nDone.",
    "quoted": "> Here:\n>\n> ```python\n> def f(x):\n>     return x + 1\n> ```\n",
    "fences at the ends of strings": fence("def f(x):\n    s = '```'\n    t = \"\"\"```\"\"\"\n    return x + 1\n"),
    "byte order mark": "\ufeff" + fence(F),
}  # fmt: skip


@pytest.fixture(scope="module")
def verdicts(pool):
    tests = ["assert f(3) == 4", "assert f(9) == 10"]
    pairs = [(response, tests) for response in FUNCTIONS.values()]
    return dict(zip(FUNCTIONS, pool.grade_code_many(pairs, timeout_s=60.0), strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_program_that_defines_what_the_tests_want(verdicts, name):
    assert verdicts[name].name == "correct", (
        verdicts[name],
        extract_program(FUNCTIONS[name], {"f"}),
    )


@pytest.mark.parametrize(
    "response",
    ["<think>\n" + fence(F), fence(F) + "No, better:\n" + fence(DRAFT), "<think>\n" + fence(F) + "</think>\nI do not know.",
     fence(DRAFT) + "<think>" + fence(F) + "</think>", "I give up.", ""],
)  # fmt: skip
def test_a_draft_is_not_the_program(sandbox, response):
    verdict = grade_program(response, ["assert f(3) == 4"], sandbox, Limits())
    assert verdict.name in ("wrong", "no_answer")


SCRIPTS = {
    "bare": MAIN,
    "fenced": fence(MAIN),
    "usage after": fence(MAIN) + "For example:\n" + fence("4\n", ""),
    "example call after": fence(MAIN) + "as in\n" + fence("print(3 + 1)\n"),
    "imports apart": fence("import sys\n") + fence("n = int(sys.stdin.readline())\nprint(n + 1)\n"),
    "helper apart": fence("def g(n):\n    return n + 1\n") + fence("print(g(int(input())))\n"),
    "called apart": fence("def main():\n    print(int(input()) + 1)\n") + fence("main()\n"),
    "guarded apart": fence("def main():\n    print(int(input()) + 1)\n")
    + fence("if __name__ == '__main__':\n    main()\n"),
    "draft before": fence("print(int(input()))\n") + fence(MAIN),
    "harness after": fence(MAIN)
    + "Try it:\n"
    + fence("import subprocess\nprint(subprocess.run(['python3', 'main.py'], input='3'))\n"),
    "prose around": "So:\n\n" + MAIN + "\nThat is it.",
    "session of the answer": "Input: 3\n" + fence(MAIN) + "Output:\n" + fence("4\n", "text"),
    "does not parse here": fence(MAIN + "'" * 0),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_that_reads_input(sandbox, name):
    tests = {"inputs": ["3", "9"], "outputs": ["4", "10"]}
    verdict = grade_program(SCRIPTS[name], tests, sandbox, Limits())
    assert verdict.name == "correct", (verdict, extract_program(SCRIPTS[name]))


def test_a_function_without_a_body_may_be_all_there_is(sandbox):
    tests = ["assert f(3) is None"]
    for response in (fence("def f(x):\n    pass\n"), fence("x = 1\n") + fence("def f(x): ...\n")):
        assert grade_program(response, tests, sandbox, Limits()).reward


def test_names_may_come_from_several_blocks_or_a_class(sandbox):
    both = fence("def f(x):\n    return x\n") + fence("def g(x):\n    return f(x) + 1\n")
    assert grade_program(both, ["assert f(3) == 3", "assert g(3) == 4"], sandbox, Limits()).reward
    apart = fence("def f(x):\n    return x\n") + fence("def g(x):\n    return 4\n")
    assert grade_program(apart, ["assert f(3) == 3", "assert g(3) == 4"], sandbox, Limits()).reward
    method = fence("class Solution:\n    def f(self, x):\n        return x + 1\n") + fence(
        "print(Solution().f(3))\n"
    )
    tests = {"fn_name": "f", "inputs": [[3]], "outputs": [4]}
    assert grade_program(method, tests, sandbox, Limits()).reward


@pytest.mark.parametrize(
    "text",
    ["```python\n" * 20_000, "```\n" * 40_000, "'''\n```\n" * 20_000, "<think>" * 50_000, "</think>" * 50_000,
     "```python\nx = 1\n```\n" * 3_000, "a b\n" * 50_000, "(" * 100_000, "```" + "(" * 100_000 + "\n" * 1000, "`" * 200_000,
     "<think>\n</think>\n" * 20_000, "\"" * 100_001, ">>> x\n" * 30_000, "@a\n" * 30_000, "~~~ \n```\n" * 20_000],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_long_responses_take_no_longer_than_their_length(text):
    start_s = time.process_time()
    extract_program(text, {"f"})
    extract_program(text)
    assert time.process_time() - start_s < 60  # what grows with the square takes many minutes
