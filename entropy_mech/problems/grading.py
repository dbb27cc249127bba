"""Maths and code problems of real data sets, and how batches of responses are graded."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entropy_mech.errors import UserError, unknown_name
from entropy_mech.grading import GradingPool, Verdict, grade_code, grade_math
from entropy_mech.grading.mathematics.normal import normal
from entropy_mech.grading.maths import MathRules, NoReference, find_answers, reference_texts
from entropy_mech.problems import Problem
from entropy_mech.problems.toy import ToyCodeProblem, grade_toy_code

# -- Problems ------------------------------------------------------------------------------------

# Prompt templates are data: the text of the problem goes where {problem} stands.
PROMPT_TEMPLATES = {
    "boxed": "{problem}\n\nReason step by step, and put your final answer within \\boxed{{}}.",
    "program": "{problem}\n\nWrite the solution in Python, in one ```python block.",
    "bare": "{problem}",
}


def fill(template: str, problem: str) -> str:
    r"""The prompt for a problem, from a named template.

    >>> fill("boxed", "What is 1+1?").endswith(r"within \boxed{}.")
    True
    """
    if template not in PROMPT_TEMPLATES:
        raise unknown_name("prompt template", template, PROMPT_TEMPLATES)
    return PROMPT_TEMPLATES[template].format(problem=problem)


@dataclass(frozen=True)
class MathProblem:
    """A problem whose answer is compared with ``answer`` (or with any of several forms).

    Numbers of any library become text. The tolerances are for references that are measured or
    rounded; 0 means exactly.

    Raises:
        UserError: no reference.

    """

    id: str
    text: str
    answer: str | tuple[str, ...]
    level: str = ""
    template: str = "boxed"
    relative_tolerance: float = 0.0
    absolute_tolerance: float = 0.0

    def __post_init__(self):
        """Bring the reference into one of the two shapes."""
        try:
            forms = reference_texts(self.answer)
        except NoReference as none:
            raise UserError(f"problem {self.id}: {none}; give it one, or leave it out") from None
        if not isinstance(self.answer, str):
            object.__setattr__(self, "answer", forms[0] if len(forms) == 1 else tuple(forms))

    @property
    def prompt(self) -> str:
        """The text given to the policy."""
        return fill(self.template, self.text)

    @property
    def reference(self) -> str:
        """The right answer (its first form)."""
        return self.answer if isinstance(self.answer, str) else self.answer[0]

    def grade(self, response: str) -> Verdict:
        """Judge the last boxed answer of a response."""
        return grade_math(response, self.answer, **self.rules)

    def has_form(self, response: str) -> bool:
        """Whether a response has a boxed answer, as the prompt asks for."""
        return bool(find_answers(response, MathRules(answer_from="box")))

    def final_answer(self, response: str) -> str:
        """What the grader reads as the response's answer, in its own normal form."""
        return " or ".join(map(normal, find_answers(response, MathRules(**self.rules))))

    @property
    def rules(self) -> dict[str, float]:
        """How closely an answer must agree, as the grader takes it."""
        return {
            "relative_tolerance": self.relative_tolerance,
            "absolute_tolerance": self.absolute_tolerance,
        }


@dataclass(frozen=True)
class CodeProblem:
    """A problem whose answer is a program, judged by unit tests in any of the known forms.

    ``reference`` is a right program where the data set has one.
    """

    id: str
    text: str
    tests: object
    reference: str = ""
    level: str = ""
    template: str = "program"

    @property
    def prompt(self) -> str:
        """The text given to the policy."""
        return fill(self.template, self.text)

    def grade(self, response: str) -> Verdict:
        """Run the last program of a response against the tests, in a sandbox."""
        return grade_code(response, self.tests)


# -- Batches -------------------------------------------------------------------------------------


def needs_pool(problems: Sequence[Problem]) -> bool:
    """Return whether a pool of warm graders serves any of these: those of the data sets."""
    return any(isinstance(problem, MathProblem | CodeProblem) for problem in problems)


def grade_many(
    problems: Sequence[Problem], texts: Sequence[str], pool: GradingPool | None = None
) -> list[Verdict]:
    """Return the verdicts of ``problem.grade(text)``, in order; those of a kind grade together.

    ``pool`` is for problems of the data sets. Raises ValueError if the two lists differ in length.
    """
    groups: dict[tuple, list[int]] = defaultdict(list)
    for place, (problem, _) in enumerate(zip(problems, texts, strict=True)):
        rules = tuple(problem.rules.items()) if isinstance(problem, MathProblem) else ()
        groups[type(problem), rules].append(place)
    verdicts: dict[int, Verdict] = {}
    for (kind, rules), places in groups.items():
        asked, answers = [problems[i] for i in places], [texts[i] for i in places]
        if pool is not None and issubclass(kind, CodeProblem):
            graded = pool.grade_code_many(zip(answers, (p.tests for p in asked), strict=True))
        elif pool is not None and issubclass(kind, MathProblem):
            pairs = zip(answers, (p.answer for p in asked), strict=True)
            graded = pool.grade_math_many(pairs, **dict(rules))
        elif issubclass(kind, ToyCodeProblem):
            graded = grade_toy_code(asked, answers)
        else:
            graded = [p.grade(text) for p, text in zip(asked, answers, strict=True)]
        verdicts.update(zip(places, graded, strict=True))
    return [verdicts[place] for place in range(len(texts))]


# -- Strict and lenient readings -----------------------------------------------------------------
# Much of what a small model gains is the form of its answers (boxed, or as it was shown). So that
# it can be told from what it learns of the problems, a response is read in two more ways.

_NUMBER = re.compile(r"(?<!\d)-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?", re.ASCII)
READINGS = ("strict", "lenient", "form")


def last_number(response: str) -> str:
    """Return the last number of a text, thousands separators and decimals counted in, or "".

    >>> last_number("Of 1,200 he kept 3.5."), last_number("65-4=-61"), last_number("none")
    ('3.5', '-61', '')
    """
    found = _NUMBER.findall(response)
    return found[-1] if found else ""


def has_readings(problems: Sequence[Problem]) -> bool:
    """Whether these problems ask for a form and a number; programs and toys do not."""
    return all(hasattr(problem, "has_form") for problem in problems)


def readings(
    problems: Sequence[Problem],
    texts: Sequence[str],
    verdicts: Sequence[Verdict],
    grade: Callable[[Sequence[Problem], Sequence[str]], Sequence[Verdict]],
) -> dict[str, NDArray[np.bool_]]:
    """Read graded responses in the ways of ``READINGS``, a value a response.

    ``form``: it has the form asked for. ``strict``: right, and in that form. ``lenient``: right as
    graded, or its last number is right. ``grade`` judges the last numbers.
    """
    right = np.array([verdict.name == "correct" for verdict in verdicts], dtype=bool)
    form = np.array([p.has_form(text) for p, text in zip(problems, texts, strict=True)], dtype=bool)
    numbers = [last_number(text) for text in texts]
    places = [i for i, number in enumerate(numbers) if number and not right[i]]
    lenient = right.copy()
    again = grade([problems[i] for i in places], [numbers[i] for i in places])
    lenient[places] = [verdict.name == "correct" for verdict in again]
    return {"strict": right & form, "lenient": lenient, "form": form}
