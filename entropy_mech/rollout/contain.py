"""Keeps what a library does to the whole process from reaching the trainer in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist


@contextmanager
def contained() -> Iterator[None]:
    """Put back, at the end, the global generators, the thread count and the means to set it.

    vLLM seeds the generators of Python, NumPy and torch, and its CPU build replaces
    ``torch.set_num_threads`` by a function that does nothing. Two functions of
    ``torch.accelerator`` stay replaced: its engine goes on needing that, and without an
    accelerator they can but raise.
    """
    threads = torch.get_num_threads()
    # NumPy's global generator: not one of ours, but vLLM seeds it.
    numpy_state = np.random.get_state()  # noqa: NPY002
    states = random.getstate(), torch.get_rng_state()
    gpu_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    set_num_threads = torch.set_num_threads
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        random.setstate(states[0])
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(states[1])
        if gpu_states:
            torch.cuda.set_rng_state_all(gpu_states)


@contextmanager
def keeping_process_group() -> Iterator[None]:
    """Let nobody destroy the default process group: vLLM's shutdown does, and it is the trainer's.

    Groups that vLLM made for itself are destroyed all the same.
    """
    destroy = dist.destroy_process_group
    dist.destroy_process_group = lambda group=None: None if group is None else destroy(group)
    try:
        yield
    finally:
        dist.destroy_process_group = destroy
