"""PRIME's advantages, and the one door to the advantages of all algorithms."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from entropy_mech.errors import unknown_name
from entropy_mech.objectives.advantages import (
    check_groups,
    group_advantages,
    normalised,
    reinforce_pp_advantages,
    rloo_advantages,
    to_tokens,
)
from entropy_mech.objectives.covariance import check_shapes


class AlgorithmSettings(Protocol):
    """What names an algorithm: ``name``, and its settings as attributes."""

    name: str


def token_advantages(
    algorithm: AlgorithmSettings,
    rewards: Tensor,
    response_mask: Tensor,
    process_rewards: Tensor | None = None,
) -> Tensor:
    """Return the advantage of every token under any of the paper's four algorithms.

    Args:
        algorithm: a section of ``entropy_mech.train.config.algorithm``.
        rewards: P x G, outcome rewards.
        response_mask: B x T, B = P * G, rows of a prompt adjacent.
        process_rewards: B x T, for PRIME alone, from ``implicit_process_rewards``.

    Returns:
        B x T, float32 or float64, detached; 0 outside the mask.

    """
    match algorithm.name:
        case "grpo":
            by_response = group_advantages(rewards, correction=algorithm.std_correction)
            return to_tokens(by_response, response_mask)
        case "rloo":
            return to_tokens(rloo_advantages(rewards), response_mask)
        case "reinforce_pp":
            return reinforce_pp_advantages(
                rewards,
                response_mask,
                normalise_over=algorithm.normalise_over,
                baseline=algorithm.baseline,
            )
        case "prime":
            if process_rewards is None:
                raise ValueError("PRIME needs process_rewards, B x T, from the implicit PRM")
            return prime_advantages(
                rewards,
                process_rewards,
                response_mask,
                outcome_coefficient=algorithm.outcome_coefficient,
                process_coefficient=algorithm.process_coefficient,
                process_baseline=algorithm.process_baseline,
                process_norm=algorithm.process_norm,
                last_token_reward=algorithm.last_token_reward,
                whiten=algorithm.whiten,
            )
    names = ("grpo", "rloo", "reinforce_pp", "prime")
    raise unknown_name("algorithm.name", algorithm.name, names)


def prime_advantages(
    rewards: Tensor,
    process_rewards: Tensor,
    response_mask: Tensor,
    *,
    outcome_coefficient: float = 1.0,
    process_coefficient: float = 1.0,
    process_baseline: str = "leave_one_out",
    process_norm: str = "none",
    last_token_reward: bool = True,
    whiten: bool = False,
) -> Tensor:
    """PRIME: RLOO over the outcome plus RLOO over process rewards (arXiv 2502.01456).

    A_{i,t} = c_p sum_{s >= t} (r_{i,s} - b_i) + c_o (R_i - mean of the other responses' R), where
    b_i is the mean over the prompt's other responses of their mean token reward. Equation and
    released code differ; the defaults are the equation's, the second values below the code's.

    Args:
        rewards: P x G, the outcomes R.
        process_rewards: B x T, r_{i,s}; B = P * G, rows of a prompt adjacent.
        response_mask: B x T.
        outcome_coefficient: c_o. 1; 5 as released.
        process_coefficient: c_p. 1; 5 as released.
        process_baseline: ``leave_one_out``, b_i above; or ``released``, r G / (G - 1) less the
            sum of all G means / (G - 1): the same summed over a response, another slope in it.
        process_norm: ``none``; or ``batch_max``, where the process rewards are first divided by
            the largest absolute return (sum of future process rewards) in the batch.
        last_token_reward: True; False sets the process reward of each last token to 0.
        whiten: False; True normalises A over all response tokens.

    Returns:
        B x T, float32 or float64, 0 outside the mask. A prompt whose outcomes are all the same
        keeps its process part. A response without a token has a mean token reward of 0.

    Raises:
        UserError: G is 1; a setting of unknown value.

    >>> mask = torch.ones(2, 2, dtype=torch.bool)
    >>> process = torch.tensor([[0.5, 0.25], [0.1, 0.3]])      # baselines 0.2 and 0.375
    >>> prime_advantages(torch.tensor([[1.0, 0.0]]), process, mask)
    tensor([[ 1.3500,  1.0500],
            [-1.3500, -1.0750]])

    """
    rewards = check_groups(rewards)
    check_shapes(response_mask, process_rewards=process_rewards)
    outcome = to_tokens(rloo_advantages(rewards), response_mask)
    reward = torch.where(response_mask, process_rewards.detach().to(outcome.dtype), 0.0)
    if not last_token_reward:
        reward = torch.where(_is_last(response_mask), 0.0, reward)
    if process_norm == "batch_max":
        largest = _future_sum(reward).abs().max()
        reward = reward / torch.where(largest > 0, largest, 1.0)
    elif process_norm != "none":
        raise unknown_name("algorithm.process_norm", process_norm, ("none", "batch_max"))
    centred = _less_the_others(reward, response_mask, rewards.shape[1], process_baseline)
    process = torch.where(response_mask, _future_sum(centred), 0.0)
    advantages = outcome_coefficient * outcome + process_coefficient * process
    return normalised(advantages, response_mask) if whiten else advantages


def _less_the_others(reward: Tensor, mask: Tensor, responses: int, baseline: str) -> Tensor:
    mean = reward.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    total = mean.view(-1, responses).sum(dim=1).repeat_interleave(responses)
    if baseline == "leave_one_out":
        centred = reward - ((total - mean) / (responses - 1)).unsqueeze(1)
    elif baseline == "released":
        centred = (reward * responses - total.unsqueeze(1)) / (responses - 1)
    else:
        known = ("leave_one_out", "released")
        raise unknown_name("algorithm.process_baseline", baseline, known)
    return torch.where(mask, centred, 0.0)


def _future_sum(values: Tensor) -> Tensor:
    return values.flip(1).cumsum(dim=1).flip(1)


def _is_last(mask: Tensor) -> Tensor:
    """Where the last true entry of each row is."""
    return mask & (_future_sum(mask.long()) == 1)
