"""The one answer that every grader gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

VerdictName = Literal["correct", "wrong", "no_answer", "timeout", "error"]
VERDICT_NAMES: tuple[str, ...] = get_args(VerdictName)


@dataclass(frozen=True)
class Verdict:
    """What a grader found, by name and with its reason, so that no reward is a bare zero.

    ``passed`` and ``total`` count unit tests (1 of 1 for a right single answer).

    >>> Verdict("no_answer", "no \\\\boxed{} in the response").reward
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
