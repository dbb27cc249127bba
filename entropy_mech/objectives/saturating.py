"""Exponentials that end at the largest number of their type instead of infinity.

A probability ratio overflows float32 where its logarithm exceeds 88. Often nothing depends on it
there: the advantage is 0, the clip is active, the token is dropped. Then its gradient is 0, but
autograd multiplies that 0 by the ratio, and 0 times infinity is NaN, which spreads to every weight.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def saturated(value: Tensor) -> Tensor:
    """Return the value with the largest numbers of its type for the infinities; NaN stays.

    >>> saturated(torch.tensor([1.0, float("inf")])).tolist() == [1.0, torch.finfo().max]
    True
    """
    largest = torch.finfo(value.dtype).max
    return value.clamp(-largest, largest)


def saturating_exp(x: Tensor) -> Tensor:
    """exp(x), at most the largest number of its type; so is the derivative. Differentiable once."""
    return _Saturating.apply(x, torch.exp, 0)


def saturating_expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, at most the largest number of its type; as ``saturating_exp``."""
    return _Saturating.apply(x, torch.expm1, 1)


class _Saturating(torch.autograd.Function):
    """A function whose derivative is its value plus a constant."""

    @staticmethod
    def forward(ctx, x, function, constant):
        value = function(x).clamp_(max=torch.finfo(x.dtype).max)
        ctx.save_for_backward(value)
        ctx.constant = constant
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (value,) = ctx.saved_tensors
        derivative = value + ctx.constant if ctx.constant else value
        return gradient * derivative, None, None
