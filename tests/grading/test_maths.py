# ruff: noqa: E501 (tables)
"""The maths grader: what is the same, what differs, real references, and hostile answers."""

import collections
import random
import time

import pytest

from entropy_mech.grading import grade_math
from entropy_mech.grading.mathematics.normal import boxed_answers, boxes
from tests.grading import math_families, math_meanings, math_pairs, math_relatives
from tests.grading.not_finite import NOT_FINITE
from tests.grading.perturbations import KINDS, perturbations
from tests.grading.real_rows import rows

SETS = ["math500", "aime24", "aime25", "amc", "olympiadbench", "omni_math", "minerva_math"]
# References that no boxed answer can repeat: an opening brace in them is never closed, so the
# box around them is not closed either.
NOT_BOXABLE = {"omni-rule-183", "omni-rule-682", "omni-rule-710", "omni-rule-1469"}


TABLES = (math_pairs, math_families, math_relatives, math_meanings)
SAME = [pytest.param(pairs, id=kind) for table in TABLES for kind, pairs in table.SAME.items()]
DIFFERENT = [
    pytest.param(pairs, id=kind) for table in TABLES for kind, pairs in table.DIFFERENT.items()
]
# Undecided within the limit is as good as wrong where that takes more digits than can be had.
NOT_RIGHT = ("wrong", "timeout", "no_answer")


@pytest.mark.parametrize("pairs", SAME)
def test_same_answers(pool, pairs):
    verdicts = pool.grade_math_many([(rf"\boxed{{{a}}}", r) for a, r in pairs], timeout_s=30)
    failed = [(p, v) for p, v in zip(pairs, verdicts, strict=True) if v.name != "correct"]
    assert not failed


@pytest.mark.parametrize("pairs", DIFFERENT)
def test_different_answers(pool, pairs):
    verdicts = pool.grade_math_many([(rf"\boxed{{{a}}}", r) for a, r in pairs], timeout_s=30)
    failed = [(p, v) for p, v in zip(pairs, verdicts, strict=True) if v.name not in NOT_RIGHT]
    assert not failed


FINITE = ["0", "1", "-1", "17", "0.5", r"\frac12", r"\sqrt2", r"\pi", "x", "x+1", "x=5", "x>5", "y=2x", "1,2", "(4,9)", "[0,1]", r"\{1,2\}",
          r"\pm1", "1:2", r"(0,1)\cup(2,3)", r"\begin{pmatrix}1\\2\end{pmatrix}", r"\text{even}", r"50\%", r"3\text{ cm}", "204_5", "3-2i", "100!"]  # fmt: skip


@pytest.mark.parametrize("answer_from", ["box", "anywhere"])
def test_what_is_not_finite_is_no_finite_answer(pool, answer_from):
    assert len(set(NOT_FINITE)) > 110
    form = r"\boxed{%s}" if answer_from == "box" else "The answer is $%s$."
    pairs = [(form % f, reference) for f in NOT_FINITE for reference in FINITE]
    verdicts = pool.grade_math_many(pairs, answer_from=answer_from, timeout_s=30)
    assert [p for p, v in zip(pairs, verdicts, strict=True) if v.name not in NOT_RIGHT] == []


def test_what_is_not_finite_against_real_references(pool):
    """A sample; benchmarks/grading_real_rows.py runs all and keeps the table."""
    references = [row["answer"] for name in SETS for row in rows(name)]
    rng = random.Random(22617)
    pairs = [(rf"\boxed{{{rng.choice(NOT_FINITE)}}}", r) for r in rng.sample(references, 1500)]
    verdicts = pool.grade_math_many(pairs)
    assert [p for p, v in zip(pairs, verdicts, strict=True) if v.reward] == []


@pytest.mark.parametrize("name", [*SETS, "gsm8k_test", "dapo_math"])
def test_every_real_reference_agrees_with_itself(pool, name):
    data = rows(name)
    verdicts = pool.grade_math_many(
        [(rf"It is $\boxed{{{r['answer']}}}$.", r["answer"]) for r in data]
    )
    failed = {r["id"]: v for r, v in zip(data, verdicts, strict=True) if v.name != "correct"}
    assert {k: v.name for k, v in failed.items()} == {
        r["id"]: "no_answer" for r in data if r["id"] in NOT_BOXABLE
    }


# Perturbed and still right, and why.
STILL_RIGHT = {
    "test/precalculus/659.json": "0g is 0, so the equation is the same",
    "omni-rule-296": "43 over 22 is 43 over 21",
    "omni-rule-957": "(-1)^(n+3) is (-1)^(n+1)",
    "olympiadbench-1938": "f(X)=-1 is the same function as f(x)=-1",
    "olympiadbench-2029": "f(X)=1 is the same function as f(x)=1",
    "minerva-62": "0m is 0, so the equation is the same",
    "minerva-89": "0m is 0, so the equation is the same",
}


def test_perturbed_references_are_rejected(pool):
    """A sample of numbers and all letters; benchmarks/grading_real_rows.py runs all."""
    data = [row for name in SETS for row in rows(name)]
    changed = [(r, *p) for r in data for p in perturbations(r["answer"], r["id"])]
    rng = random.Random(22617)
    changed = [c for c in changed if c[1] not in ("number", "sign", "digits") or rng.random() < 0.1]
    assert len(changed) > 1500
    assert {kind for _, kind, _ in changed} == set(KINDS)
    verdicts = pool.grade_math_many([(rf"\boxed{{{c}}}", r["answer"]) for r, _, c in changed])
    accepted = {r["id"]: c for (r, _, c), v in zip(changed, verdicts, strict=True) if v.reward}
    assert accepted.keys() <= STILL_RIGHT.keys(), accepted


def test_other_spellings_of_real_references(pool):
    data = [r for r in rows("math500") if r.get("answer_prime_cleaned")]
    pairs = [(rf"\boxed{{{r['answer_prime_cleaned']}}}", r["answer"]) for r in data]
    pairs += [(rf"\boxed{{{r['answer_raw']}}}", r["answer"]) for r in rows("amc")]
    pairs += [(rf"\boxed{{00{r['answer']}}}", r["answer"]) for r in rows("aime24")]
    pairs += [(rf"\boxed{{{r['answer_raw']}}}", r["answer"]) for r in rows("olympiadbench")]
    assert [
        p for p, v in zip(pairs, pool.grade_math_many(pairs), strict=True) if not v.reward
    ] == []


# Where this grader departs from the verdicts that peers pin for theirs, and why.
DISAGREEMENTS = {
    "g0029": "the peer's option reads no \\( \\) over several lines; the answer 9 is there and right",
    "g0032": "upstream pins 1/2 = 10/9 as an answer, which is false",
    "g0094": "upstream pins 5+5+1 = 7 = 11 as an answer, which is false",
    "g0109": "upstream pins 3+3 = 2 as an answer, which is false",
    "g0181": "pinned under an option that forbids comparing a relation with an interval (g0180 allows it)",
    "g0244": "f(y) for f(x), pinned under strict=False; names of variables matter here",
    "g0254": "upstream pins 1 + 1/e as equal to 1 - 1/e, which is false",
    "g0260": "several answers count in any order here",
    "g0267": "several answers count in any order here",
    "g0326": "the peer reads no numbers in words and gives no verdict",
    "g0327": "the peer reads no numbers in words and gives no verdict",
    "g0336": "the peer wants the right answer in a certain form",
    "g0337": "the peer reads no numbers in words and gives no verdict",
}
# False as mathematics, or no verdict: not counted for either grader.
NOT_COUNTED = {"g0032", "g0094", "g0109", "g0254", "g0326", "g0327", "g0337"}
# Agreement of math-verify 0.9 on what is counted: parse and verify as they come, or with dollar
# signs put around bare texts, whichever agrees more often.
PLAIN_MATH_VERIFY = {"huggingface/Math-Verify": 153, "hendrycks/math": 13, "huggingface/trl": 11}


def test_agreement_with_the_cases_of_peers(pool):
    """Responses without a box are searched for their answer, as the peers do it."""
    cases = rows("grader_cases")
    agree = collections.Counter()
    departures = set()
    for case in cases:
        where = "box" if "\\boxed" in case["pred"] else "anywhere"
        verdict = pool.grade_math(case["pred"], case["gold"], answer_from=where)
        same = (verdict.name == "correct") == bool(case["expected"])
        agree[case["source"]] += same and case["id"] not in NOT_COUNTED
        if not same:
            departures.add(case["id"])
    assert departures == set(DISAGREEMENTS)
    for source, count in PLAIN_MATH_VERIFY.items():
        assert agree[source] >= count


@pytest.mark.parametrize(
    ("response", "answers"),
    [
        (r"so \boxed{\frac{1}{\sqrt{2}}} done", [r"\frac{1}{\sqrt{2}}"]),
        (r"\boxed{1}, wait, no." + "\n\n" + r"It is \boxed{2}. Check: fine.", ["2"]),
        (r"\boxed{1} and \boxed{2}", ["2", "1, 2"]),
        (r"\boxed{7} and then \boxed{8", ["7"]),
        (r"\boxed {9}", ["9"]),
        (r"\fbox{9}", ["9"]),
        (r"\boxed 9$", ["9"]),
        (r"\boxed{\{1,2\}}", [r"\{1,2\}"]),
        (r"\boxed{x = \boxed{5}}", ["x = (5)"]),
        (r"\boxed{}", [""]),
        (r"\boxed{5}. Put the final answer in \boxed{}.", ["5"]),
        (r"\boxed{5} \boxed{\ } \boxed{...}", ["5"]),
        (r"\boxed{", []),
        ("none", []),
    ],
)
def test_boxes(response, answers):
    assert boxed_answers(response) == answers


def test_reasons_for_no_reward():
    assert grade_math("I do not know, maybe 5", "5").name == "no_answer"
    assert grade_math("", "5").name == "no_answer"
    assert grade_math(r"\boxed{}", "5").reason == "the box is empty"
    assert grade_math(None, "5").name == "no_answer"
    assert grade_math(r"\boxed{5}", "").name == "error"
    assert grade_math(r"\boxed{5}", []).name == "error"
    assert grade_math(r"<think>\boxed{5}</think> I give up", "5").name == "no_answer"
    assert grade_math(r"<think>\boxed{4}</think> \boxed{5}", "5").name == "correct"


def test_where_the_answer_may_stand():
    assert grade_math(r"$\frac{1}{2}$", "0.5").name == "correct"
    assert grade_math(r"$\frac{1}{2}$", "0.5", answer_from="box").name == "no_answer"
    assert grade_math("The answer is $5$.", "5").name == "no_answer"
    assert grade_math("The answer is $5$.", "5", answer_from="anywhere").name == "correct"
    closing = "Final Answer: The final answer is $5$. I hope it is correct."
    assert grade_math(closing, "5").name == "correct"


def test_tolerances_and_several_references():
    assert grade_math(r"\boxed{9.81}", "9.8").name == "wrong"
    assert grade_math(r"\boxed{9.81}", "9.8", relative_tolerance=0.01).name == "correct"
    assert grade_math(r"\boxed{9.95}", "9.8", relative_tolerance=0.01).name == "wrong"
    assert grade_math(r"\boxed{9.9}", "9.8", absolute_tolerance=0.1).name == "correct"
    assert grade_math(r"\boxed{-9.9}", "9.8", absolute_tolerance=0.1).name == "wrong"
    assert grade_math(r"\boxed{(1.001, 2)}", "(1,2)", absolute_tolerance=0.01).name == "correct"
    assert grade_math(r"\boxed{41.8^\circ}", ["42", "41.8"]).name == "correct"
    assert grade_math(r"\boxed{7}", 7).name == "correct"


HOSTILE = {
    "tower of powers": r"9^{9^{9^{9}}}",
    "plain tower": "9**9**9**9",
    "deep exponent": r"2^{1/2^{1000}}",
    "factorial": "(10^{9})!",
    "factorials": "((((9!)!)!)!)!",
    "nested braces": "{" * 100_000 + "1" + "}" * 100_000,
    "nested fractions": r"\frac{1}{" * 40 + "2" + "}" * 40,
    "nested roots": r"\sqrt{" * 55 + "2" + "}" * 55,
    "long sum": "+".join(["x"] * 1500),
    "long list": ",".join(map(str, range(1500))),
    "long number": "9" * 3900,
    "longer number": "9" * 100_000,
    "long exponent": "1e999999999",
    "many digits and a power": "1.5e9999",
    "huge binomial": r"\binom{10^{9}}{5 \cdot 10^{8}}",
    "endless sum": r"\sum_{n=1}^{\infty} \frac{\sin(n^3)}{n^2}",
    "hard integral": r"\int_0^1 x^{x^{x^{x}}} dx",
    "modulus": r"7^{10^{100}} \bmod 13",
    "many unions": r"\cup".join(["(0,1)"] * 400),
    "many signs": "-" * 3000 + "1",
    "many plus-minus": r"\pm1" * 200,
    "unclosed": r"\frac{" * 500,
    "commands": "\\" * 3999,
    "spaces": "1" + " " * 3000 + "2",
    "code": "__import__('os').system('touch /tmp/escaped')",
    "null": "\x00\ud800\u202e",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_end_in_time_with_a_name(pool, name):
    pool.grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")  # the workers are warm
    for reference in ("x^2+1", "12"):
        verdict = pool.grade_math(rf"\boxed{{{HOSTILE[name]}}}", reference, timeout_s=0.4)
        assert verdict.name in ("wrong", "timeout", "no_answer")
        assert verdict.reason
        assert len(verdict.reason) < 600


def test_an_endless_comparison_is_ended_and_the_next_one_is_judged(pool):
    endless = r"\boxed{\sum_{n=1}^{\infty} \frac{\sin(n^3)}{n^2}}"
    assert pool.grade_math(endless, r"\sqrt{8}", timeout_s=0.2).name in ("timeout", "wrong")
    assert pool.grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}").name == "correct"


def test_long_responses_with_many_boxes_are_read_in_time():
    start_s = time.monotonic()
    assert grade_math(r"\boxed{1}" * 50_000 + r"\boxed{2}", "2").name == "correct"
    assert grade_math(r"\boxed{" * 50_000, "2").name == "no_answer"
    assert len(boxes(r"\boxed{1} {" * 20_000)) == 20_000
    assert time.monotonic() - start_s < 60  # a quadratic search would take hours
