"""Real problems: reference solutions pass, and mutated ones fail where the tests can tell."""

import random

from tests.grading.mutations import fresh_interpreter_passes, mutate
from tests.grading.real_rows import rows


def test_reference_solutions_pass(pool):
    """A sample; benchmarks/grading_real_rows.py runs all 232."""
    data = random.Random(4).sample(rows("kodcode"), 80)
    verdicts = pool.grade_code_many([(r["solution"], r["tests"]) for r in data])
    failed = {r["id"]: v for r, v in zip(data, verdicts, strict=True) if v.name != "correct"}
    assert not failed


def test_mutated_solutions_fail_where_a_fresh_interpreter_says_so(pool):
    quick = [r for r in rows("kodcode") if "import pytest" not in r["tests"]]
    data = random.Random(5).sample(quick, 40)
    mutants = [(r, m) for r in data if (m := mutate(r["solution"], r["id"]))]
    truth = [fresh_interpreter_passes(m, r["tests"], 3) for r, m in mutants]
    # What does not end is test_sandbox's; here no limit of the pool is to decide.
    mutants = [mutant for mutant, passes in zip(mutants, truth, strict=True) if passes is not None]
    truth = [passes for passes in truth if passes is not None]
    verdicts = pool.grade_code_many([(m, r["tests"]) for r, m in mutants], timeout_s=60.0)
    assert 10 < truth.count(False) < len(truth)
    for (row, mutant), verdict, passes in zip(mutants, verdicts, truth, strict=True):
        assert (verdict.name == "correct") == passes, (row["id"], verdict, mutant)
