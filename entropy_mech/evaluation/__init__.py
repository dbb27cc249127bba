"""Measuring a policy on problems."""

from entropy_mech.evaluation.runner import EvalResult, Sample, evaluate

__all__ = ["EvalResult", "Sample", "evaluate"]
