"""The one answer that every grader gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from entropy_mech.errors import unknown_name

VerdictName = Literal["correct", "wrong", "no_answer", "timeout", "error"]
VERDICT_NAMES: tuple[str, ...] = get_args(VerdictName)
RewardRule = Literal["all_or_nothing", "passed_fraction"]
REWARD_RULES: tuple[str, ...] = get_args(RewardRule)


@dataclass(frozen=True)
class Verdict:
    r"""What a grader found, by name and with its reason, so that no reward is a bare zero.

    ``passed`` and ``total`` count unit tests (1 of 1 for a right single answer). ``error`` means
    that the grader could not judge (a reference or tests that make no sense); whatever a
    response does wrong is ``wrong``.

    >>> Verdict("no_answer", "no \\boxed{} in the response").reward
    0.0
    """

    name: VerdictName
    reason: str = ""
    passed: int = 0
    total: int = 1

    def __post_init__(self):
        if self.name not in VERDICT_NAMES:
            raise ValueError(f"verdict {self.name!r} is none of {', '.join(VERDICT_NAMES)}")

    @property
    def reward(self) -> float:
        """The verifiable reward of the paper's section 2.1: 1.0 if correct, else 0.0."""
        return 1.0 if self.name == "correct" else 0.0

    @property
    def passed_fraction(self) -> float:
        """The share of unit tests passed, in [0, 1]."""
        return self.passed / self.total if self.total else 0.0

    def reward_by(self, rule: RewardRule) -> float:
        """The reward under a recorded setting: all or nothing (the paper) or the share passed.

        >>> Verdict("wrong", passed=3, total=4).reward_by("passed_fraction")
        0.75
        """
        if rule not in REWARD_RULES:
            raise unknown_name("reward rule", rule, REWARD_RULES)
        return self.reward if rule == "all_or_nothing" else self.passed_fraction
