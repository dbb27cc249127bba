"""Advantages from rewards: GRPO, RLOO and REINFORCE++ (section 2.1). PRIME's are in ``prime``."""

from __future__ import annotations

import torch
from torch import Tensor

from entropy_mech.errors import bad_value, unknown_name


def group_advantages(rewards: Tensor, *, correction: int = 1) -> Tensor:
    """GRPO's advantage, (r - mean) / std over the responses of one prompt (paper, Eq. 3).

    A group whose rewards are all the same says nothing about which response is better: its
    advantages are 0, not 0/0.

    Args:
        rewards: P x G, any real numbers; the paper's are 0 and 1.
        correction: 1 divides the variance by G - 1, as the released code (verl) and TRL do;
            0 divides by G. The paper does not say.

    Returns:
        P x G, float32 (float64 in, float64 out); each row has mean 0.

    Raises:
        UserError: G is 1, so that every advantage would be 0.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), correction=0)
    tensor([[ 1., -1., -1.,  1.],
            [ 0.,  0.,  0.,  0.]])

    """
    rewards = check_groups(rewards)
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    std = rewards.std(dim=1, correction=correction, keepdim=True)
    mixed = mixed_outcome_groups(rewards).unsqueeze(1)
    return torch.where(mixed, centred / torch.where(mixed, std, 1.0), 0.0)


def mixed_outcome_groups(rewards: Tensor) -> Tensor:
    """Return which prompts (P, bool) have responses of different reward: those the filter keeps."""
    return (rewards != rewards[:, :1]).any(dim=1)


def rloo_advantages(rewards: Tensor) -> Tensor:
    """RLOO's advantage: the reward less the mean reward of the prompt's other responses.

    r_i - sum_{j != i} r_j / (G - 1) = (r_i - mean) G / (G - 1) (arXiv 2402.14740). Not divided by
    a spread: a group whose rewards are all the same has advantages 0 of itself.

    Args:
        rewards: P x G.

    Returns:
        P x G, float32 (float64 in, float64 out); each row has mean 0.

    Raises:
        UserError: G is 1.

    >>> rloo_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]]))
    tensor([[ 0.5000, -0.7500, -0.7500,  0.5000,  0.5000]])

    """
    rewards = check_groups(rewards)
    responses = rewards.shape[1]
    centred = (rewards - rewards.mean(dim=1, keepdim=True)) * (responses / (responses - 1))
    return torch.where(mixed_outcome_groups(rewards).unsqueeze(1), centred, 0.0)


def reinforce_pp_advantages(
    rewards: Tensor,
    response_mask: Tensor,
    *,
    normalise_over: str = "tokens",
    baseline: str = "none",
) -> Tensor:
    """REINFORCE++'s advantage: the return normalised over the whole batch (arXiv 2501.03262).

    The only reward comes at the end and nothing is discounted, so that the return of every token
    is its response's reward. The paper says "normalised over the whole batch", and not whether a
    batch is one of tokens. A batch whose returns are all the same has advantages 0.

    Args:
        rewards: P x G.
        response_mask: B x T with B = P * G, rows of a prompt adjacent.
        normalise_over: ``tokens``, mean and standard deviation over all response tokens, as verl
            does: a long response counts more, and the mean over tokens is 0; or ``sequences``,
            over responses.
        baseline: ``none``; or ``group_mean``, where the mean reward of the prompt is taken off
            first ("REINFORCE++ with baseline").

    Returns:
        B x T, float32 or float64, 0 outside the mask; the std has N - 1 below, as in verl.

    >>> mask = torch.tensor([[True, True], [True, False], [True, False]])
    >>> rewards = torch.tensor([[3.0, 0.0, 0.0]])    # over tokens: mean 1.5, std sqrt(3)
    >>> reinforce_pp_advantages(rewards, mask)
    tensor([[ 0.8660,  0.8660],
            [-0.8660,  0.0000],
            [-0.8660,  0.0000]])

    """
    rewards = check_groups(rewards, least=1)
    if baseline == "group_mean":
        centred = rewards - rewards.mean(dim=1, keepdim=True)
        rewards = torch.where(mixed_outcome_groups(rewards).unsqueeze(1), centred, 0.0)
    elif baseline != "none":
        raise unknown_name("algorithm.baseline", baseline, ("none", "group_mean"))
    if normalise_over == "sequences":
        everything = torch.ones_like(rewards, dtype=torch.bool)
        return to_tokens(normalised(rewards, everything), response_mask)
    if normalise_over != "tokens":
        raise unknown_name("algorithm.normalise_over", normalise_over, ("tokens", "sequences"))
    return normalised(to_tokens(rewards, response_mask), response_mask)


def to_tokens(by_response: Tensor, response_mask: Tensor) -> Tensor:
    """Give every token (B x T) the value of its response (P x G); 0 outside the mask."""
    if by_response.numel() != len(response_mask):
        raise ValueError(
            f"{by_response.numel()} rewards, {len(response_mask)} rows of the mask: one a row"
        )
    return torch.where(response_mask, by_response.reshape(-1, 1), 0.0)


def normalised(values: Tensor, keep: Tensor) -> Tensor:
    """(v - mean) / std over the kept entries, 0 elsewhere; all 0 where they are all the same."""
    kept = values[keep]
    if not len(kept) or not (kept != kept[0]).any():
        return torch.zeros_like(values)
    return torch.where(keep, (values - kept.mean()) / kept.std(correction=1), 0.0)


def check_groups(rewards: Tensor, *, least: int = 2) -> Tensor:
    """Return P x G rewards in float32 or float64; refuse groups below ``least``."""
    if rewards.ndim != 2:
        raise ValueError(f"rewards have shape {tuple(rewards.shape)}, not prompts x responses")
    if rewards.shape[1] < least:
        raise bad_value(
            "rollout.responses",
            rewards.shape[1],
            "a group of 1 has no spread and every advantage is 0; give 2 or more",
        )
    return rewards if rewards.dtype == torch.float64 else rewards.float()
