"""Requests of the ranks that hold one engine between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist


class Shares:
    """All requests of the ranks of this one's engine, and which of them are its own.

    The ranks of an engine step through it together, so each must give it the requests of all.
    With an engine to itself, or without a process group, a rank's own requests are all.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        group: dist.ProcessGroup | None,
    ):
        parts = [(prompts, seeds)]
        self._rank = 0
        if group is not None:
            parts = [None] * dist.get_world_size(group)
            dist.all_gather_object(parts, (list(prompts), list(seeds)), group=group)
            self._rank = dist.get_rank(group)
        self.prompts = [prompt for part in parts for prompt in part[0]]
        self.seeds = [seed for part in parts for seed in part[1]]
        start = sum(len(part[0]) for part in parts[: self._rank])
        self._own = slice(start, start + len(prompts))

    def mine(self, answers: Sequence) -> Sequence:
        """Return the answers to this rank's own requests, in its order."""
        return answers[self._own]


def engine_group(ranks_an_engine: int) -> dist.ProcessGroup | None:
    """Return the group of this rank's engine; None where an engine has one rank.

    A collective call: all ranks make it.
    """
    if ranks_an_engine == 1 or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    mine = None
    for first in range(0, dist.get_world_size(), ranks_an_engine):
        ranks = list(range(first, first + ranks_an_engine))
        group = dist.new_group(ranks, backend="gloo")
        if dist.get_rank() in ranks:
            mine = group
    return mine
