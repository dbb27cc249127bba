"""Graders: a response and a reference in, a named verdict out."""

from entropy_mech.grading.verdict import VERDICT_NAMES, Verdict

__all__ = ["VERDICT_NAMES", "Verdict"]
