"""References as data sets hold them: numbers of any library, worked solutions, and what is none."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from entropy_mech.errors import UserError
from entropy_mech.grading import grade_math
from entropy_mech.grading.maths import reference_texts
from entropy_mech.integrations.rewards import math_reward, verl_math_score
from entropy_mech.problems.grading import MathProblem

SOLUTION = "She sold 48/2 = <<48/2=24>>24 clips in May.\nTogether 24+48=72.\n#### 72"
READ = [  # (an answer, the reference that it is)
    ("72", SOLUTION),
    ("72", "24+48=72\n#### 72"),
    ("1006", "So\n#### 1,006"),
    ("-5", "one line #### -5"),
    (r"\frac{1}{2}", "half of it\n#### 1/2"),
    ("4", r"#### Step 1. Hence \boxed{4}."),
    ("142", 142),
    ("142", 142.0),
    ("142", np.int64(142)),
    ("142", np.uint8(142)),
    ("142", np.float64(142)),
    ("142", np.float32(142)),
    ("142", np.array(142)),
    ("142", Decimal("142.00")),
    ("142", b"142"),
    ("0.1", np.float32(0.1)),
    ("0.1", np.float64(0.1)),
    ("0.00000012", 1.2e-7),
    ("12345678901234567890", 12345678901234567890),
    ("7" + 40 * "0", 7 * 10**40),
    ("10^{22}", 1e22),
    ("0", -0.0),
    (r"\frac{1}{3}", Fraction(1, 3)),
    ("True", True),
    ("True", np.bool_(True)),
    ("3", ["2", 3]),
    ("3", ("2", 3.0)),
    ("3", np.array(["2", "3"])),
    ("3", np.array([2.0, 3.0])),
    ("3", pd.Series([2, 3])),
]
NONE = [
    None, float("nan"), np.nan, np.float32("nan"), Decimal("nan"), pd.NA, pd.NaT, "", "  \n", "nan",
    "NaN", "<NA>", "None", "null", [], (), np.array([]), ["3", None], [float("nan")], {"answer": 3},
    type("Thing", (), {"__repr__": lambda _: "a thing"})(), datetime.date(2024, 1, 1), 3 + 1j,
]  # fmt: skip
EMPTY_WHEN_READ = ["$$", r"\boxed{}", "no answer follows\n####"]


@pytest.mark.parametrize(("answer", "reference"), READ, ids=lambda value: str(type(value)))
def test_references_are_read(answer, reference):
    assert grade_math(rf"\boxed{{{answer}}}", reference).name == "correct"
    assert grade_math(r"\boxed{24}", reference).name == "wrong"
    graded = math_reward()(completions=[rf"\boxed{{{answer}}}"], answer=[reference])
    assert graded == [1.0]
    assert verl_math_score("any", rf"\boxed{{{answer}}}", reference)["score"] == 1.0
    problem = MathProblem("id", "?", reference)
    assert problem.grade(rf"\boxed{{{answer}}}").name == "correct"
    assert isinstance(problem.reference, str)


@pytest.mark.parametrize("reference", NONE + EMPTY_WHEN_READ, ids=repr)
def test_what_is_no_reference_is_an_error_with_its_reason(reference):
    for answer in ("3", "nan", "None", ""):
        verdict = grade_math(rf"\boxed{{{answer}}}", reference)
        assert verdict.name == "error"
        assert "is no reference" in verdict.reason or "the reference is empty" in verdict.reason
        assert "\n" not in verdict.reason
    assert math_reward()(completions=[r"\boxed{3}"], answer=[reference]) == [None]


@pytest.mark.parametrize("reference", NONE, ids=repr)
def test_no_problem_is_made_without_a_reference(reference):
    with pytest.raises(UserError, match=r"problem p-7: .*(is no reference|reference is empty)"):
        MathProblem("p-7", "?", reference)


def test_a_number_longer_than_python_prints_is_read():
    assert reference_texts(10**5000) == ["1" + 5000 * "0"]


def test_several_forms_stay_several():
    assert reference_texts(["1/2", 0.5, Fraction(1, 2)]) == ["1/2", "0.5", "1/2"]
    assert MathProblem("p", "?", np.array([1, 2])).answer == ("1", "2")
    assert MathProblem("p", "?", [7]).answer == "7"
    assert MathProblem("p", "?", "#### 7").answer == "#### 7"
