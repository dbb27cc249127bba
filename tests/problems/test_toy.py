"""Toy sums: right answers, levels, and training sets that never hold a validation problem."""

import itertools

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.problems.toy import (
    ALPHABET,
    Demonstrations,
    ModularChains,
    ToyProblem,
    character_tokenizer,
)

SHARES = {2: 0.7, 4: 0.15, 5: 0.15}


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("(0)", "correct"),
        ("6+0=6;6+4=0;(0)", "correct"),
        ("6+0=9;(0)", "correct"),  # the reward looks at the answer alone
        ("(3)(0)", "correct"),
        ("(0)(3)", "wrong"),
        ("0", "no_answer"),
        ("(0", "no_answer"),
        ("(10)", "no_answer"),
        ("", "no_answer"),
    ],
)
def test_verdicts(response, verdict):
    assert ToyProblem((6, 0, 4), 10).grade(response).name == verdict


@pytest.mark.parametrize("seed", range(5))
def test_training_and_validation_never_overlap(seed):
    family = ModularChains(10)
    training = {p.prompt for p in family.training_set(seed, 3000, SHARES)}
    for other in range(3):
        held_out = family.validation_set(other, {2: 18, 4: 300, 5: 300})
        assert len({p.prompt for p in held_out}) == 618
        assert not training & {p.prompt for p in held_out}


def test_levels_have_their_shares():
    terms = [len(p.terms) for p in ModularChains(10).training_set(1, 4000, SHARES)]
    for level, share in SHARES.items():
        assert abs(terms.count(level) / 4000 - share) < 4 * np.sqrt(share * (1 - share) / 4000)


def test_no_held_out_problem_is_ever_drawn_and_no_other_is_left_out():
    stream = itertools.islice(ModularChains(10).stream(3, {2: 1.0}), 5000)
    drawn = {p.prompt for p in stream}
    every = [ToyProblem((a, b), 10, "+") for a in range(10) for b in range(10)]
    assert drawn == {p.prompt for p in every if not p.held_out}


def test_a_seed_names_its_problems():
    family = ModularChains(7)
    assert family.training_set(1, 50, SHARES) == family.training_set(1, 80, SHARES)[:50]
    assert family.training_set(1, 50, SHARES) != family.training_set(2, 50, SHARES)
    assert all(0 <= t < 7 for p in family.training_set(1, 50, SHARES) for t in p.terms)


def test_demonstrations_err_as_often_as_they_are_told():
    rng = np.random.default_rng(0)
    problems = list(itertools.islice(ModularChains(10).stream(0, {4: 1.0}), 4000))
    teacher = Demonstrations(0.3, 0.0, 0.15)
    answers = [teacher.answer(p, rng) for p in problems]
    in_steps = np.array(["=" in a for a in answers])
    right = np.array([p.grade(a).reward for p, a in zip(problems, answers, strict=True)])
    assert abs(in_steps.mean() - 0.3) < 0.03
    assert right[in_steps].all()
    assert abs(right[~in_steps].mean() - 0.85) < 0.03


def test_chains_are_read_from_left_to_right():
    problem = ToyProblem((6, 2, 4, 5), 10, "-*+")
    assert problem.prompt == "6-2*4+5="
    assert problem.reference == "1"  # ((6 - 2) * 4 + 5) mod 10, not 6 - 8 + 5
    assert ToyProblem((2, 7), 10, "-").reference == "5"
    rng = np.random.default_rng(0)
    assert Demonstrations(1.0, 0.0, 0.0).answer(problem, rng) == "6-2=4;4*4=6;6+5=1;(1)"


def test_operations_occur_alike_often():
    problems = ModularChains(10, "+*").training_set(1, 2000, {4: 1.0})
    signs = "".join(p.operations for p in problems)
    assert set(signs) == {"+", "*"}
    assert abs(signs.count("+") / len(signs) - 0.5) < 0.03


def test_two_terms_are_one_step():
    rng = np.random.default_rng(0)
    answers = {Demonstrations(0.5, 0, 0).answer(ToyProblem((3, 4), 10), rng) for _ in range(40)}
    assert answers == {"(7)", "3+4=7;(7)"}


def test_tokenizer_is_one_token_a_character_and_back():
    tokenizer = character_tokenizer(ALPHABET)
    assert len(tokenizer) == len(ALPHABET) + 3
    ids = tokenizer("6+0=6;(0)")["input_ids"]
    assert len(ids) == 9
    assert tokenizer.decode(ids) == "6+0=6;(0)"
    assert tokenizer.decode([*ids, 1, 0, 0], skip_special_tokens=True) == "6+0=6;(0)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.training_set(1, 0, SHARES), "the training set is empty"),
        (lambda f: f.training_set(1, 5, {1: 1.0}), "at least 2 terms"),
        (lambda f: f.training_set(1, 5, {}), "give a positive share"),
        (lambda f: f.validation_set(1, {2: 99}), "only 27 held-out problems have 2 terms"),
        (lambda f: f.validation_set(1, {}), "no problem is asked"),
        (lambda f: ModularChains(11), "whole number from 2 to 10"),
        (lambda f: ModularChains(10, "+/"), "give some of"),
        (lambda f: ModularChains(10, "++"), "each once"),
    ],
)
def test_impossible_sets_are_refused(call, message):
    with pytest.raises(UserError, match=message):
        call(ModularChains(10))
