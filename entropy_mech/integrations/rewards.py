"""The graders as reward functions of other trainers: TRL's signature, and verl's."""

from __future__ import annotations

from collections.abc import Callable

from entropy_mech.errors import bad_value
from entropy_mech.grading import GradingPool, Verdict
from entropy_mech.grading.pool import default_pool
from entropy_mech.grading.verdict import VERDICT_NAMES, RewardRule


def math_reward(column: str = "answer", *, pool: GradingPool | None = None, **rules) -> Callable:
    """Return a reward function for TRL: 1 where a completion's answer is the reference, else 0.

    Args:
        column: the data set's column with the references: text, or a list of accepted forms.
        pool: graders to use; this process's own where None.
        rules: of ``grade_math``: ``timeout_s``, ``answer_from``, ``relative_tolerance``, ...

    Returns:
        A function with TRL's signature; see ``code_reward`` for what it gives and logs.

    """
    return _reward_function(
        "math_reward",
        column,
        lambda pairs: (pool or default_pool()).grade_math_many(pairs, **rules),
    )


def code_reward(
    column: str = "tests",
    *,
    rule: RewardRule = "all_or_nothing",
    pool: GradingPool | None = None,
    **limits,
) -> Callable:
    """Return a reward function for TRL: programs run against unit tests, in a sandbox.

    The function gives a float a completion, and None where the grader could not judge (verdict
    ``error``: the reference or the tests make no sense), which TRL leaves out of the group. The
    share of each verdict is logged as ``verdict/NAME``.

    Args:
        column: the data set's column with the tests, in a form that ``grade_code`` knows.
        rule: 1 or 0 (the paper), or ``passed_fraction``.
        pool: graders to use; this process's own where None.
        limits: of ``grade_code``: ``timeout_s``, ``memory_gib``, ...

    """
    return _reward_function(
        "code_reward",
        column,
        lambda pairs: (pool or default_pool()).grade_code_many(pairs, **limits),
        rule,
    )


def _reward_function(
    name: str,
    column: str,
    grade_many: Callable[[list], list[Verdict]],
    rule: RewardRule = "all_or_nothing",
) -> Callable:
    def reward(completions, log_metric=None, **columns) -> list[float | None]:
        if column not in columns:
            raise bad_value("column", column, f"the data set has {', '.join(sorted(columns))}")
        texts = [_text(completion) for completion in completions]
        verdicts = grade_many(list(zip(texts, columns[column], strict=True)))
        if log_metric is not None:
            for verdict in VERDICT_NAMES:
                count = sum(given.name == verdict for given in verdicts)
                log_metric(f"verdict/{verdict}", count / len(verdicts))
        return [None if v.name == "error" else v.reward_by(rule) for v in verdicts]

    reward.__name__ = name  # TRL names the reward's metrics by it
    return reward


def _text(completion: str | list[dict]) -> str:
    """Return what the policy wrote: the text, or its last message in a conversation."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def verl_math_score(
    data_source: str, solution_str: str, ground_truth, extra_info=None, **_
) -> dict[str, float | str]:
    """Grade for verl, as ``custom_reward_function``: the score, and the verdict's name to log.

    verl has no reward that does not count: a verdict ``error`` scores 0, so watch their share.
    """
    return _score(default_pool().grade_math(solution_str, ground_truth))


def verl_code_score(
    data_source: str, solution_str: str, ground_truth, extra_info=None, **_
) -> dict[str, float | str]:
    """Grade a program for verl; ``ground_truth`` has the tests, in a form of ``grade_code``."""
    return _score(default_pool().grade_code(solution_str, ground_truth))


def _score(verdict: Verdict) -> dict[str, float | str]:
    return {"score": verdict.reward, "verdict": verdict.name}
