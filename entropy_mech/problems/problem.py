"""What every problem offers, toy or benchmark: a prompt, a reference and a verifier."""

from __future__ import annotations

from typing import Protocol

from entropy_mech.grading.verdict import Verdict


class Problem(Protocol):
    """A question whose answer a program can check.

    The training reward and the evaluation are the same function, ``grade``, so the two cannot
    drift apart.
    """

    @property
    def prompt(self) -> str:
        """The text given to the policy."""
        ...

    @property
    def reference(self) -> str:
        """The right answer."""
        ...

    @property
    def level(self) -> str:
        """A name for how hard it is, for reports by level."""
        ...

    def grade(self, response: str) -> Verdict:
        """Judge a response."""
        ...
