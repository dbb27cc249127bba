"""The GPUs of this computer, asked of the driver: nothing is imported or initialised for it."""

from __future__ import annotations

import shutil
import subprocess

from entropy_mech.errors import UserError

_H100_GIB = 80.0


def gpus_here() -> int:
    """Return the NVIDIA GPUs of this computer; 0 without a driver."""
    return len(_memories_mib())


def gpu_memory_here_gib() -> float:
    """Return the memory of the smallest GPU here, an H100's where there is none."""
    return min(_memories_mib(), default=_H100_GIB * 1024) / 1024


def refuse_without_gpus(missing: int, needed: int) -> None:
    """Refuse to train the paper's models on what cannot train them, with what to do instead.

    Args:
        missing: runs that would have to be trained.
        needed: GPUs that the largest of them takes.

    Raises:
        UserError: there are fewer GPUs here.

    """
    there = gpus_here()
    if there < needed:
        seen = f"{there} can be seen here" if there else "none can be seen here"
        runs = "1 run is" if missing == 1 else f"{missing} runs are"
        raise UserError(
            f"profile = paper: {runs} missing, the largest needs {needed} GPUs and {seen}; "
            "entropy-mech reproduce --profile paper lists them all with --dry-run and submits them "
            "with --slurm; entropy-mech import-run takes up what was trained elsewhere"
        )


def _memories_mib() -> list[int]:
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    return [int(line) for line in done.stdout.split() if line.isdigit()]
