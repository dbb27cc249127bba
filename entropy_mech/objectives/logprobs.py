"""Token log-probability and entropy from hidden states: the one place where both are computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from entropy_mech.errors import bad_value

# -- Softmax on tiles of logits (some tokens x some words) ---------------------------------------
# With d_j = l_j - l_max <= 0 and, over all words but the likeliest one,
#
#     rest = sum exp(d_j),   slope = sum exp(d_j) d_j,   spread = -slope / (1 + rest),
#
# the normaliser is 1 + rest, and
#
#     log p_j = d_j - log1p(rest),              d log p_i / d l_j = [i = j] - p_j,
#     H = -sum p log p = log1p(rest) + spread,  d H / d l_j = -p_j (d_j + spread).
#
# Both terms of H are positive, so nothing cancels: a near-deterministic policy keeps all digits
# of its entropy. Taken from a float32 log-softmax, -sum p log p loses the likeliest word's term
# there, because that word's log-probability rounds to 0.


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
    of_logp: Tensor  # multiplies exp(d / temperature)
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
    grad_logp: Tensor,
    grad_entropy: Tensor | None,
    logit: Tensor,
    logp: Tensor,
    stats: Statistics,
    temperature: float,
) -> GradientTerms:
    """Factors for the given gradients by ``logp`` and entropy; ``logit`` is the token's own."""
    spread = -stats.slope / (1 + stats.rest)
    of_entropy = None
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


# -- Float32 logits of half-precision states ------------------------------------------------------

HALF = (torch.bfloat16, torch.float16)


def float32_product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Left @ right (both matrices) in float32 or wider, whatever their dtype.

    A product in bfloat16 is summed in float32 and then rounded to 8 bits: logits of 20 are off by
    up to 0.06 nats. A GPU can leave the sum as it is.
    """
    if left.dtype not in HALF:
        return torch.mm(left, right, out=out)
    if left.is_cpu:
        return torch.mm(left.float(), right.float(), out=out)
    return torch.mm(left, right, out_dtype=torch.float32, out=out)


# -- Log-probability and entropy without all logits ----------------------------------------------
# At V = 151,936 the logits of 2,048 tokens take 1.2 GB, and autograd keeps several tensors of
# that size. Here one tile of some tokens by some words exists at a time, in the forward pass and
# again in the backward pass; between them six numbers a token are kept, and as many logits as fit
# into the memory of the head's gradient. That memory is needed by the end of the backward pass at
# the latest, and nothing uses it before: so it holds logits until gradients take their place, and
# those logits are not computed twice. With no more tokens than hidden units that is all of them.

# The largest tile, in tokens and in logits (16 MiB of float32 on a CPU). With fewer tokens the
# head's gradient is read and written more often; with smaller tiles more time goes into launching
# operations, which matters more on a GPU.
CHUNK_TOKENS = {"cpu": 2048, "cuda": 4096}
TILE_LOGITS = {"cpu": 2**22, "cuda": 2**26}
# Logits are kept only where those of this share of a block's words fit: thin products are slow.
LEAST_KEPT = 1 / 8


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
        hidden, head_weight, tokens, logit, logp, *stats = ctx.saved_tensors
        grad_logp = torch.zeros_like(logp) if grad_logp is None else grad_logp
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
            float32_product(hidden, weight.T, out=logits[:, known:])
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


# -- Log-probability and entropy -----------------------------------------------------------------

# Up to this many logits (16 MiB in float32) they are simply formed: saving and recomputing them
# tile by tile would cost more time than it spares (benchmarks/RESULTS-head.md).
PLAIN_LOGITS = 2**22


def token_entropy(logits: Tensor) -> Tensor:
    """-sum p log p over the last axis, in nats, in float32 (float64 stays). Differentiable.

    Computed as log(1 + r) + sum_j exp(d_j) (-d_j) / (1 + r) with d = l - max l and
    r = sum exp(d) over all words but the likeliest: all terms are positive, so a
    near-deterministic policy keeps its digits. The form logsumexp(l) - sum(p l) cancels: in
    bfloat16 it is wrong by up to 0.3 nats a token at V = 151,936. A logit of -inf adds nothing.

    >>> token_entropy(torch.zeros(4)).item()   # log 4
    1.3862943649291992
    """
    logits = at_least_float32(logits)
    top, at = logits.max(dim=-1, keepdim=True)
    d = logits - top
    weight = d.exp()
    rest = weight.scatter(-1, at, 0.0).sum(dim=-1)
    # 0 log 0 = 0, also in the gradient: an impossible word has d = -inf.
    spread = (weight * -d.masked_fill(weight == 0, 0.0)).sum(dim=-1) / (1 + rest)
    return rest.log1p() + spread


def logprobs_and_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    entropy_gradient: bool = False,
    chunk_tokens: int | None = None,
    block_words: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token and the entropy of the policy that chose it.

    Up to ``PLAIN_LOGITS`` logits (N V) all of them are formed. Beyond, in half precision, or where
    a tile size is given, they are formed in tiles of ``chunk_tokens`` x ``block_words``, and again
    in the backward pass but for those that the memory of the head's gradient could hold in between.

    Memory beyond inputs and gradients is then two tiles and a few numbers a token (a third tile
    where both results have gradients and the temperature is not 1). The gradient of ``head_weight``
    is summed in one V x D buffer, float32 where the weight is narrower, which is then cast; it
    exists from the forward pass on and holds logits of the first chunk until the backward pass. A
    frozen ``hidden`` or head costs nothing in the backward pass. Tiles are differentiable once.

    Args:
        hidden: N x D, the states that predict the tokens.
        head_weight: V x D, the language-model head (tied or not; its gradient flows where it
            asks for one), in the dtype of ``hidden``. Logits and all sums over words are float32
            or wider. Call it outside ``torch.autocast``.
        tokens: N, token ids.
        temperature: that of the sampling distribution, for ``logp`` alone; the entropy is
            always that of temperature 1 (paper, Eq. 5).
        entropy_gradient: whether the entropy is differentiable too (for an entropy bonus).
        chunk_tokens: at most this many rows of logits exist at once.
        block_words: at most this many columns of logits exist at once.

    Returns:
        ``logp`` and ``entropy``: N each, float32 (float64 stays), nats. ``logp`` is
        differentiable; ``entropy`` is detached unless ``entropy_gradient``.

    Raises:
        UserError: a temperature or tile size that is not positive.
        IndexError: a token is not one of the V words.

    """
    sizes = {"temperature": temperature, "chunk_tokens": chunk_tokens, "block_words": block_words}
    for name, size in sizes.items():
        if size is not None and not size > 0:
            raise bad_value(name, size, "give a positive number")
    if hidden.ndim != 2 or tokens.shape != hidden.shape[:1]:
        shapes = f"{tuple(hidden.shape)} and {tuple(tokens.shape)}"
        raise ValueError(f"hidden and tokens have shapes {shapes}; give N x D and N")
    words = len(head_weight)
    tiled = chunk_tokens is not None or block_words is not None
    # Tiles alone keep the logits of half precision in float32: no size decides the precision.
    plain = hidden.dtype not in HALF and not tiled and len(tokens) * words <= PLAIN_LOGITS
    if len(tokens) and (tokens.is_cpu or not plain):  # a GPU need not be waited for: it checks
        low, high = torch.stack(torch.aminmax(tokens)).tolist()  # together: one wait
        if low < 0 or high >= words:
            raise IndexError(f"tokens from {low} to {high}, but words from 0 to {words - 1}")
    if len(tokens) == 0 or plain:
        return _plain(hidden, head_weight, tokens, temperature, entropy_gradient)
    device = "cpu" if hidden.device.type == "cpu" else "cuda"
    chunk = min(chunk_tokens or CHUNK_TOKENS[device], len(tokens))
    tile = chunk, min(block_words or max(TILE_LOGITS[device] // chunk, 1), words)
    keep = torch.is_grad_enabled() and head_weight.requires_grad
    return _ChunkedHead.apply(
        hidden, head_weight, tokens, temperature, entropy_gradient, tile, keep
    )


def _plain(
    hidden: Tensor, head_weight: Tensor, tokens: Tensor, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    # linear, not @: DeepSpeed replaces it under ZeRO-3 by one that keeps no gathered weight.
    logits = at_least_float32(functional.linear(hidden, head_weight))
    entropy = token_entropy(logits if entropy_gradient else logits.detach())
    cooled = logits if temperature == 1.0 else logits / temperature
    logp = torch.log_softmax(cooled, dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return logp, entropy


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen half precision to float32; sums are never taken in less."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
