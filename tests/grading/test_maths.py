# ruff: noqa: E501 (tables)
"""The maths grader: what is the same, what differs, real references, and hostile answers."""

import collections
import math
import random
import time

import pytest

from entropy_mech.grading import grade_math
from entropy_mech.grading.mathematics.extract import boxed_answers, boxes
from tests.grading.math_pairs import DIFFERENT, SAME
from tests.grading.perturbations import perturbations
from tests.grading.real_rows import rows

SETS = ["math500", "aime24", "aime25", "amc", "olympiadbench", "omni_math", "minerva_math"]
# References that no boxed answer can repeat: an opening brace in them is never closed, so the
# box around them is not closed either.
NOT_BOXABLE = {"omni-rule-183", "omni-rule-682", "omni-rule-710", "omni-rule-1469"}


@pytest.mark.parametrize("kind", SAME)
def test_same_answers(pool, kind):
    verdicts = pool.grade_math_many([(rf"\boxed{{{a}}}", r) for a, r in SAME[kind]])
    failed = [(p, v) for p, v in zip(SAME[kind], verdicts, strict=True) if v.name != "correct"]
    assert not failed


@pytest.mark.parametrize("kind", DIFFERENT)
def test_different_answers(pool, kind):
    verdicts = pool.grade_math_many([(rf"\boxed{{{a}}}", r) for a, r in DIFFERENT[kind]])
    failed = [(p, v) for p, v in zip(DIFFERENT[kind], verdicts, strict=True) if v.name != "wrong"]
    assert not failed


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


def test_perturbed_references_are_rejected(pool):
    """A sample; benchmarks/grading_real_rows.py runs all and keeps the table."""
    data = [row for name in SETS for row in rows(name)]
    chosen = random.Random(22617).sample(data, 400)
    changed = [(r, *p) for r in chosen for p in perturbations(r["answer"], r["id"])]
    assert len(changed) > 700
    assert {kind for _, kind, _ in changed} == {"number", "sign", "element", "end"}
    verdicts = pool.grade_math_many([(rf"\boxed{{{c}}}", r["answer"]) for r, _, c in changed])
    accepted = [(r["id"], c) for (r, _, c), v in zip(changed, verdicts, strict=True) if v.reward]
    assert len(accepted) <= math.floor(0.001 * len(changed)), accepted


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
    "g0181": "pinned under an option that forbids comparing a relation with an interval (g0180 allows it)",
    "g0244": "f(y) for f(x), pinned under strict=False; names of variables matter here",
    "g0254": "upstream pins 1 + 1/e as equal to 1 - 1/e, which is false",
    "g0260": "several answers count in any order here",
    "g0267": "several answers count in any order here",
    "g0326": "the reference is a sentence and the response repeats it; the peer gives no verdict",
    "g0336": "no box but the right answer; wrapped in a box for this test, so it is an answer",
}
# Agreement of math-verify 0.9, parse and verify as they come, measured on the same cases.
PLAIN_MATH_VERIFY = {"huggingface/Math-Verify": 157, "hendrycks/math": 7, "huggingface/trl": 14}


def test_agreement_with_the_cases_of_peers(pool):
    """Cases without a box are put into one, as this grader wants it."""
    cases = rows("grader_cases")
    boxed = [c["pred"] if "\\boxed" in c["pred"] else rf"\boxed{{{c['pred']}}}" for c in cases]
    verdicts = pool.grade_math_many([(b, c["gold"]) for b, c in zip(boxed, cases, strict=True)])
    agree = collections.Counter()
    departures = set()
    for case, verdict in zip(cases, verdicts, strict=True):
        same = (verdict.name == "correct") == bool(case["expected"])
        agree[case["source"]] += same
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
        start_s = time.monotonic()
        verdict = pool.grade_math(rf"\boxed{{{HOSTILE[name]}}}", reference, timeout_s=0.4)
        assert time.monotonic() - start_s < 0.4 + 1
        assert verdict.name in ("wrong", "timeout", "no_answer")
        assert verdict.reason
        assert len(verdict.reason) < 600


def test_long_responses_with_many_boxes_are_read_in_time():
    start_s = time.monotonic()
    assert grade_math(r"\boxed{1}" * 50_000 + r"\boxed{2}", "2").name == "correct"
    assert grade_math(r"\boxed{" * 50_000, "2").name == "no_answer"
    assert len(boxes(r"\boxed{1} {" * 20_000)) == 20_000
    assert time.monotonic() - start_s < 5
