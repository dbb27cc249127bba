"""Problems with verifiable answers: what a policy is trained and measured on."""

from __future__ import annotations

from typing import Protocol

from entropy_mech.grading.verdict import Verdict


class Problem(Protocol):
    """A question whose answer a program can check, toy or benchmark.

    ``grade`` is both the training reward and the evaluation, so the two cannot differ.
    """

    @property
    def prompt(self) -> str:
        """The text given to the policy."""

    @property
    def reference(self) -> str:
        """The right answer."""

    @property
    def level(self) -> str:
        """A name for how hard it is, for reports by level."""

    def grade(self, response: str) -> Verdict:
        """Judge a response."""
