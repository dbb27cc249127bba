"""The toy world: exact answers, levels, and training sets that never hold a validation problem."""

import itertools

import numpy as np
import pytest

from entropy_mech.errors import UserError
from entropy_mech.problems.toy import (
    ALPHABET,
    FUNCTIONS,
    TABLES,
    TOYS,
    VALUES,
    ToyProblem,
    character_tokenizer,
)

SHARES = {1: 0.2, 2: 0.3, 4: 0.3, 12: 0.2}
both = pytest.mark.parametrize("kind", TOYS.values(), ids=TOYS)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("3A=6;6D=u;(u)", "correct"),
        ("(u)", "correct"),
        ("3A=7;7D=c;(u)", "correct"),  # the reward looks at the answer alone
        ("(c)(u)", "correct"),
        ("(u)(c)", "wrong"),
        ("3A=6;6D=u;(c)", "wrong"),
        ("3A=6;6D=u;", "no_answer"),
        ("(u", "no_answer"),
        ("u)", "no_answer"),
        ("(uu)", "no_answer"),
        ("(C)", "no_answer"),
        ("", "no_answer"),
    ],
)
def test_verdicts(response, verdict):
    assert ToyProblem("3", "AD").grade(response).name == verdict


def test_the_answer_is_what_the_tables_say_one_after_the_other():
    for problem in ToyProblem.training_set(1, 300, SHARES):
        value = problem.start
        for name in problem.names:
            value = TABLES[name][value]
        assert problem.reference == value
        assert problem.grade(problem.solution).name == "correct"
        assert len(problem.solution) == 5 * len(problem.names) + 3


def test_tables_are_the_same_everywhere_and_use_all_values():
    assert "".join(TABLES["A"][v] for v in VALUES) == "z7w6l11ldvk0csp46r1rvosm821zx4o6624f"
    drawn = [TABLES[f][v] for f in FUNCTIONS for v in VALUES]
    assert set(drawn) == set(VALUES)
    assert max(map(drawn.count, VALUES)) < 2 * len(drawn) / len(VALUES)


@both
@pytest.mark.parametrize("seed", range(3))
def test_training_and_validation_never_overlap(kind, seed):
    training = {p.prompt for p in kind.training_set(seed, 3000, SHARES)}
    for other in range(3):
        held_out = kind.validation_set(other, {1: 40, 2: 100, 8: 100})
        assert len({p.prompt for p in held_out}) == 240
        assert not training & {p.prompt for p in held_out}
        assert [p.level for p in held_out] == ["1 steps"] * 40 + ["2 steps"] * 100 + [
            "8 steps"
        ] * 100


@both
def test_levels_have_their_shares(kind):
    steps = [len(p.names) for p in kind.training_set(1, 4000, SHARES)]
    for level, share in SHARES.items():
        assert abs(steps.count(level) / 4000 - share) < 4 * np.sqrt(share * (1 - share) / 4000)


@both
def test_a_name_stands_once_in_a_chain_and_the_first_are_the_commonest(kind):
    problems = kind.training_set(1, 4000, {1: 0.5, 20: 0.5})
    assert all(len(set(p.start + p.names)) == len(p.start + p.names) for p in problems)
    single = "".join(p.names for p in problems if len(p.names) == 1)
    weight = sum(1 / rank for rank in range(1, len(kind.alphabet) + 1))
    # For code a start is not followed by itself, which hardly moves the shares.
    for rank in (1, 2, 8):
        share = single.count(kind.alphabet[rank - 1]) / len(single)
        assert share == pytest.approx(1 / rank / weight, abs=0.02)


@both
def test_no_held_out_problem_is_ever_drawn_and_one_text_in_five_is(kind):
    drawn = list(itertools.islice(kind.draw(rng(), {3: 1.0}), 4000))
    assert abs(np.mean([p.held_out for p in drawn]) - 0.2) < 0.03
    assert not any(p.held_out for p in itertools.islice(kind.training(rng(), {1: 1.0}), 4000))


@both
def test_a_seed_names_its_problems(kind):
    first = kind.training_set(1, 50, SHARES)
    assert first == kind.training_set(1, 80, SHARES)[:50]
    assert first != kind.training_set(2, 50, SHARES)
    assert kind.validation_set(0, {2: 30}) == kind.validation_set(0, {2: 30})


@both
def test_demonstrations_without_errors_are_the_solution_and_stay_in_the_alphabet(kind):
    for problem in kind.training_set(3, 200, SHARES):
        assert problem.demonstrate(rng(), 0.0, 0.0) == problem.solution
        noisy = problem.demonstrate(rng(), 0.5, 0.5)
        assert len(noisy) == len(problem.solution)
        assert set(noisy) <= set(ALPHABET)


def test_demonstrations_err_and_slip_as_often_as_they_are_told():
    stream = rng()
    wrong, slips, steps = 0, 0, 0
    for problem in ToyProblem.training_set(0, 3000, {4: 1.0}):
        before = problem.start
        answer = problem.demonstrate(stream, 0.4, 0.02)
        for name, step in zip(problem.names, answer.split(";")[:-1], strict=True):
            source, function, _, value = step
            slips += (source != before) + (function != name)
            wrong += TABLES[function][source] != value
            steps, before = steps + 1, value
    assert wrong / steps == pytest.approx(0.4, abs=0.02)
    assert slips / steps == pytest.approx(0.04, abs=0.007)


def test_tokenizer_is_one_token_a_character_and_back():
    tokenizer = character_tokenizer(ALPHABET)
    assert len(set(ALPHABET)) == len(ALPHABET) == len(tokenizer) - 3
    text = "3AD=3A=6;6D=u;(u)"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.unk_token_id not in tokenizer(ALPHABET)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([*ids, 1, 0, 0], skip_special_tokens=True) == text


@pytest.mark.parametrize("family", ["qwen2", "llama", "mistral"])
def test_whoever_loads_the_tokenizer_by_the_models_class_reads_the_same(tmp_path, family):
    """Qwen2's own class knows bytes and not characters: the alphabet must be ASCII."""
    from transformers import AutoConfig, AutoTokenizer

    ours = character_tokenizer(ALPHABET)
    ours.save_pretrained(tmp_path)
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (ALPHABET, "3AD=3A=6;6D=u;(u)", "dfa=f=d*5;a=f-3;", "0[=0[=s;"):
        ids = ours(text)["input_ids"]
        assert loaded(text)["input_ids"] == ids
        assert loaded.decode(ids) == ours.decode(ids) == text


@both
def test_impossible_sets_are_refused(kind):
    with pytest.raises(UserError, match=r"validation_counts\.1 = 9999: only \d+ held-out"):
        kind.validation_set(1, {1: 9999})
    with pytest.raises(UserError, match="no problem is asked"):
        kind.validation_set(1, {})
