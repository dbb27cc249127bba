"""Token log-probability and entropy from hidden states: the one place where both are made."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from entropy_mech.errors import bad_value
from entropy_mech.objectives.chunked_head import chunked_logprobs_and_entropy

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

    Up to ``PLAIN_LOGITS`` logits (N V) all of them are formed; beyond, or where a tile is given,
    they are formed tile by tile, in the backward pass those again that the memory of the head's
    gradient could not hold in between, and never exist together beside it.

    Args:
        hidden: N x D, the states that predict the tokens.
        head_weight: V x D, the language-model head (tied or not; its gradient flows where it
            asks for one), in the dtype of ``hidden``. Products are taken in that dtype, all
            sums over words in float32 or wider. Call it outside ``torch.autocast``.
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
    tiled = chunk_tokens is not None or block_words is not None
    if len(tokens) == 0 or (not tiled and len(tokens) * len(head_weight) <= PLAIN_LOGITS):
        return _plain(hidden, head_weight, tokens, temperature, entropy_gradient)
    return chunked_logprobs_and_entropy(
        hidden,
        head_weight,
        tokens,
        temperature=temperature,
        entropy_gradient=entropy_gradient,
        chunk_tokens=chunk_tokens,
        block_words=block_words,
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
