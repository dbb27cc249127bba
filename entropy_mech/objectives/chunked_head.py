"""Log-probability and entropy of tokens without their logits: tile by tile, recomputed backward.

At V = 151,936 the logits of 2,048 tokens take 1.2 GB, and autograd keeps several tensors of that
size. Here one tile of some tokens by some words exists at a time, in the forward pass and again in
the backward pass; between them six numbers a token are kept, and as many logits as fit into the
memory of the head's gradient. That memory is needed by the end of the backward pass at the latest,
and nothing uses it before: so it holds logits until gradients take their place, and those logits
are not computed twice. With no more tokens than hidden units that is all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entropy_mech.objectives.softmax_tiles import (
    Statistics,
    gradient_terms,
    joined,
    put_own,
    take_own,
    tile_gradient,
    tile_statistics,
)

# Of a tile: at most so many tokens, and so many logits (16 MiB of float32 on a CPU). Fewer tokens
# read and add to the head's gradient oftener; smaller tiles spend more on starting operations,
# which a GPU feels more.
CHUNK_TOKENS = {"cpu": 2048, "cuda": 4096}
TILE_LOGITS = {"cpu": 2**22, "cuda": 2**26}
# Of a block's words at least this share must fit into its gradient: thinner products are slow.
LEAST_KEPT = 1 / 8


def chunked_logprobs_and_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    entropy_gradient: bool = False,
    chunk_tokens: int | None = None,
    block_words: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``logprobs_and_entropy`` in tiles of ``chunk_tokens`` x ``block_words`` logits.

    Memory beyond inputs and gradients is two tiles and a few numbers a token (a third tile where
    both results have gradients and the temperature is not 1). The gradient of ``head_weight`` is
    summed in one V x D buffer, float32 where the weight is narrower, which is then cast; it exists
    from the forward pass on and holds logits of the first chunk until the backward pass. A frozen
    ``hidden`` or head costs nothing in the backward pass. Differentiable once; at least one token.

    Raises:
        IndexError: a token is not one of the V words.

    """
    words = len(head_weight)
    low, high = map(int, torch.aminmax(tokens))
    if low < 0 or high >= words:
        raise IndexError(f"tokens from {low} to {high}, but words from 0 to {words - 1}")
    device = "cpu" if hidden.device.type == "cpu" else "cuda"
    chunk = min(chunk_tokens or CHUNK_TOKENS[device], len(tokens))
    block = min(block_words or max(TILE_LOGITS[device] // chunk, 1), words)
    keep = torch.is_grad_enabled() and head_weight.requires_grad
    return _ChunkedHead.apply(
        hidden, head_weight, tokens, temperature, entropy_gradient, (chunk, block), keep
    )


class _ChunkedHead(torch.autograd.Function):
    """The head's weight is kept by ``save_for_backward`` alone.

    That keeps the parameter, not its values: sharded between the passes (ZeRO-3) it takes no
    memory there, and the backward pass sees it as it was gathered again.
    """

    @staticmethod
    def forward(ctx, hidden, head_weight, tokens, temperature, entropy_gradient, tile, keep):
        tiles = _Tiles(hidden, head_weight, tile)
        kept = tiles.gradient_of_head() if keep else None
        logit = hidden.new_zeros(len(tokens), dtype=tiles.dtype)  # of each token
        parts = []
        for rows in tiles.rows():
            blocks = []
            for words, logits, spare in tiles.of(rows, kept):
                take_own(logits, tokens[rows], words, out=logit[rows])
                blocks.append(tile_statistics(logits, spare, temperature))
            parts.append(joined(blocks, temperature))
        stats = Statistics(*map(torch.cat, zip(*parts, strict=True)))
        logp = (logit - stats.top) / temperature - stats.rest_at_temperature.log1p()
        entropy = stats.rest.log1p() - stats.slope / (1 + stats.rest)
        ctx.save_for_backward(hidden, head_weight, tokens, logit, logp, *stats)
        ctx.temperature, ctx.tile, ctx.kept = temperature, tile, kept
        ctx.set_materialize_grads(False)
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_logp, grad_entropy):
        if grad_logp is None and grad_entropy is None:
            return (None,) * 7
        hidden, head_weight, tokens, logit, logp, *stats = ctx.saved_tensors
        terms = gradient_terms(
            grad_logp, grad_entropy, logit, logp, Statistics(*stats), ctx.temperature
        )
        tiles = _Tiles(hidden, head_weight, ctx.tile)
        # The gradient takes the kept logits' place, so a second backward pass computes its own.
        kept, ctx.kept = ctx.kept, None
        to_hidden = to_weight = None
        if ctx.needs_input_grad[0]:
            to_hidden = torch.empty_like(hidden, dtype=tiles.dtype)
        if ctx.needs_input_grad[1]:
            to_weight = tiles.gradient_of_head() if kept is None else kept
        for rows in tiles.rows():
            columns = terms.rows(rows)
            for words, logits, spare in tiles.of(rows, kept, filled=True):
                grad = tile_gradient(logits, spare, columns, ctx.temperature)
                put_own(grad, tokens[rows], words, columns.at_token)
                if to_hidden is not None:
                    _add(to_hidden[rows], grad, head_weight[words], first=words.start == 0)
                if to_weight is not None:
                    _add(to_weight[words], grad.T, hidden[rows], first=rows.start == 0)
        to_hidden, to_weight = (
            None if total is None else total.to(hidden.dtype) for total in (to_hidden, to_weight)
        )
        return to_hidden, to_weight, None, None, None, None, None


class _Tiles:
    """Walks over the logits, tile by tile, in the same memory."""

    def __init__(self, hidden: Tensor, head_weight: Tensor, tile: tuple[int, int]):
        self.hidden, self.head_weight, self.tile = hidden, head_weight, tile
        self.dtype = torch.promote_types(hidden.dtype, torch.float32)
        self.memory = hidden.new_empty(2, tile[0] * tile[1], dtype=self.dtype)

    def gradient_of_head(self) -> Tensor:
        """Return memory for the gradient of the head (V x D), nothing in it yet."""
        return self.hidden.new_empty(self.head_weight.shape, dtype=self.dtype)

    def rows(self) -> Iterator[slice]:
        """Yield chunks of tokens."""
        return _slices(len(self.hidden), self.tile[0])

    def of(
        self, rows: slice, kept: Tensor | None, *, filled: bool = False
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield blocks of words, their logits, and spare memory of that shape.

        Logits that ``kept`` has room for are written there or, where it is ``filled``, read from
        there. A block's rows of it are free for the block's gradient once it has been yielded.
        """
        hidden = self.hidden[rows]
        for words in _slices(len(self.head_weight), self.tile[1]):
            shape = len(hidden), words.stop - words.start
            logits, spare = self.memory[:, : shape[0] * shape[1]].unflatten(1, shape)
            home = logits[:, :0] if kept is None or rows.start else _home(kept[words], len(hidden))
            known = home.shape[1] if filled else 0
            weight = self.head_weight[words][known:]
            if hidden.dtype == self.dtype:
                torch.mm(hidden, weight.T, out=logits[:, known:])
            else:
                logits[:, known:].copy_(hidden @ weight.T)
            if filled:
                logits[:, :known].copy_(home)
            else:
                home.copy_(logits[:, : home.shape[1]])
            yield words, logits, spare


def _home(gradient: Tensor, tokens: int) -> Tensor:
    """Return where a block's gradient (words x D) can keep logits: tokens x its first words.

    As many words as fit, or none. For one chunk of tokens alone, whose gradient is the first to
    take their place.
    """
    words = len(gradient)
    fit = min(gradient.numel() // tokens, words)
    if fit < LEAST_KEPT * words:
        fit = 0
    return gradient.view(-1)[: tokens * fit].view(tokens, fit)


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _add(total: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """Total += left @ right; the first time it is overwritten, so it need not be zeroed."""
    if right.dtype == torch.float16:
        right = right.float()  # a probability times a weight of the loss underflows in float16
    if right.dtype == total.dtype:
        total.addmm_(left, right, beta=0 if first else 1)
    elif first:
        total.copy_(left.to(right.dtype) @ right)
    else:
        total.add_(left.to(right.dtype) @ right)
