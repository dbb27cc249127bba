"""Real problems: reference solutions pass, and wrong programs fail where real pytest says so."""

import random

import pytest

from tests.grading.mutations import KINDS, instead, mutate
from tests.grading.real_pytest import outcomes
from tests.grading.real_rows import rows


def test_reference_solutions_pass(pool):
    """A sample; benchmarks/grading_programs.py runs all 232."""
    data = random.Random(4).sample(rows("kodcode"), 80)
    verdicts = pool.grade_code_many([(r["solution"], r["tests"]) for r in data], timeout_s=60.0)
    failed = {r["id"]: v for r, v in zip(data, verdicts, strict=True) if v.name != "correct"}
    assert not failed


def test_mutated_solutions_fail_where_real_pytest_says_so(pool):
    data = random.Random(5).sample(rows("kodcode"), 30)
    mutants = [(r, m) for r in data if (m := mutate(r["solution"], r["id"]))]
    pairs = [(m, r["tests"]) for r, m in mutants]
    truth = [outcome.passes for outcome in outcomes(pairs, cpu_s=3)]
    # What does not end is test_sandbox's; here no limit of the pool is to decide.
    judged = [i for i, passes in enumerate(truth) if passes is not None]
    verdicts = pool.grade_code_many([pairs[i] for i in judged], timeout_s=60.0)
    assert any(truth)
    assert truth.count(False) > 10
    for i, verdict in zip(judged, verdicts, strict=True):
        assert (verdict.name == "correct") == truth[i], (mutants[i][0]["id"], verdict, pairs[i][0])


@pytest.mark.long
def test_objects_instead_of_answers_pass_no_comparison(pool):
    """Where every test compares something with ``==``, no object of any kind is an answer."""
    data = [r for r in rows("kodcode") if "raises" not in r["tests"]]
    data = random.Random(6).sample(data, 20)
    wrong = [(instead(r["solution"], kind), r["tests"]) for r in data for kind in KINDS]
    verdicts = pool.grade_code_many(wrong, timeout_s=60.0)
    accepted = [i for i, v in enumerate(verdicts) if v.name == "correct"]
    assert not accepted, [wrong[i] for i in accepted]
