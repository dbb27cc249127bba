"""Grading a batch of responses by whatever is fastest for their problems; the verdicts of each."""

from __future__ import annotations

from collections.abc import Sequence

from entropy_mech.grading import GradingPool, Verdict
from entropy_mech.problems.problem import Problem
from entropy_mech.problems.text_problems import CodeProblem, MathProblem, grade_responses
from entropy_mech.problems.toy_code import ToyCodeProblem, grade_toy_code


def needs_pool(problems: Sequence[Problem]) -> bool:
    """Return whether a pool of warm graders serves these problems: those of the data sets."""
    return all(isinstance(problem, MathProblem | CodeProblem) for problem in problems)


def grade_many(
    problems: Sequence[Problem], texts: Sequence[str], pool: GradingPool | None = None
) -> list[Verdict]:
    """Return the verdicts of ``problem.grade(text)``, in order; ``pool`` is for real data sets."""
    if pool is not None and needs_pool(problems):
        return grade_responses(problems, texts, pool)
    if all(isinstance(problem, ToyCodeProblem) for problem in problems):
        return grade_toy_code(problems, texts)
    return [problem.grade(text) for problem, text in zip(problems, texts, strict=True)]
