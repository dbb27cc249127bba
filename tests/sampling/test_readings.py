"""Strict and lenient accuracy, the form, and pass@k, against cases worked by hand."""

import math
from itertools import combinations

import numpy as np
import pytest

from entropy_mech.config.files import make_config, run_id
from entropy_mech.errors import UserError
from entropy_mech.evaluation.suite import Evaluation, Score
from entropy_mech.grading.verdict import Verdict
from entropy_mech.problems.grading import MathProblem, grade_many, last_number, readings
from entropy_mech.problems.toy import ArithmeticProblem, ToyProblem
from entropy_mech.runs import launch
from entropy_mech.runs.store import write_json
from entropy_mech.sampling.sampler import EvalResult, Sample, pass_at, powers_of_two
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.tasks import Grader
from tests.conftest import tiny

SUM = ArithmeticProblem(7, "*+-", (8, 9, 4))  # 7*8+9-4 = 61
TEXT = MathProblem("1", "What is 1,200 + 34?", "1234")


@pytest.mark.parametrize(
    ("problem", "response", "graded", "strict", "lenient", "form"),
    [
        (SUM, "61", 1, 1, 1, 1),
        (SUM, "56+9-4=65-4=61", 1, 1, 1, 1),
        (SUM, " 56 + 9 - 4 = 65 - 4 = 61\n", 1, 1, 1, 1),
        (SUM, "=061", 1, 1, 1, 1),
        (SUM, "56+9-4=65-4=60", 0, 0, 0, 1),
        (SUM, "-61", 0, 0, 0, 1),
        (SUM, "The answer is 61.", 0, 0, 1, 0),
        (SUM, "56+9-4=65-4=61 apples", 0, 0, 1, 0),
        (SUM, "61 and not 60", 0, 0, 0, 0),
        (SUM, "56+9-4=65-4", 0, 0, 0, 0),
        (SUM, "", 0, 0, 0, 0),
        (SUM, "sixty-one", 0, 0, 0, 0),
        (TEXT, r"They are \boxed{1234}.", 1, 1, 1, 1),
        (TEXT, r"\boxed{1,234}, as in 2024", 1, 1, 1, 1),
        (TEXT, "1234", 1, 0, 1, 0),  # graded as a bare answer, which has not the form
        (TEXT, "So it is 1,234.", 0, 0, 1, 0),
        (TEXT, "So it is 1234.0 in all.", 0, 0, 1, 0),
        (TEXT, "1234, or was it 1235?", 0, 0, 0, 0),
        (TEXT, r"It is 1234, so \boxed{1235}", 0, 0, 0, 1),
        (TEXT, r"\boxed{1235}, no: 1234", 0, 0, 1, 1),
        (TEXT, "no idea", 0, 0, 0, 0),
    ],
)
def test_a_response_is_read_in_each_way(problem, response, graded, strict, lenient, form):
    verdict = problem.grade(response)
    found = readings([problem], [response], [verdict], grade_many)
    assert verdict.reward == graded
    assert {name: int(one[0]) for name, one in found.items()} == {
        "strict": strict, "lenient": lenient, "form": form,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("x", ""), ("a1b2", "2"), ("-7", "-7"), ("3-7", "7"), ("= -7", "-7"),
        ("1,234,567", "1234567"),
        ("1,23", "23"), ("12.50 dollars", "12.50"), ("7.", "7"), ("v1.2.3", "3"),
        ("$1,000.5", "1000.5"),
        ("٣", ""), ("1e5", "5"), ("1234,567", "567"),
    ],
)  # fmt: skip
def test_the_last_number(text, number):
    assert last_number(text).replace(",", "") == number


def test_lenient_is_never_below_graded_nor_strict_above_it():
    rng = np.random.default_rng(0)
    pieces = ["61", "=", "56", "+9", "-4", " ", "apples", "60", "."]
    texts = ["".join(rng.choice(pieces, rng.integers(1, 6))) for _ in range(400)]
    problems = [SUM] * len(texts)
    verdicts = grade_many(problems, texts)
    found = readings(problems, texts, verdicts, grade_many)
    graded = np.array([v.name == "correct" for v in verdicts])
    assert (found["strict"] <= graded).all()
    assert (graded <= found["lenient"]).all()
    assert (found["strict"] <= found["form"]).all()
    assert found["lenient"].sum() > graded.sum() > 0


# -- pass@k --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "samples", "k", "value"),
    [
        ([0], 1, 1, 0.0),
        ([1], 1, 1, 1.0),
        ([1], 4, 1, 1 / 4),
        ([1], 4, 2, 1 / 2),  # 1 - C(3, 2) / C(4, 2) = 1 - 3 / 6
        ([2], 4, 2, 5 / 6),  # 1 - C(2, 2) / 6
        ([3], 4, 2, 1.0),
        ([1], 32, 32, 1.0),
        ([0, 1, 4], 4, 3, (0 + 3 / 4 + 1) / 3),
        ([3], 32, 8, 1 - math.comb(29, 8) / math.comb(32, 8)),
    ],
)
def test_pass_at_k_by_hand(right, samples, k, value):
    assert pass_at(k, np.array(right), samples) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 5, 7])
def test_pass_at_k_counts_all_ways_to_draw(samples):
    for c in range(samples + 1):
        outcomes = [1] * c + [0] * (samples - c)
        for k in range(1, samples + 1):
            drawn = [any(chosen) for chosen in combinations(outcomes, k)]
            assert pass_at(k, np.array([c]), samples) == pytest.approx(np.mean(drawn), abs=1e-12)


@pytest.mark.parametrize("k", [0, -1, 5, 1.5])
def test_more_than_was_sampled_is_refused(k):
    with pytest.raises(UserError, match="pass@k of 4 samples: give 1 to 4"):
        pass_at(k, np.array([1]), 4)


@pytest.mark.parametrize("right", [5, -1, 1.5])
def test_counts_beyond_the_samples_are_refused(right):
    with pytest.raises(UserError, match="give counts from 0 to 4"):
        pass_at(1, np.array([0, right]), 4)


def test_the_table_goes_up_to_the_samples():
    assert powers_of_two(32) == [1, 2, 4, 8, 16, 32]
    assert powers_of_two(31) == [1, 2, 4, 8, 16]
    assert powers_of_two(1) == [1]


def test_read_another_way_the_samples_stay_and_the_accuracy_moves():
    texts = ["61", "is 61", "60", "is 60"]
    samples = [Sample(SUM, text, SUM.grade(text)) for text in texts]
    result = EvalResult(samples, 2)
    again = result.read_as(np.array([False, True, False, False]))
    assert result.accuracy == again.accuracy == 0.25
    assert [s.verdict.name for s in again.samples] == ["wrong", "correct", "wrong", "no_answer"]
    assert [s.response for s in again.samples] == texts
    assert result.pass_at(1) == 0.25
    assert result.pass_at(2) == 0.5
    assert Verdict("correct", passed=1).reward == 1


def test_a_benchmark_s_score_has_its_readings_and_so_has_the_table(tmp_path):
    texts = [["61", "is 61", "60", "61"], ["no", "no", "61", "is 61"]]
    rows = [
        {"problem": p, "sample": s, "response": text, "verdict": v.name, "reason": v.reason}
        for p in range(2)
        for s, text in enumerate(texts[p])
        for v in [SUM.grade(text)]
    ]
    found = Evaluation(tmp_path, None, None)._readings([SUM, SUM], rows, 4)
    # Right of 4: 2 and 1; so 1 - C(2, 2) / 6 and 1 - C(3, 2) / 6 for two tries.
    assert found == {
        "strict": 3 / 8, "lenient": 5 / 8, "form": 4 / 8,
        "pass_at": {"1": 3 / 8, "2": pytest.approx((5 / 6 + 1 / 2) / 2), "4": 1.0},
    }  # fmt: skip
    assert Evaluation(tmp_path, None, None)._readings([ToyProblem("3", "AD")], [], 1) == {}
    score = Score("arithmetic_1", 2, 4, 3 / 8, 0.1, {}, {}, readings=found)
    assert score.table()["readings"] == found
    assert "readings" not in Score("toy_maths_2", 2, 4, 3 / 8, 0.1, {}, {}).table()


def test_the_table_of_scores_has_a_column_a_reading(tmp_path, monkeypatch):
    read = {"strict": 0.25, "lenient": 0.5, "form": 0.75, "pass_at": {"1": 0.25, "2": 0.4}}
    row = {"benchmark": "arithmetic_1", "accuracy": 0.3, "standard_error": 0.1, "problems": 24,
           "samples": 2}  # fmt: skip
    write_json(tmp_path / "scores.json", {"step": 60, "scores": [{**row, "readings": read}]})
    monkeypatch.setattr(launch, "evaluation_folder", lambda run, group: tmp_path)
    frame = launch.scores(None, "smollm")
    assert list(frame) == [*launch.COLUMNS, "strict", "lenient", "form", "pass_at_1", "pass_at_2"]
    assert frame.iloc[0]["pass_at_2"] == 0.4
    write_json(tmp_path / "scores.json", {"step": 60, "scores": [row]})
    assert list(launch.scores(None, "toy")) == list(launch.COLUMNS)


def test_ranks_without_the_texts_have_rank_0_s_readings():
    texts = ["61", "is 61", "60"]
    verdicts = [SUM.grade(text) for text in texts]
    found = Grader(Ranks()).readings([SUM] * 3, texts, verdicts)
    assert {name: one.tolist() for name, one in found.items()} == {
        "strict": [True, False, False],
        "lenient": [True, True, False],
        "form": [True, False, True],
    }
    assert Grader(Ranks()).readings([ToyProblem("3", "AD")], ["(u)"], verdicts[:1]) == {}

    class Second:
        """Another rank: it never makes what rank 0 makes, and gets it."""

        first = False
        of_first = staticmethod(lambda make: found)

    assert Grader(Second()).readings([None] * 3, [""] * 3, verdicts) is found


# -- Settings ------------------------------------------------------------------------------------


def test_the_settings_leave_the_ids_of_other_runs_alone():
    plain = tiny()
    assert run_id(tiny(validation={"reading": "graded", "details": False})) == run_id(plain)
    assert run_id(tiny(validation={"details": True})) != run_id(plain)


def test_a_toys_answers_have_one_reading():
    with pytest.raises(UserError, match=r"validation\.reading = lenient: the toy world"):
        tiny(validation={"reading": "lenient"})
    assert not hasattr(ToyProblem("3", "AD"), "has_form")
    table = {"model": {"path": "x"}, "problems": {"domain": "arithmetic"}}
    assert make_config({**table, "validation": {"reading": "lenient"}}).validation.reading
