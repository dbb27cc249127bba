"""One answer that is right for two references: counted once, named, and never where it is fair."""

import warnings
from pathlib import Path

import pytest

from entropy_mech.grading import GradingPool
from entropy_mech.grading.mathematics.normal import normal
from entropy_mech.grading.mathematics.quantity import split_unit
from entropy_mech.grading.verdict import Verdict
from entropy_mech.problems.benchmarks import load_benchmark
from entropy_mech.problems.grading import CodeProblem, MathProblem, grade_many
from entropy_mech.problems.sources import TRAINING_SETS, load_training_set
from entropy_mech.problems.toy import ToyProblem
from entropy_mech.problems.tripwire import OneAnswerTwoReferences, Tripwire

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"
CORRECT = Verdict("correct")


def maths(*references, **rules):
    return [MathProblem(f"p{i}", "?", ref, **rules) for i, ref in enumerate(references)]


def watched(problems, answer, verdict=CORRECT, wire=None):
    wire = wire or Tripwire()
    wire.watch(problems, [rf"So \boxed{{{answer}}}."] * len(problems), [verdict] * len(problems))
    return wire


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        (r"-\infty", ["17", "204"]),
        (r"-\infty", ["17", "204", r"\sqrt{2}", "(1, 2)"]),
        (r"\ln 0", [r"\frac{1}{2}", r"\frac{1}{3}"]),
        ("4", ["(4, 9)", "4"]),
        ("4k+7", ["4k+7", "7k+4"]),
        ("it is certainly not 9", ["9", "8"]),
        ("7", [("1", "2"), ("3", "4")]),
        ("x", [r"x\sqrt{2}", r"x\sqrt{3}"]),
    ],
)
def test_an_answer_that_is_right_for_different_references_is_named_once(answer, references):
    wire = Tripwire()
    with pytest.warns(OneAnswerTwoReferences) as caught:
        watched(2 * maths(*references), answer, wire=wire)
    assert wire.answers == 1
    (warning,) = caught
    text = str(warning.message)
    assert normal(answer) in text.replace("\\\\", "\\")
    assert "problem p0" in text
    assert "problem p1" in text


FAIR = {
    "the same": ("5", ["5", "5"]),
    "the same, written otherwise": ("5", ["005", "5.0", r"\frac{10}{2}", r"\sqrt{25}", "5"]),
    "a unit that an answer may leave out": ("5", [r"5 \text{ cm}", r"5\mathrm{kg}", "5"]),
    "a base that an answer may leave out": ("52", ["52_8", "52_{7}", "52"]),
    "a name that an answer may leave out": ("5", ["x=5", "y = 5", "5"]),
    "a share": ("50", [r"50\%", "50"]),
    "any order": ("1, 2", ["2, 1", "1, 2"]),
    "one of several forms": ("1/2", [("0.5", "1/2"), ("2/4", "50")]),
}


@pytest.mark.parametrize("name", FAIR)
def test_references_that_are_one_do_not_trip_it(name):
    answer, references = FAIR[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert watched(maths(*references), answer).answers == 0


def test_references_within_the_tolerance_of_one_answer_are_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert watched(maths("3.00", "3.0005", relative_tolerance=1e-4), "3.0002").answers == 0
    with pytest.warns(OneAnswerTwoReferences):
        assert watched(maths("3.00", "3.1", relative_tolerance=1e-4), "3.0002").answers == 1


def test_only_right_answers_to_maths_are_watched():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("wrong", "no_answer", "timeout", "error"):
            assert watched(maths("17", "18"), "3", Verdict(name)).answers == 0
        others = [
            CodeProblem("a", "?", ["assert f()"]),
            ToyProblem("1", "A"),
            ToyProblem("1", "B"),
        ]
        assert watched(others, "3").take_new() == []


@pytest.mark.filterwarnings("ignore::entropy_mech.problems.tripwire.OneAnswerTwoReferences")
def test_a_wire_goes_on_from_what_another_noted():
    problems, answer = maths("17", r"17\text{ cm}", "18", "19"), "0^{-1}"
    noted = watched(problems, answer).take_new()
    assert [row[1] for row in noted] == ["p0", "p1", "p2"]
    for kept in range(len(noted) + 1):
        other = Tripwire()
        other.restore(noted[:kept])
        assert other.answers == (kept == 3)
        watched(problems, answer, wire=other)
        assert other.answers == 1
        assert other.take_new() == noted[kept:]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("entropy_mech.problems.tripwire._MOST_ANSWERS", 10)
    wire = Tripwire()
    for n in range(100):
        watched(maths(str(n)), str(n), wire=wire)
    assert len(wire._accepted) == 10


@pytest.mark.skipif(not DATA.is_dir(), reason="the real rows are not here")
@pytest.mark.parametrize("name", ["math500", "amc", "olympiadbench", "minerva_math", "gsm8k"])
def test_right_answers_to_real_problems_do_not_trip_it(name):
    load = load_training_set if name in TRAINING_SETS else load_benchmark
    problems = list(load(name, DATA).problems)[:500]
    wire = Tripwire()
    with GradingPool(workers=2, error_limit_fraction=1.0) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        for answers in (
            [p.reference for p in problems],
            [split_unit(normal(p.reference))[0] for p in problems],
        ):
            texts = [rf"\boxed{{{answer}}}" for answer in answers]
            wire.watch(problems, texts, grade_many(problems, texts, pool))
    assert wire.answers == 0
