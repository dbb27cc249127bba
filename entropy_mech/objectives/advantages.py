"""Advantages from rewards."""

from __future__ import annotations

import torch
from torch import Tensor

from entropy_mech.errors import bad_value


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
    if rewards.ndim != 2:
        raise ValueError(f"rewards have shape {tuple(rewards.shape)}, not prompts x responses")
    if rewards.shape[1] < 2:
        raise bad_value(
            "rollout.responses",
            rewards.shape[1],
            "a group of 1 has no spread and every advantage is 0; give 2 or more",
        )
    rewards = rewards if rewards.dtype == torch.float64 else rewards.float()
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    std = rewards.std(dim=1, correction=correction, keepdim=True)
    mixed = mixed_outcome_groups(rewards).unsqueeze(1)
    return torch.where(mixed, centred / torch.where(mixed, std, 1.0), 0.0)


def mixed_outcome_groups(rewards: Tensor) -> Tensor:
    """Return which prompts (P, bool) have responses of different reward: those the filter keeps."""
    return (rewards != rewards[:, :1]).any(dim=1)
