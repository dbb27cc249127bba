"""Arithmetic problems: exact answers, a ladder, and sets that a seed names."""

import itertools

import numpy as np
import pytest

from entropy_mech.problems.toy import ArithmeticProblem

SHARES = {1: 0.3, 2: 0.4, 3: 0.3}


def _drawn(count, shares=SHARES, seed=0):
    return list(
        itertools.islice(ArithmeticProblem.draw(np.random.default_rng(seed), shares), count)
    )


def test_every_problem_has_the_value_that_python_finds_and_no_negative_step():
    for problem in _drawn(2000, {1: 1, 2: 1, 4: 1, 9: 1}):
        expression = problem.prompt.removesuffix(" =")
        assert int(problem.reference) == eval(expression)
        assert min(problem.values) >= 0
        numbers = expression.split()[::2]
        assert all(len(number) == 1 and number >= "2" for number in numbers)
        assert "*" not in expression.split()[3::2]  # a product comes first or not at all


def test_each_step_of_a_solution_is_an_equation_that_holds():
    for problem in _drawn(500, {3: 1, 5: 1}):
        parts = (problem.prompt + problem.solution).split(" = ")
        assert len({eval(part) for part in parts}) == 1
        lengths = [len(part.split()) for part in parts]
        assert lengths == list(range(lengths[0], 0, -2))  # one operation fewer each time


def test_shares_are_those_asked_for_and_a_level_is_named_by_its_steps():
    levels = [problem.level for problem in _drawn(4000)]
    for level, share in SHARES.items():
        assert levels.count(f"{level} steps") / 4000 == pytest.approx(share, abs=0.05)


def test_a_demonstration_is_right_and_direct_as_often_as_asked_for():
    rng = np.random.default_rng(1)
    problem = ArithmeticProblem(7, "*+-", (8, 9, 4))
    texts = [problem.demonstrate(rng, 0.4) for _ in range(1000)]
    assert {problem.grade(text).name for text in texts} == {"correct"}
    assert set(texts) == {" 61", " 56 + 9 - 4 = 65 - 4 = 61"}
    assert texts.count(" 61") / 1000 == pytest.approx(0.4, abs=0.05)
    assert {problem.demonstrate(rng, 1.0) for _ in range(20)} == {" 61"}


def test_training_and_validation_are_apart_whatever_the_seed():
    held_out = {p.prompt for p in ArithmeticProblem.validation_set(0, {1: 24, 2: 24, 3: 24})}
    assert len(held_out) == 72
    for seed in range(3):
        training = ArithmeticProblem.training_set(seed, 2000, SHARES)
        assert not held_out & {problem.prompt for problem in training}
        assert training == ArithmeticProblem.training_set(seed, 2000, SHARES)
        assert training != ArithmeticProblem.training_set(seed + 1, 2000, SHARES)


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("61", "correct"), (" 61", "correct"), ("= 61", "correct"), ("65-4=61", "correct"),
        ("1 = 2 = 61", "correct"), ("0061", "correct"), (" 56 + 9 - 4 = 65 - 4 = 61 ", "correct"),
        ("60", "wrong"), ("-61", "wrong"), ("0", "wrong"), ("65 - 4 = 610", "wrong"),
        ("9" * 10_000, "wrong"),
        ("", "no_answer"), (" ", "no_answer"), ("65 - 4", "no_answer"), ("65 - 4 =", "no_answer"),
        ("61.", "no_answer"), ("x = 61", "no_answer"), ("61 61", "no_answer"), ("6 1", "no_answer"),
        ("٦١", "no_answer"), ("61\n\nNext", "no_answer"), ("= = =", "no_answer"),
    ],
)  # fmt: skip
def test_an_answer_is_the_number_at_the_end(response, verdict):
    assert ArithmeticProblem(7, "*+-", (8, 9, 4)).grade(response).name == verdict
