"""What a sampler asks of an engine, how requests are split over engines, and how engines fail."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from entropy_mech.errors import UserError
from entropy_mech.sampling.sampler import Completions

# -- Splitting requests over engines -------------------------------------------------------------

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


# -- The engine protocol -------------------------------------------------------------------------


class SamplerError(UserError):
    """A sampler's engine was lost, was silent for too long, or failed. The message names it."""

    exit_code = 1


class StaleWeightsError(SamplerError):
    """A sampler has other weights than the trainer."""


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is started with; plain values, so that they can be sent.

    Attributes:
        model_folder: folder or hub id in Hugging Face format, as the engine's host sees it.
        dtype: ``float32`` or ``bfloat16``.
        max_model_len: tokens of the longest prompt and response together.
        max_num_batched_tokens: tokens of one step of the engine.
        policy_version: optimizer steps behind the weights in ``model_folder``.
        revision: of a hub id: the commit that the trainer has loaded; of a folder, nothing.

    """

    model_folder: str
    dtype: str
    max_model_len: int
    seed: int
    eos_token: int
    tensor_parallel: int
    gpu_memory_fraction: float
    max_sequences: int
    max_num_batched_tokens: int
    enforce_eager: bool
    policy_version: int
    revision: str | None = None

    def table(self) -> dict[str, Any]:
        """Return the settings as a table that ``EngineSettings(**table)`` reads."""
        return asdict(self)


@dataclass(frozen=True)
class Sampled:
    """Responses end to end.

    Attributes:
        tokens: N, int64, those of the first response, then of the second, ...
        logp: N, float32, nats, at the sampling temperature.
        lengths: B, int64, tokens of each response.
        finished: B, bool.
        policy_version: of the weights that the engine holds.

    """

    tokens: np.ndarray
    logp: np.ndarray
    lengths: np.ndarray
    finished: np.ndarray
    policy_version: int | None


class Engine(Protocol):
    """One vLLM engine. Every method raises SamplerError where the engine fails or is lost."""

    name: str
    policy_version: int | None

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        max_new_tokens: int,
        timeout_s: float,
    ) -> Sampled:
        """Sample a response a prompt."""
        ...

    def logprobs(self, tokens: Sequence[int], *, timeout_s: float) -> np.ndarray:
        """Return the log-probability at temperature 1 of each token but the first, float32."""
        ...

    def load(
        self, weights: Iterable[tuple[str, Tensor]], *, policy_version: int, timeout_s: float
    ) -> None:
        """Take new weights, and forget what was computed with the old ones."""
        ...

    def load_file(self, path: Path, *, timeout_s: float) -> None:
        """The same, from a file that this engine's host sees too."""
        ...

    def sleep(self, *, timeout_s: float) -> None:
        """Give the GPU's memory back. The weights are gone: only a load makes them whole."""
        ...

    def wake(self, *, timeout_s: float) -> None:
        """Take the memory of the weights again; the next load takes the rest."""
        ...

    def close(self) -> None:
        """End the engine, and its processes."""
        ...


@contextmanager
def naming(name: str, what: str) -> Iterator[None]:
    """Turn whatever is raised inside into one line: which engine, and what it was doing."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise SamplerError(f"{name}: {what} failed: {last_line(error)}") from error


def this_process() -> str:
    """Return how messages name this process."""
    return f"pid {os.getpid()} on {platform.node()}"


def last_line(error: BaseException) -> str:
    """Return an error's kind and the last line of its message, for a message of one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__
