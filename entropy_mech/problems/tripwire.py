"""Detects grader faults: one answer graded correct for two different references."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence

from entropy_mech.grading import Verdict, grade_math
from entropy_mech.grading.mathematics.normal import normal
from entropy_mech.grading.mathematics.quantity import split_unit
from entropy_mech.grading.maths import read_references
from entropy_mech.problems import Problem
from entropy_mech.problems.grading import MathProblem

_MOST_ANSWERS, _MOST_REFERENCES = 50_000, 20  # kept; the oldest answer goes first
_LABEL = re.compile(r"^(?:[A-Za-z]|\\[a-z]+)(?:_\w|_\{\w+\})?=")
_BASE = re.compile(r"_(?:\d|\{\d+\})$")
# An answer, a problem that it was right for, that problem's references, and whether they differ
# from those of the answer's first problem. A list, as it comes back from a file.
Noted = list


class OneAnswerTwoReferences(UserWarning):
    """An answer was called right for problems whose references differ as mathematics."""


class Tripwire:
    r"""Remembers the references that each answer was correct for; counts those that differ.

    An answer correct for different references shows a fault of the grader, which a policy may learn
    to exploit, or of the data. Only maths problems have references that can be compared.

    >>> wire, right = Tripwire(), [Verdict("correct")] * 2
    >>> problems = [MathProblem("a", "?", "17"), MathProblem("b", "?", "0.5")]
    >>> wire.watch(problems, [r"\boxed{17}", r"\boxed{\frac{1}{2}}"], right)
    >>> wire.answers
    0
    """

    def __init__(self):
        self._accepted: dict[str, list[Noted]] = {}
        self._new: list[Noted] = []
        self.answers = 0

    def watch(
        self, problems: Sequence[Problem], texts: Sequence[str], verdicts: Sequence[Verdict]
    ) -> None:
        """Record graded responses; warn once of each answer correct for different references."""
        for problem, text, verdict in zip(problems, texts, verdicts, strict=True):
            if verdict.name == "correct" and isinstance(problem, MathProblem):
                self._note(problem, problem.final_answer(text))

    def take_new(self) -> list[Noted]:
        """Return what was recorded since the last call, in the form that ``restore`` takes."""
        new, self._new = self._new, []
        return new

    def restore(self, noted: Iterable[Noted]) -> None:
        """Add what another tripwire recorded."""
        for row in noted:
            answer, _, _, tripped = row
            if answer not in self._accepted and len(self._accepted) >= _MOST_ANSWERS:
                del self._accepted[next(iter(self._accepted))]
            self._accepted.setdefault(answer, []).append(row)
            self.answers += tripped

    def _note(self, problem: MathProblem, answer: str) -> None:
        references = read_references(problem.answer)
        noted = self._accepted.get(answer, [])
        seen = [list(map(normal, row[2])) for row in noted]
        if list(map(normal, references)) in seen or len(seen) >= _MOST_REFERENCES:
            return
        if any(tripped for *_, tripped in noted):
            return
        tripped = bool(noted) and _differ(noted[0][2], references, problem.rules)
        self._new.append([answer, problem.id, references, tripped])
        self.restore(self._new[-1:])
        if tripped:
            _, first, its_references, _ = noted[0]
            warnings.warn(
                f"the answer {answer[:200]!r} was called right for problem {first} "
                f"(reference {its_references[0][:200]!r}) and for problem {problem.id} "
                f"(reference {references[0][:200]!r}): a fault of the grader or of the data",
                OneAnswerTwoReferences,
                stacklevel=4,
            )


def _differ(some: Sequence[str], others: Sequence[str], rules: dict[str, float]) -> bool:
    """Return whether the grader grades each problem's references wrong for the other problem."""
    if {*map(_undressed, some)} & {*map(_undressed, others)}:
        return False
    # Two numbers within a tolerance of one answer are within twice that of each other.
    wider = {name: 2 * value for name, value in rules.items()}
    return all(
        grade_math(rf"\boxed{{{mine}}}", theirs, **wider).name == "wrong"
        for one in some
        for other in others
        for mine, theirs in ((one, other), (other, one))
    )


def _undressed(reference: str) -> str:
    r"""Return a reference without what an answer may omit: variable name, unit, number base.

    >>> _undressed(r"x = 5 \text{ cm}"), _undressed("52_8")
    ('5', '52')
    """
    quantity, _ = split_unit(_LABEL.sub("", normal(reference)))
    return _BASE.sub("", quantity)
