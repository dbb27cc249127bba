"""Checkpoints that are either whole or not there.

A checkpoint is a folder, written under a temporary name, synced, and renamed; a marker with the
checksum of its contents makes a torn one recognisable. Every random stream is a function of the
step, so a checkpoint is weights, optimizer and the number of the next step.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_STATE, _MARKER = "state.pt", "complete.json"


def save_checkpoint(folder: Path, next_step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write ``folder/step_NNNNNN``, then remove all but the ``keep`` newest."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    final = folder / f"step_{next_step:06d}"
    temporary = folder / f"tmp-{os.getpid()}-{next_step:06d}"
    marker = {
        "next_step": next_step,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write_synced(temporary / _STATE, data)
        _write_synced(temporary / _MARKER, json.dumps(marker).encode())
        if final.exists():  # left by a run that was resumed from before it
            shutil.rmtree(final)
        os.rename(temporary, final)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder)
    _retain(folder, keep)
    return final


def load_latest_checkpoint(
    folder: Path, say: Callable[[str], None], *, at_most: int
) -> tuple[int, dict[str, Any]] | None:
    """Return (next_step, state) of the newest good checkpoint, or None where there is none.

    An unreadable one is named through ``say`` and the one before it is taken. One beyond
    ``at_most``, the steps that have metrics, is passed over: it would leave a hole in them.
    """
    for path in sorted(folder.glob("step_*"), reverse=True):
        if int(path.name.removeprefix("step_")) > at_most:
            continue
        try:
            marker = json.loads((path / _MARKER).read_text())
            data = (path / _STATE).read_bytes()
            if hashlib.sha256(data).hexdigest() != marker["sha256"]:
                raise ValueError("its checksum does not match")
            state = torch.load(io.BytesIO(data), weights_only=True)
            return int(marker["next_step"]), state
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            say(f"checkpoint {path.name} cannot be read ({error}); taking the one before it")
    return None


def sync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _retain(folder: Path, keep: int) -> None:
    for old in sorted(folder.glob("step_*"))[:-keep]:
        shutil.rmtree(old)
    for torn in folder.glob("tmp-*"):
        shutil.rmtree(torn, ignore_errors=True)
