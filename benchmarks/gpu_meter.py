"""Seconds and peak memory of ``gpu_phases``'s phases."""

from __future__ import annotations

import os
import re
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from gpu_work import settle

from entropy_mech.config.shapes import Architecture

GIB = 2**30


class Meter:
    """Collects, for each phase, seconds, peak bytes, tokens and model FLOPs of every round."""

    def __init__(self, device: torch.device):
        self.device, self.rounds = device, {}

    @contextmanager
    def phase(self, name: str) -> Iterator[dict]:
        """Measure a block; the caller puts ``tokens`` and ``flops`` into what it is given."""
        done = {"tokens": 0, "flops": 0.0}
        reset_peak(self.device)
        settle(self.device)
        start = time.perf_counter()
        yield done
        settle(self.device)
        done["seconds"] = time.perf_counter() - start
        done["peak_bytes"] = peak_bytes(self.device)
        done["device_bytes"] = device_bytes(self.device)
        self.rounds.setdefault(name, []).append(done)

    def summary(self, warm_up: int = 1) -> list[dict]:
        """Return a row a phase: medians over the rounds after the first, the largest memory."""
        rows = []
        for name, rounds in self.rounds.items():
            later = rounds[warm_up:] or rounds
            seconds = [done["seconds"] for done in later]
            rows.append(
                {
                    "phase": name,
                    "rounds": len(later),
                    "seconds": statistics.median(seconds),
                    "seconds_least": min(seconds),
                    "seconds_most": max(seconds),
                    "tokens": statistics.median(done["tokens"] for done in later),
                    "flops": statistics.median(done["flops"] for done in later),
                    "peak_bytes": max(done["peak_bytes"] for done in later),
                    "device_bytes": max(done["device_bytes"] for done in later),
                }
            )
        return rows


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    if resets_peaks():
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is what is resident now


def peak_bytes(device: torch.device) -> int:
    """Return the peak since the reset: torch's own on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if resets_peaks():
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resets_peaks() -> bool:
    """Whether this system can forget a process's peak of resident memory."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def device_bytes(device: torch.device) -> int:
    """Return what all processes and libraries hold on the GPU now; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def sequence_flops(model: Architecture, prompt: int, response: int) -> float:
    """Operations of one forward pass over a sequence.

    Two for each weight and token, the head at response tokens alone; attention's two products with
    causal masks, 2 layers L^2 heads x head size.
    """
    length = prompt + response
    dense = 2 * model.body_parameters * length + 2 * model.head_parameters * response
    return dense + 2 * model.layers * model.query_width * length**2
