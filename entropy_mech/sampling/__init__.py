"""Samplers: prompts in, responses with their log-probabilities out."""

from entropy_mech.sampling.sampler import Completions, Sampler, SamplingRequest

__all__ = ["Completions", "Sampler", "SamplingRequest"]
