"""Objectives as pure functions on torch tensors: advantages, covariance, losses, log-probabilities.

Shapes: P prompts, G responses a prompt, B = P * G sequences, T response positions, N response
tokens (the true entries of ``response_mask``), V vocabulary, D hidden size.
"""

from entropy_mech.objectives.advantages import (
    group_advantages,
    implicit_prm_loss,
    implicit_process_rewards,
    mixed_outcome_groups,
    prime_advantages,
    reinforce_pp_advantages,
    rloo_advantages,
    token_advantages,
)
from entropy_mech.objectives.covariance import (
    choose_tokens,
    group_covariance,
    named_scores,
    select_in_band,
    select_largest,
    token_covariance,
)
from entropy_mech.objectives.logprobs import logprobs_and_entropy, token_entropy
from entropy_mech.objectives.losses import (
    AGGREGATIONS,
    Aggregation,
    ControlState,
    InertPenaltyWarning,
    PolicyLoss,
    clip_cov_loss,
    kl_cov_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    reference_kl_per_token,
    steer,
    truncated_importance_weights,
    with_entropy_bonus,
    with_reference_kl,
)

__all__ = [
    "AGGREGATIONS", "Aggregation", "ControlState", "InertPenaltyWarning", "PolicyLoss",
    "choose_tokens", "clip_cov_loss", "group_advantages", "group_covariance", "implicit_prm_loss",
    "implicit_process_rewards", "kl_cov_loss", "logprobs_and_entropy", "mixed_outcome_groups",
    "named_scores", "policy_gradient_loss", "ppo_clip_loss", "prime_advantages",
    "reference_kl_per_token", "reinforce_pp_advantages", "rloo_advantages", "select_in_band",
    "select_largest", "steer", "token_advantages", "token_covariance", "token_entropy",
    "truncated_importance_weights", "with_entropy_bonus", "with_reference_kl",
]  # fmt: skip
