"""The graders as reward functions with the signatures of TRL and of verl."""

from __future__ import annotations

from collections.abc import Callable

from entropy_mech.errors import bad_value
from entropy_mech.grading import GradingPool, Verdict
from entropy_mech.grading.pool import default_pool
from entropy_mech.grading.verdict import VERDICT_NAMES, ErrorAlarm, RewardRule

# TRL leaves responses with the verdict ``error`` out of the group, so a run can bear some of them.
_TRLS_LIMIT_FRACTION = 0.5


def math_reward(
    column: str = "answer",
    *,
    pool: GradingPool | None = None,
    error_limit_fraction: float = _TRLS_LIMIT_FRACTION,
    **rules,
) -> Callable:
    """Return a reward function for TRL: 1 where a completion's answer is the reference, else 0.

    Args:
        column: the data set's column with the references: text, a number, a list of accepted
            forms, or a worked solution with a box or (openai/gsm8k) ``####`` before its answer.
        pool: graders to use; this process's own where None.
        error_limit_fraction: of the last thousand verdicts; see ``code_reward``.
        rules: of ``grade_math``: ``timeout_s``, ``answer_from``, ``relative_tolerance``, ...

    Returns:
        A function with TRL's signature; see ``code_reward`` for what it gives and logs.

    """

    def grade_many(pairs: list) -> list[Verdict]:
        return (pool or default_pool()).grade_math_many(pairs, **rules)

    return _reward_function("math_reward", column, grade_many, error_limit_fraction)


def code_reward(
    column: str = "tests",
    *,
    rule: RewardRule = "all_or_nothing",
    pool: GradingPool | None = None,
    error_limit_fraction: float = _TRLS_LIMIT_FRACTION,
    **limits,
) -> Callable:
    """Return a reward function for TRL: programs run against unit tests, in a sandbox.

    The function returns a float for each completion, and None where it could not be graded (verdict
    ``error``: no reference, malformed tests, a sandbox that failed), which TRL leaves out of the
    group. The share of each verdict is logged as ``verdict/NAME``.

    Args:
        column: the data set's column with the tests, in a form that ``grade_code`` knows.
        rule: 1 or 0 (the paper), or ``passed_fraction``.
        pool: graders to use; this process's own where None.
        error_limit_fraction: where more of the last thousand verdicts are ``error``, the function
            raises ``GraderAlarm``, with the most frequent reason, and so ends the run.
        limits: of ``grade_code``: ``timeout_s``, ``memory_gib``, ...

    """

    def grade_many(pairs: list) -> list[Verdict]:
        return (pool or default_pool()).grade_code_many(pairs, **limits)

    return _reward_function("code_reward", column, grade_many, error_limit_fraction, rule)


def _reward_function(
    name: str,
    column: str,
    grade_many: Callable[[list], list[Verdict]],
    error_limit_fraction: float,
    rule: RewardRule = "all_or_nothing",
) -> Callable:
    alarm = ErrorAlarm(error_limit_fraction)

    def reward(completions, log_metric=None, **columns) -> list[float | None]:
        if column not in columns:
            raise bad_value("column", column, f"the data set has {', '.join(sorted(columns))}")
        texts = [_text(completion) for completion in completions]
        verdicts = grade_many(list(zip(texts, columns[column], strict=True)))
        if log_metric is not None:
            for verdict in VERDICT_NAMES:
                count = sum(given.name == verdict for given in verdicts)
                log_metric(f"verdict/{verdict}", count / len(verdicts))
        alarm.watch(verdicts)
        return [None if v.name == "error" else v.reward_by(rule) for v in verdicts]

    reward.__name__ = name  # TRL names the reward's metrics by it
    return reward


def _text(completion: str | list[dict]) -> str:
    """Return the completion's text: itself, or the last message of a conversation."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def verl_math_score(
    data_source: str, solution_str: str, ground_truth, extra_info=None, **_
) -> dict[str, float | str]:
    """Grade for verl, as ``custom_reward_function``: the score, and the verdict's name to log.

    verl cannot leave a response out: a verdict ``error`` scores 0. If more than a tenth of the last
    thousand verdicts of this process are ``error``, ``GraderAlarm`` is raised instead.
    """
    return _score(default_pool().grade_math(solution_str, ground_truth))


def verl_code_score(
    data_source: str, solution_str: str, ground_truth, extra_info=None, **_
) -> dict[str, float | str]:
    """Grade a program for verl; ``ground_truth`` has the tests, in a form of ``grade_code``."""
    return _score(default_pool().grade_code(solution_str, ground_truth))


_verls_alarm = ErrorAlarm()


def _score(verdict: Verdict) -> dict[str, float | str]:
    _verls_alarm.watch([verdict])
    return {"score": verdict.reward, "verdict": verdict.name}
