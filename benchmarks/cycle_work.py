"""What one cycle of ``cycle_vs_trl`` is, and how many multiplications it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

PROMPTS, RESPONSES, MAX_TOKENS, UPDATES = 32, 8, 64, 4
LEARNING_RATE = 1e-6  # real steps that leave the lengths as they are
NO_SUCH_TOKEN = 999_999  # as end-of-sequence: no response ends


def reward(text: str) -> float:
    """Return 1 where the response begins with a digit below 5: about half of each group."""
    return float(text[:1] in {"0", "1", "2", "3", "4"})


def matmul_gflops(size: int = 1024, products: int = 8) -> float:
    """Return the float32 matmul speed of this process's threads, the best of a few products."""
    import torch

    a = torch.randn(size, size)
    times = []
    for _ in range(products):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


def flops(lengths: Sequence[tuple[int, int]], model: dict) -> float:
    """Return the floating-point operations of a cycle's matrix products, nothing wasted.

    Every token of the lengths (prompt, response) is passed once when sampled (the last one is
    not), once for its old log-probability and three times in the update (forward, and twice
    that backward). Attention is counted causal; the head on response tokens only.
    """
    block, head, width = model["block_parameters"], model["head_parameters"], model["attention"]
    total = 0.0
    for prompt, response in lengths:
        whole = prompt + response
        forward = 2.0 * block * whole + 2.0 * head * response + 2.0 * width * whole * whole
        last = 2.0 * block + 4.0 * width * whole  # the last token is sampled and not passed
        total += (forward - last) + forward + 3 * forward
    return total
