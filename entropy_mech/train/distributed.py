"""The processes of one run.

Every process holds the whole rollout and makes the same choices (rows, tokens, updates); only
forward and backward passes are divided among them. So any number of processes choose as one would.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from entropy_mech.errors import UserError, bad_value

T = TypeVar("T")

# In gloo's messages: where in its source, a peer's address, and the ranks a barrier missed.
_SOURCE = re.compile(r"\[[^\[\]]*\.(?:cc|cpp|h):\d+\] ?")
_ADDRESS = re.compile(r"\[([^\[\]]+)\]:\d+")
_MISSED = re.compile(r"[Rr]anks? ([\d, ]+) failed to pass|send/recv from rank (\d+)")


_CPU = torch.device("cpu")


class PeerLost(UserError):
    """Another process of the run did not answer; the message names it."""

    exit_code = 1


class Ranks:
    """One process's rank among ``size``, its device, and the exchanges between them.

    Exchanges are of host memory, over gloo, whatever carries the gradients. With one process
    they do nothing.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        *,
        timeout_s: float = 1800.0,
        device: torch.device = _CPU,
    ):
        self.rank, self.size, self.timeout_s, self.device = rank, size, timeout_s, device
        self.group, self.places = None, [("an unknown host", "")] * size
        if size > 1:
            patience = timedelta(seconds=timeout_s)  # a group of its own does not inherit it
            self.group = dist.new_group(backend="gloo", timeout=patience)
            self.places = self.gather(_place())

    @property
    def first(self) -> bool:
        """Whether this process is rank 0, which writes files and prints."""
        return self.rank == 0

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.size == 1:
            return
        with self.naming_peers("an exchange"):
            for tensor in tensors:
                dist.all_reduce(tensor, group=self.group)

    def from_first(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        if self.size == 1:
            return value
        box = [value]
        with self.naming_peers("a message of rank 0"):
            dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def of_first(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns on rank 0, on every rank; raise its UserError on all."""
        value: T | UserError | None = None
        if self.first:
            try:
                value = make()
            except UserError as error:
                value = error
        value = self.from_first(value)
        if isinstance(value, UserError):
            raise value
        return value

    def on_first(self, make: Callable[[], T]) -> T | None:
        """Return what ``make`` returns on rank 0, None elsewhere; raise its UserError on all."""
        made: list[T] = []
        self.of_first(lambda: made.append(make()))
        return made[0] if made else None

    def gather(self, value: T) -> list[T]:
        """Return every rank's value, in order of ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self.naming_peers("an exchange"):
            dist.all_gather_object(values, value, group=self.group)
        return values

    def meet(self, where: str) -> None:
        """Wait for all; raise PeerLost, naming who is missing, after the timeout."""
        if self.size == 1:
            return
        with self.naming_peers(where):
            dist.monitored_barrier(
                self.group, timeout=timedelta(seconds=self.timeout_s), wait_all_ranks=True
            )

    def limit_waits(self) -> None:
        """Let every process group made so far, an engine's too, wait no longer than this one."""
        if self.size == 1:
            return
        for group in list(dist.distributed_c10d._world.pg_map):
            dist.distributed_c10d._set_pg_timeout(timedelta(seconds=self.timeout_s), group)

    @contextmanager
    def naming_peers(self, where: str = ""):
        """Turn the failure of an exchange into PeerLost; leave other errors.

        In an exchange of our own (``where``) every RuntimeError is one; else, as in an engine's,
        those that name it.
        """
        try:
            yield
        except RuntimeError as error:
            of_a_peer = where or isinstance(error, dist.DistError) or "gloo" in str(error)
            if self.size == 1 or not of_a_peer:
                raise
            raise self._lost(where or "an exchange of weights or gradients", error) from error

    def _lost(self, where: str, error: RuntimeError) -> PeerLost:
        lost = [rank for rank in self._named_in(str(error)) if rank != self.rank]
        if self.size == 2:
            lost = [1 - self.rank]
        names = " and ".join(
            f"rank {rank} on {self.places[rank][0]} ({self.places[rank][1]})" for rank in lost
        )
        return PeerLost(
            f"rank {self.rank} of {self.size}: lost {names or 'a peer'} at {where} "
            f"({_reason(error)}); "
            "look at that rank's own messages, then start again: the run resumes"
        )

    def _named_in(self, text: str) -> list[int]:
        """Return the ranks that an error's text names, by number or else by address."""
        found = [match[1] or match[2] for match in _MISSED.finditer(text)]
        numbers = {int(number) for part in found for number in re.findall(r"\d+", part)}
        if numbers:
            return sorted(numbers)
        addresses = set(_ADDRESS.findall(text)) - {self.places[self.rank][1]}
        return [rank for rank, place in enumerate(self.places) if place[1] in addresses]


def _reason(error: RuntimeError) -> str:
    """Return the first sentence of what torch says."""
    return _SOURCE.sub("", str(error).strip().splitlines()[0]).split(". ")[0]


def _place() -> tuple[str, str]:
    """Return this host's name and its address towards rank 0."""
    master = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    family, kind, *_, address = socket.getaddrinfo(*master, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # of datagrams: nothing is sent
        return socket.gethostname(), probe.getsockname()[0]


def join_ranks(*, timeout_s: float, on_cpu: bool = False) -> Ranks:
    """Return this process's place, as torchrun or the deepspeed launcher says in the environment.

    Without a launcher (no ``WORLD_SIZE``) that is rank 0 of 1, and no process group is made.
    ``on_cpu`` leaves the GPUs of this machine alone, if it has any.

    Raises:
        PeerLost: the others did not come.
        UserError: the environment says something that no launcher says.

    """
    size = _said_by_launcher("WORLD_SIZE", default=1, least=1)
    device = torch.device("cuda" if torch.cuda.is_available() and not on_cpu else "cpu")
    if size == 1:
        return Ranks(device=device)
    for name, least in (("RANK", 0), ("MASTER_PORT", 1)):
        _said_by_launcher(name, default=None, least=least)
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(_said_by_launcher("LOCAL_RANK", default=0, least=0))
        backend = "cpu:gloo,cuda:nccl"
    try:
        if not dist.is_initialized():
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        return Ranks(dist.get_rank(), size, timeout_s=timeout_s, device=device)
    except (RuntimeError, ValueError) as error:
        raise PeerLost(
            f"rank {os.environ.get('RANK', '?')} of {size}: not all processes of the run met at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} within "
            f"{timeout_s:g} s ({_reason(error)}); "
            "start all of them, with one address and open ports"
        ) from error


def _said_by_launcher(name: str, *, default: int | None, least: int) -> int:
    """Return a whole number of the environment, which torchrun and others like it set."""
    text = os.environ.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise bad_value(
            name, text, "a launcher such as torchrun sets it: start by one, or unset WORLD_SIZE"
        )
    return int(text)


def leave_ranks(ranks: Ranks) -> None:
    """Take down the process group that ``join_ranks`` made, if it made one."""
    if ranks.size > 1 and dist.is_initialized():
        dist.destroy_process_group()
