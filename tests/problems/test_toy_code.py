"""Toy code: functions, demonstrations, and many programs judged together as each alone."""

import itertools

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.problems.toy import ALPHABET
from entropy_mech.problems.toy_code import (
    CodeDemonstrations,
    ToyCodeProblem,
    grade_toy_code,
    toy_code_set,
    toy_code_stream,
)

AFFINE = ToyCodeProblem("affine", 2, 3, (1, 4))
TEXTS = [
    "2*x+3", "3+2*x", "x+x+3", "(2*x)+3", "2*x+4", "2*x", "", " ", "2*", "2*x+3;", "2*x+3;x=5",
    "x=2;x", "x(3)", "f(x)", "f", "g_0(x)", "()", "(2*x+3,)", "2**x", "9**9**9**9", "-(0-2)*x+3",
    "2*x+3=", "ff(x)", "2*x+03", "x if 0 else 2*x+3", "print(1) or 2*x+3", "2*x+3\n#", "True*x",
    "f(x)-f(x)+2*x+3", "8-5+x*2", "xx",
]  # fmt: skip


def test_programs_judged_together_are_judged_as_each_alone():
    together = grade_toy_code([AFFINE] * len(TEXTS), TEXTS)
    for text, verdict in zip(TEXTS, together, strict=True):
        alone = AFFINE.grade(text)
        assert (verdict.name, verdict.reward) == (alone.name, alone.reward), text
    right = {t for t, v in zip(TEXTS, together, strict=True) if v.name == "correct"}
    assert right >= {"2*x+3", "3+2*x", "x+x+3", "(2*x)+3", "2*x+3;", "8-5+x*2", "-(0-2)*x+3"}
    assert not right & {"2*x+4", "2*x", "f(x)", "2*x+3="}


def test_random_texts_are_judged_together_as_each_alone():
    rng = np.random.default_rng(4)
    letters = [c for c in ALPHABET if c != "*"]  # without powers nothing takes long
    texts = ["".join(rng.choice(letters, rng.integers(1, 7))) for _ in range(60)]
    problems = list(itertools.islice(toy_code_stream(1, {"shift": 1, "affine": 1}), 60))
    texts[:5] = [p.reference for p in problems[:5]]
    together = grade_toy_code(problems, texts)
    alone = [p.grade(t) for p, t in zip(problems, texts, strict=True)]
    assert [v.name for v in together] == [v.name for v in alone]
    assert [v.passed for v in together[:5]] == [10] * 5


def test_one_endless_program_does_not_cost_the_others_their_verdict():
    verdicts = grade_toy_code([AFFINE] * 3, ["2*x+3", "9**9**9**9", "2*x"])
    assert [v.name for v in verdicts] == ["correct", "timeout", "wrong"]


def test_training_problems_are_never_held_out():
    training = itertools.islice(toy_code_stream(3, {"shift": 1, "scale": 1, "affine": 2}), 3000)
    held_out = {p.prompt for family in ("shift", "scale", "affine")
                for p in toy_code_set(family, 40, held_out=True)}  # fmt: skip
    families = [p.family for p in training if p.prompt not in held_out]
    assert len(families) == 3000
    assert abs(families.count("affine") / 3000 - 0.5) < 0.04


def test_demonstrations_err_as_often_as_they_are_told():
    rng = np.random.default_rng(0)
    problems = list(itertools.islice(toy_code_stream(0, {"shift": 1, "affine": 1}), 2000))
    teacher = CodeDemonstrations(0.25)
    answers = [teacher.answer(p, rng) for p in problems]
    right = [a == p.reference for p, a in zip(problems, answers, strict=True)]
    assert abs(np.mean(right) - 0.75) < 0.03
    assert all(set(a) <= set(ALPHABET) for a in answers)


def test_unknown_families_are_refused():
    with pytest.raises(UserError, match="toy code family"):
        next(toy_code_stream(1, {"cubic": 1.0}))
    with pytest.raises(UserError, match="positive shares"):
        next(toy_code_stream(1, {}))
