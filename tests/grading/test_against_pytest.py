# ruff: noqa: E501 (tests are easier to read on their own lines)
"""Verdicts of pytest files against real pytest: a program that is right and one that is not."""

import random

import pytest

from tests.grading.pytest_cases import ADDS_ONE, ADDS_TWO, CASES, HEAD, MORE, RIGHT, WRONG
from tests.grading.real_pytest import outcomes

# What real pytest 9.2 says of the right program; it accepts every other file of the table. Of the
# wrong one it accepts two files only. Files with async tests were judged with a loop for them.
REFUSES_RIGHT = {
    "unknown parameter", "too few values", "teardown fails", "setup fails", "yields twice",
    "teardown_class fails", "teardown_module fails", "unittest tearDown fails",
    "unittest tearDownClass fails", "raises other", "raises match fails", "raises nothing",
    "raises no type", "raises does not see pytest.fail", "approx nested", "approx set",
    "approx truth", "approx order", "approx negative tolerance", "warns other", "xfail strict",
    "xfail raises other", "fail always", "unknown fixture", "fixture called directly",
    "fixture of a wider scope asks a narrower", "yield in a test", "system exit", "async fails",
}  # fmt: skip
ACCEPTS_WRONG = {"setup fails", "approx abs"}
# What no program can help is an error, so that the data are blamed and not the policy.
ERRORS = {"unknown parameter", "too few values", "unknown fixture", "yield in a test",
          "fixture of a wider scope asks a narrower"}  # fmt: skip


@pytest.fixture(scope="module")
def verdicts(pool):
    pairs = [(program, HEAD + tests) for tests in CASES.values() for program in (RIGHT, WRONG)]
    found = pool.grade_code_many(pairs, timeout_s=60.0)
    return {name: found[2 * i : 2 * i + 2] for i, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_pytests(verdicts, name):
    right, wrong = verdicts[name]
    assert (right.name == "correct") == (name not in REFUSES_RIGHT), right
    assert (wrong.name == "correct") == (name in ACCEPTS_WRONG), wrong
    assert (right.name == "error") == (name in ERRORS), right


def test_more_files(pool):
    pairs = [(program, tests) for _, tests in MORE for program in (ADDS_ONE, ADDS_TWO)]
    found = [v.name for v in pool.grade_code_many(pairs, timeout_s=60.0)]
    said = dict(
        zip((name for name, _ in MORE), zip(found[::2], found[1::2], strict=True), strict=True)
    )
    assert {n: s for n, s in said.items() if s != ("correct", "wrong")} == {}


NOT_HERE = [
    "def test_a(tmpdir): assert f(3) == 4\n",
    "def test_a(caplog): assert f(3) == 4\n",
    "def test_a(tmp_path_factory): assert f(3) == 4\n",
    "def test_a(request): assert request.node.name == 'test_a'\n",
    "def test_a(recwarn): assert f(3) == 4\n",
    "@pytest.mark.filterwarnings('error')\ndef test_a(): assert f(3) == 4\n",
    "def test_a(request): assert request.config\n",
    "def test_a():\n    with pytest.RaisesGroup(ValueError):\n        fail(3)\n",
    "def test_a():\n    with pytest.raises(ValueError) as info:\n        fail(3)\n    info.group_contains(ValueError)\n",
    "from datetime import *\ndef test_a(): assert date(2020, 1, 1) == pytest.approx(date(2020, 1, 1), abs=timedelta(1))\n",
]  # fmt: skip


@pytest.mark.parametrize("tests", NOT_HERE)
def test_what_is_not_imitated_blames_no_program(pool, tests):
    verdict = pool.grade_code(RIGHT, HEAD + tests, timeout_s=60.0)
    assert verdict.name == "error"
    assert "not available here" in verdict.reason


def test_the_table_is_pytests(pool):
    """A sample, since real pytest takes a while; the whole table was made in this way."""
    sample = random.Random().sample(list(CASES), 12)
    right = outcomes([(RIGHT, HEAD + CASES[name]) for name in sample])
    wrong = outcomes([(WRONG, HEAD + CASES[name]) for name in sample])
    for name, good, bad in zip(sample, right, wrong, strict=True):
        assert good.passes == (name not in REFUSES_RIGHT), (name, good)
        assert bad.passes == (name in ACCEPTS_WRONG), (name, bad)
