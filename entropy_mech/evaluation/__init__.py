"""Measuring a policy on problems."""

from entropy_mech.sampling.sampler import EvalResult, Sample, evaluate

__all__ = ["EvalResult", "Sample", "evaluate"]
