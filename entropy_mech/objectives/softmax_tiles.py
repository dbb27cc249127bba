"""Softmax statistics and gradients on tiles of logits (some tokens x some words).

With d_j = l_j - l_max <= 0 and, over all words but the likeliest one,

    rest = sum exp(d_j),   slope = sum exp(d_j) d_j,   spread = -slope / (1 + rest),

the normaliser is 1 + rest, and

    log p_j = d_j - log1p(rest),              d log p_i / d l_j = [i = j] - p_j,
    H = -sum p log p = log1p(rest) + spread,  d H / d l_j = -p_j (d_j + spread).

Both terms of H are positive, so nothing cancels: a near-deterministic policy keeps all digits of
its entropy. Taken from a float32 log-softmax, -sum p log p loses the likeliest word's term there,
because that word's log-probability rounds to 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """What the softmax of each token needs; shapes alike, the last axis counts tokens."""

    top: Tensor  # largest logit
    rest: Tensor
    slope: Tensor
    rest_at_temperature: Tensor  # rest of the logits divided by the temperature


class GradientTerms(NamedTuple):
    """Factors of d loss / d logits, a value a token: see ``tile_gradient``."""

    top: Tensor
    spread: Tensor
    of_logp: Tensor | None  # multiplies exp(d / temperature)
    of_entropy: Tensor | None  # multiplies exp(d) (d + spread)
    at_token: Tensor  # the whole gradient at the token's own word

    def rows(self, rows: slice) -> GradientTerms:
        """Return those of some tokens as columns, to be broadcast over words."""
        return GradientTerms(*(None if term is None else term[rows, None] for term in self))


def tile_statistics(logits: Tensor, spare: Tensor, temperature: float) -> Statistics:
    """Statistics over one tile's words. Overwrites ``logits`` and ``spare`` (of equal shape)."""
    top, at = logits.max(dim=-1, keepdim=True)
    d = logits.sub_(top)
    beside_top = torch.exp(d, out=spare).scatter_(1, at, 0.0)
    rest = beside_top.sum(dim=-1)
    slope = beside_top.mul_(d).sum(dim=-1)
    cooled = rest
    if temperature != 1.0:
        cooled = _cooled(d, temperature).exp_().scatter_(1, at, 0.0).sum(dim=-1)
    return Statistics(top.squeeze(-1), rest, slope, cooled)


def joined(blocks: list[Statistics], temperature: float) -> Statistics:
    """Statistics over all words from those over blocks of words."""
    tops, rests, slopes, cooled = map(torch.stack, zip(*blocks, strict=True))
    top, at = tops.max(dim=0, keepdim=True)
    d = tops - top  # 0 in the block that holds the likeliest word: its 1 stays apart

    def beside_top(rest: Tensor, d: Tensor) -> Tensor:
        return ((1 + rest) * d.exp()).scatter(0, at, rest.gather(0, at)).sum(dim=0)

    return Statistics(
        top.squeeze(0),
        beside_top(rests, d),
        (d.exp() * (slopes + d * (1 + rests))).sum(dim=0),
        beside_top(cooled, d / temperature),
    )


def gradient_terms(
    grad_logp: Tensor | None,
    grad_entropy: Tensor | None,
    logit: Tensor,
    logp: Tensor,
    stats: Statistics,
    temperature: float,
) -> GradientTerms:
    """Factors for the given gradients by ``logp`` and entropy; ``logit`` is the token's own."""
    spread = -stats.slope / (1 + stats.rest)
    of_logp = of_entropy = None
    at_token = torch.zeros_like(logp)
    if grad_logp is not None:
        of_logp = -grad_logp / (temperature * (1 + stats.rest_at_temperature))
        # 1 - p, exact also where p is almost 1.
        at_token = grad_logp / temperature * -torch.expm1(logp)
    if grad_entropy is not None:
        of_entropy = -grad_entropy / (1 + stats.rest)
        d = logit - stats.top
        at_token = at_token + of_entropy * d.exp() * (d + spread)
    return GradientTerms(stats.top, spread, of_logp, of_entropy, at_token)


def tile_gradient(
    logits: Tensor, spare: Tensor, terms: GradientTerms, temperature: float
) -> Tensor:
    """D loss / d logits of one tile but for the tokens' own words, in the memory of ``logits``.

    ``terms`` are columns: one row a token of the tile. Overwrites ``spare``.
    """
    d = logits.sub_(terms.top)
    if terms.of_entropy is None:
        return _cooled(d, temperature).exp_().mul_(terms.of_logp)
    p = torch.exp(d, out=spare)
    if terms.of_logp is None:
        return d.add_(terms.spread).mul_(terms.of_entropy).mul_(p)
    if temperature == 1.0:
        return d.add_(terms.spread).mul_(terms.of_entropy).add_(terms.of_logp).mul_(p)
    by_logp = (d / temperature).exp_().mul_(terms.of_logp)
    return d.add_(terms.spread).mul_(terms.of_entropy).mul_(p).add_(by_logp)


def _cooled(d: Tensor, temperature: float) -> Tensor:
    return d if temperature == 1.0 else d.div_(temperature)


def take_own(tile: Tensor, tokens: Tensor, words: slice, out: Tensor) -> None:
    """Write each token's own entry of the tile to ``out``, where the tile holds it."""
    at, inside = _own(tokens, words, tile.shape[1])
    out.copy_(torch.where(inside, tile.gather(1, at), out.unsqueeze(-1)).squeeze(-1))


def put_own(tile: Tensor, tokens: Tensor, words: slice, values: Tensor) -> None:
    """Write a column of values to each token's own entry, where the tile holds it."""
    at, inside = _own(tokens, words, tile.shape[1])
    tile.scatter_(1, at, torch.where(inside, values, tile.gather(1, at)))


def _own(tokens: Tensor, words: slice, width: int) -> tuple[Tensor, Tensor]:
    # A clamped index and a mask, not a list of rows: no waiting for the GPU.
    at = (tokens - words.start).unsqueeze(-1)
    return at.clamp(0, width - 1), (at >= 0) & (at < width)
