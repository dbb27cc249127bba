"""Toy code: rules, programs that are really run, and many judged together as each alone."""

import numpy as np
import pytest

from entropy_mech.problems.toy import (
    ALPHABET,
    RULES,
    VARIABLES,
    ToyCodeProblem,
    grade_toy_code,
)

CHAIN = ToyCodeProblem("d", "fa")  # f=d*5;a=f-3;
RIGHT = [
    "f=d*5;a=f-3;", "f=d*5;a=f-3", "a=d*5-3;", "a=5*d-3", "a=d+d+d+d+d-3;", "f=3;a=5*d-f;",
    "d=d*5;a=d-3;", "a=-3+d*5;", "a=d*0+5*d-2-1;", "a=(d*5)-3",
]  # fmt: skip
WRONG = [
    "f=d*5;", "f=d*5;a=f-4;", "f=d*5;a=f+3;", "a=d", "a=", "a=d*", "c=d*5-3;", "a=y*5-3;", "",
    " ", ";", "a", "=", "a=a;", "a=a-3", "a=b(d)", "a=d*5-3;a=2;", "a=dd", "a=5d-3", "a=d*5-03",
    "f=d*5\na=f-3", "a=1e9", "a=0x5*d", "a=g_0(d)", "a=f;f=d*5;", "a=d*5-3.5", "a=len", "a=dyz;",
]  # fmt: skip


def test_the_rules_of_the_example():
    assert (RULES["df"], RULES["fa"], CHAIN.solution) == ("*5", "-3", "f=d*5;a=f-3;")
    assert CHAIN.outputs == [5 * x - 3 for x in range(10)]
    assert len(RULES) == len(VARIABLES) * (len(VARIABLES) - 1)
    assert len(set(RULES.values())) == 24


@pytest.mark.parametrize("text", RIGHT + WRONG)
def test_a_program_is_right_if_it_passes_whatever_it_looks_like(text):
    verdict = CHAIN.grade(text)
    assert (verdict.name == "correct") == (text in RIGHT), verdict


def test_programs_judged_together_are_judged_as_each_alone():
    texts = RIGHT + WRONG
    together = grade_toy_code([CHAIN] * len(texts), texts)
    for text, verdict in zip(texts, together, strict=True):
        alone = CHAIN.grade(text)
        assert (verdict.name, verdict.reward) == (alone.name, alone.reward), text


def test_random_texts_and_slips_are_judged_together_as_each_alone():
    stream = np.random.default_rng(4)
    letters = [c for c in ALPHABET if c != "*"]  # without powers nothing takes long
    problems = ToyCodeProblem.training_set(1, 60, {1: 0.5, 3: 0.5})
    texts = [p.demonstrate(stream, 0.1, 0.1) for p in problems]
    for i in range(0, 30, 2):
        place = int(stream.integers(len(texts[i])))
        texts[i] = texts[i][:place] + str(stream.choice(letters)) + texts[i][place + 1 :]
    texts[40:50] = ["".join(stream.choice(letters, stream.integers(1, 9))) for _ in range(10)]
    together = grade_toy_code(problems, texts)
    alone = [p.grade(t) for p, t in zip(problems, texts, strict=True)]
    assert [v.name for v in together] == [v.name for v in alone]
    assert {"correct", "wrong"} <= {v.name for v in together}


def test_one_endless_program_does_not_cost_the_others_their_verdict():
    verdicts = grade_toy_code([CHAIN] * 3, [RIGHT[0], "a=9**9**9**9;", "a=d;"])
    assert [v.name for v in verdicts] == ["correct", "timeout", "wrong"]


def test_solutions_are_right_and_values_of_the_longest_chains_fit():
    problems = ToyCodeProblem.training_set(2, 100, {1: 0.3, 12: 0.7})
    verdicts = grade_toy_code(problems, [p.solution for p in problems])
    assert {(v.name, v.passed) for v in verdicts} == {("correct", 10)}


def test_operators_and_constants_err_as_often_as_they_are_told():
    stream = np.random.default_rng(0)
    problems = ToyCodeProblem.training_set(0, 1500, {4: 1.0})
    wrong = np.zeros(2)
    for problem in problems:
        lines = problem.demonstrate(stream, 0.3, 0.0).split(";")[:-1]
        for line, right in zip(lines, problem.solution.split(";")[:-1], strict=True):
            assert line[:3] == right[:3]
            wrong += [line[3] != right[3], line[4] != right[4]]
    assert wrong / 6000 == pytest.approx([0.3, 0.3], abs=0.02)
