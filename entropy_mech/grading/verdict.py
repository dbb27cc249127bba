"""The one answer that every grader gives, and an alarm where too many of them are errors.

So nobody trains on rewards that nobody judged.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from entropy_mech.errors import UserError, bad_value, unknown_name

VerdictName = Literal["correct", "wrong", "no_answer", "timeout", "error"]
VERDICT_NAMES: tuple[str, ...] = get_args(VerdictName)
RewardRule = Literal["all_or_nothing", "passed_fraction"]
REWARD_RULES: tuple[str, ...] = get_args(RewardRule)
ERROR_LIMIT_FRACTION = 0.1
_FEWEST = 20  # verdicts, of which a share says something
_FEWEST_ALIKE = 5  # if all of them are errors


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

    def reward_by(self, rule: RewardRule) -> float:
        """The reward under a recorded setting: all or nothing (the paper) or the share passed.

        >>> Verdict("wrong", passed=3, total=4).reward_by("passed_fraction")
        0.75
        """
        if rule not in REWARD_RULES:
            raise unknown_name("reward rule", rule, REWARD_RULES)
        return self.reward if rule == "all_or_nothing" else self.passed / max(self.total, 1)


class GraderAlarm(UserError):
    """Too many verdicts are ``error``: the graders or the references are broken, not the policy.

    ``verdicts`` holds the batch that raised it, so that nothing graded is lost.
    """

    def __init__(self, message: str, verdicts: Sequence[Verdict] = ()):
        super().__init__(message)
        self.verdicts = list(verdicts)


class ErrorAlarm:
    """Watches the share of ``error`` among the last ``window`` verdicts; any thread may call it.

    It keeps silent before 20 verdicts, or 5 where all of them are errors. A limit of 1: for ever.

    >>> alarm = ErrorAlarm(0.5)
    >>> alarm.watch([Verdict("correct")] * 30 + [Verdict("error", "no reference")] * 30)
    >>> alarm.watch([Verdict("error", "no reference")])
    Traceback (most recent call last):
        ...
    entropy_mech.grading.verdict.GraderAlarm: 31 of the last 61 verdicts are 'error', more than \
the limit of 50%; the most frequent reason: no reference
    """

    def __init__(self, limit_fraction: float = ERROR_LIMIT_FRACTION, window: int = 1000):
        if not 0 <= limit_fraction <= 1:
            raise bad_value("error_limit_fraction", limit_fraction, "give a fraction in [0, 1]")
        if not (isinstance(window, int) and window >= _FEWEST):
            raise bad_value("alarm_window", window, f"give a whole number of at least {_FEWEST}")
        self.limit_fraction = limit_fraction
        self._recent: collections.deque[Verdict] = collections.deque(maxlen=window)
        self._lock = threading.Lock()

    def watch(self, verdicts: Sequence[Verdict]) -> None:
        """Count more verdicts; raise GraderAlarm where too many of the last are ``error``."""
        with self._lock:
            self._recent.extend(verdicts)
            errors = [verdict.reason for verdict in self._recent if verdict.name == "error"]
            seen = len(self._recent)
        fewest = _FEWEST_ALIKE if len(errors) == seen else _FEWEST
        if seen >= fewest and len(errors) > self.limit_fraction * seen:
            common = collections.Counter(errors).most_common(1)[0][0]
            raise GraderAlarm(
                f"{len(errors)} of the last {seen} verdicts are 'error', more than the limit of "
                f"{self.limit_fraction:.0%}; the most frequent reason: {' '.join(common.split())}",
                verdicts,
            )
