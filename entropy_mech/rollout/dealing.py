"""Requests dealt to engines, and their answers put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from entropy_mech.rollout.engine import Engine, Sampled
from entropy_mech.rollout.sampler import Completions

T = TypeVar("T")


def deal(count: int, engines: int) -> list[np.ndarray]:
    """Return each engine's places: like cards, so that lengths and difficulties are mixed.

    A response depends on its own request alone, so this changes speed and never a result.

    >>> [places.tolist() for places in deal(5, 2)]
    [[0, 2, 4], [1, 3]]
    """
    return [np.arange(first, count, engines) for first in range(engines)]


def at_once(engines: Sequence[Engine], ask: Callable[[int, Engine], T]) -> list[T]:
    """Call ``ask`` for every engine at the same time; return the answers, or raise the first error.

    Every engine has answered or failed when this returns, so none is left in the middle of a call.
    """
    if len(engines) == 1:
        return [ask(0, engines[0])]
    with ThreadPoolExecutor(len(engines)) as pool:
        waiting = [pool.submit(ask, i, engine) for i, engine in enumerate(engines)]
    return [each.result() for each in waiting]


def completions(
    parts: Sequence[Sampled], places: Sequence[np.ndarray], *, pad_token: int, policy_version: int
) -> Completions:
    """Return the responses of all engines in the order of the requests, padded on the right."""
    count = sum(len(where) for where in places)
    longest = max((int(part.lengths.max()) for part in parts if len(part.lengths)), default=0)
    tokens = np.full((count, longest), pad_token, dtype=np.int64)
    logp = np.zeros((count, longest), dtype=np.float32)
    lengths = np.zeros(count, dtype=np.int64)
    finished = np.zeros(count, dtype=bool)
    for part, where in zip(parts, places, strict=True):
        lengths[where], finished[where] = part.lengths, part.finished
        columns = np.arange(longest) < part.lengths[:, None]
        row, column = np.nonzero(columns)
        tokens[where[row], column] = part.tokens
        logp[where[row], column] = part.logp
    return Completions(
        tokens=torch.from_numpy(tokens),
        response_mask=torch.from_numpy(np.arange(longest) < lengths[:, None]),
        logp_sampler=torch.from_numpy(logp),
        finished=torch.from_numpy(finished),
        policy_version=policy_version,
    )


def seed_of(key: int) -> int:
    """Return vLLM's seed for a request's 64-bit key: its lower 63 bits.

    vLLM takes -1 for "no seed" and stores seeds as signed words. torch's CPU generator uses the
    lower 32 bits of these alone; two of 2,048 responses then share a stream once in 2,000
    rollouts, and only two of the same prompt could show it.
    """
    return int(key) & 0x7FFF_FFFF_FFFF_FFFF
