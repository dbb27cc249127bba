"""Grade an answer to a maths problem: find it, read it, compare it.

Most answers are numbers and never leave the caller's process; what needs algebra goes to
math-verify in a worker process that is killed at the time limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from pathlib import Path

from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.grading import process
from entropy_mech.grading.mathematics.normal import (
    bare_answer,
    boxed_answers,
    normal,
    unfinished_box,
    without_filler,
)
from entropy_mech.grading.mathematics.structure import Closeness, Comparison, NeedsAlgebra
from entropy_mech.grading.verdict import Verdict

ANSWER_FROM = ("box", "box_or_bare", "anywhere")
MAX_ANSWER_CHARACTERS = 4000
MAX_BRACE_DEPTH = 60
LONGEST_TEXT = 100_000
# What a missing value becomes when a table is written as text and read again.
_MISSING = {"", "nan", "NaN", "<NA>", "NaT", "None", "null", "NULL"}
_BOOLEANS = ("bool", "bool_")  # Python's, and NumPy's by either name


class NoReference(ValueError):
    """A value that no answer can be compared with; the message says why."""


@dataclass(frozen=True)
class MathRules:
    r"""What counts as an answer and as the same answer; part of a benchmark's protocol.

    ``answer_from``: ``box`` wants a ``\boxed{}``; ``box_or_bare`` (default) also takes a response
    that is nothing but one line of mathematics; ``anywhere`` lets math-verify search the text.
    ``relative_tolerance`` and ``absolute_tolerance`` apply to numbers (0: equal exactly).
    """

    timeout_s: float = 5.0
    answer_from: str = "box_or_bare"
    relative_tolerance: float = 0.0
    absolute_tolerance: float = 0.0

    def __post_init__(self):
        if not self.timeout_s > 0:
            raise bad_value("timeout_s", self.timeout_s, "give a number of seconds above 0")
        if self.answer_from not in ANSWER_FROM:
            raise unknown_name("answer_from", self.answer_from, ANSWER_FROM)
        for name in ("relative_tolerance", "absolute_tolerance"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise bad_value(name, getattr(self, name), "give a number of at least 0")


class MathWorker(process.ChildServer):
    """A warm process for comparisons that need algebra; starts with the first of them."""

    def __init__(self):
        program = ["-s", "-m", "entropy_mech.grading.mathematics.algebra"]
        super().__init__(lambda: [process.interpreter(), *program], env=_worker_environment)

    def compare(
        self, answers: list[str], references: list[str], prose: list[str], rules: MathRules
    ) -> dict:
        """What was found: ``{"same": bool}``, or why nothing was.

        ``{"late": True}``; for want of memory ``{"died": signal}``; where the worker failed by
        itself ``{"failed": reason}``.
        """
        job = {"answers": answers, "references": references, "prose": prose, **asdict(rules)}
        reason = ""
        for _ in range(2):
            try:
                return self.ask(job, timeout_s=rules.timeout_s + 2)
            except process.ChildTimeout:
                return {"late": True}
            except process.ChildGone as gone:  # by no answer, compared in a process of its own
                reason = str(gone)
            except process.GraderFailed as failed:
                return {"failed": str(failed)}
        return {"failed": reason}


def _worker_environment() -> dict[str, str]:
    names = ("PATH", "LANG", "HOME", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    package = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package, kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONHASHSEED": "0"}


def grade_answer(
    response: str, reference: str | Sequence[str], rules: MathRules, worker: MathWorker
) -> Verdict:
    """Grade with a given worker; :func:`entropy_mech.grading.grade_math` finds one by itself."""
    try:
        raw_references = read_references(reference)
    except NoReference as none:
        return Verdict("error", str(none))
    references = [text for text in map(_readable, raw_references) if text]
    if not references:
        return Verdict("error", f"the reference is empty: {reference!r:.80}")
    raw_answers = find_answers(response, rules)
    if not raw_answers:
        return Verdict("no_answer", "no \\boxed{} in the response")
    limit = LONGEST_TEXT if rules.answer_from == "anywhere" else MAX_ANSWER_CHARACTERS
    raw_answers = [text for text in raw_answers if len(text) <= limit]
    if not raw_answers:
        return Verdict("wrong", f"the answer is longer than {limit} characters")
    answers = list(map(_readable, raw_answers))
    if not any(answers):
        return Verdict("no_answer", "the box is empty")
    if any(answer == wanted for answer in answers for wanted in references):
        return Verdict("correct", "", 1)
    if any(_depth(text) > MAX_BRACE_DEPTH for text in answers):
        return Verdict("wrong", f"braces are nested deeper than {MAX_BRACE_DEPTH}")
    why = f"{answers[0]:.80} is not {references[0]:.80}"
    prose = raw_answers if rules.answer_from == "anywhere" else []
    quick = Comparison(Closeness(rules.relative_tolerance, rules.absolute_tolerance))
    try:
        if any(quick.same(mine, theirs) for theirs in references for mine in answers):
            return Verdict("correct", "", 1)
        if not prose:
            return Verdict("wrong", why)
    except NeedsAlgebra:
        pass  # decided by the worker
    return _with_algebra(answers, references, prose, rules, worker, why)


def _readable(text: str) -> str:
    return normal(without_filler(text))


def _with_algebra(answers, references, prose, rules, worker, why) -> Verdict:
    result = worker.compare(answers, references, prose, rules)
    if "failed" in result:
        return Verdict("error", f"the maths worker: {result['failed']}")
    if result.get("late"):
        return Verdict("timeout", f"over {rules.timeout_s:g} s: {why}")
    if result.get("died"):
        return Verdict("wrong", f"more memory than a comparison may take: {why}")
    if result["same"]:
        return Verdict("correct", "", 1)
    problem = result.get("problem")
    return Verdict("wrong", why + (f" (cannot be compared: {problem})" if problem else ""))


def find_answers(response: str, rules: MathRules) -> list[str]:
    r"""What the response gives as its answer, most literal reading first; [] if nothing.

    >>> find_answers(r"Thus \boxed{42}. Check: fine.", MathRules())
    ['42']
    """
    if not isinstance(response, str):
        return []
    text = response.rpartition("</think>")[2]  # all of it where there was no such reasoning
    answers = boxed_answers(text)
    if answers or rules.answer_from == "box":
        return answers
    if (bare := bare_answer(text)) is not None:
        return [bare]
    return [text.strip()] if rules.answer_from == "anywhere" and text.strip() else []


def read_references(reference: object) -> list[str]:
    """The forms of a reference; each may be boxed, in dollar signs, a number or a whole text.

    Of a worked solution that is its last box or, in GSM8K's form, what follows ``####``.
    """
    found = []
    for text in reference_texts(reference):
        boxed = boxed_answers(text)
        found += boxed[-1:] or [unfinished_box(after_hashes(text))]
    return found


def reference_texts(value: object) -> list[str]:
    r"""The forms of a reference as texts: of a text, a number of any library, or several of them.

    Raises NoReference for what is none: None, NaN, an empty text or list, a table.

    >>> import numpy as np
    >>> reference_texts(142.0), reference_texts(np.int64(7)), reference_texts(["1/2", 0.5])
    (['142'], ['7'], ['1/2', '0.5'])
    >>> reference_texts(float("nan"))
    Traceback (most recent call last):
        ...
    entropy_mech.grading.maths.NoReference: nan is no reference
    """
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        if value.strip() in _MISSING:
            raise NoReference(f"the reference is empty: {value!r}")
        return [value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        # NumPy's own number where there is one: item() would widen a float32, and show it.
        value = value[()] if type(value).__module__ == "numpy" else value.item()
    if isinstance(value, (Real, Decimal)) or type(value).__name__ in _BOOLEANS:
        return [_number_text(value)]
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        forms = [text for one in value for text in reference_texts(one)]
        if forms:
            return forms
    raise NoReference(f"{value!r:.80} is no reference")


def _number_text(value) -> str:
    if type(value).__name__ in _BOOLEANS:
        return str(bool(value))
    if isinstance(value, Fraction):
        return str(value)
    number = Decimal(int(value)) if isinstance(value, Integral) else Decimal(str(value))
    if number.is_nan():
        raise NoReference(f"{value} is no reference")
    if number.is_infinite():
        return r"\infty" if number > 0 else r"-\infty"
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def after_hashes(text: str) -> str:
    r"""The answer of a worked solution in GSM8K's form: what follows its last ``####``.

    >>> after_hashes("24+48=<<24+48=72>>72 in all.\n#### 72")
    '72'
    """
    _, hashes, answer = text.rpartition("####")
    return answer.strip() if hashes else text


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    return deepest
