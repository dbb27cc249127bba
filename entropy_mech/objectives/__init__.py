"""Objectives as pure functions on torch tensors: advantages, covariance, losses, log-probabilities.

Shapes: P prompts, G responses a prompt, B = P * G sequences, T response positions, N response
tokens (the true entries of ``response_mask``), V vocabulary, D hidden size.
"""

from entropy_mech.objectives.advantages import group_advantages, mixed_outcome_groups
from entropy_mech.objectives.covariance import (
    group_covariance,
    select_in_band,
    select_largest,
    token_covariance,
)
from entropy_mech.objectives.logprobs import logprobs_and_entropy, token_entropy
from entropy_mech.objectives.losses import (
    InertPenaltyWarning,
    PolicyLoss,
    clip_cov_loss,
    kl_cov_loss,
    policy_gradient_loss,
    ppo_clip_loss,
)

__all__ = [
    "InertPenaltyWarning",
    "PolicyLoss",
    "clip_cov_loss",
    "group_advantages",
    "group_covariance",
    "kl_cov_loss",
    "logprobs_and_entropy",
    "mixed_outcome_groups",
    "policy_gradient_loss",
    "ppo_clip_loss",
    "select_in_band",
    "select_largest",
    "token_covariance",
    "token_entropy",
]
