"""The processes of one run.

Every process holds the whole rollout and decides alike (which rows, which tokens, which updates);
only forward and backward passes are divided among them. What one process would choose is then
chosen by any number of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from entropy_mech.errors import UserError

T = TypeVar("T")


class PeerLost(UserError):
    """Another process of the run did not answer; the message names it."""

    exit_code = 1


class Ranks:
    """One process's place among ``size``, and the exchanges between them.

    Exchanges are of host memory, over gloo, whatever carries the gradients. With one process
    they do nothing.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, timeout_s: float = 1800.0):
        self.rank, self.size, self.timeout_s = rank, size, timeout_s
        self.group = dist.new_group(backend="gloo") if size > 1 else None

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the processes."""
        self._reduce(dist.ReduceOp.SUM, tensors)

    def max_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its elementwise maximum over the processes."""
        self._reduce(dist.ReduceOp.MAX, tensors)

    def _reduce(self, operation, tensors: Sequence[Tensor]) -> None:
        if self.size == 1:
            return
        with self._naming_peers("an exchange"):
            for tensor in tensors:
                dist.all_reduce(tensor, op=operation, group=self.group)

    def from_first(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        if self.size == 1:
            return value
        box = [value]
        with self._naming_peers("a message of rank 0"):
            dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return every rank's value, in order of ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._naming_peers("an exchange"):
            dist.all_gather_object(values, value, group=self.group)
        return values

    def meet(self, where: str) -> None:
        """Wait for all; raise PeerLost, naming who is missing, after the timeout."""
        if self.size == 1:
            return
        with self._naming_peers(where):
            dist.monitored_barrier(
                self.group, timeout=timedelta(seconds=self.timeout_s), wait_all_ranks=True
            )

    @contextmanager
    def _naming_peers(self, where: str):
        try:
            yield
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise PeerLost(
                f"rank {self.rank} of {self.size}: a peer was lost at {where} ({reason}); "
                "look at that rank's own messages, then start again: the run resumes"
            ) from error


def join_ranks(*, timeout_s: float) -> Ranks:
    """Return this process's place, as torchrun or the deepspeed launcher says in the environment.

    Without a launcher (no ``WORLD_SIZE``) that is rank 0 of 1, and no process group is made.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    return Ranks(dist.get_rank(), size, timeout_s=timeout_s)


def leave_ranks(ranks: Ranks) -> None:
    """Take down the process group that ``join_ranks`` made, if it made one."""
    if ranks.size > 1 and dist.is_initialized():
        dist.destroy_process_group()
