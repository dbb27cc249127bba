"""Checkpoints that are either whole or not there.

A checkpoint is a folder, written under a temporary name, synced, and renamed; a marker with the
checksums of its contents makes a torn one recognisable. Every random stream is a function of the
step, so a checkpoint is weights, optimizer and a few numbers; with several ranks each writes its
own shards into the one folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entropy_mech.objectives import ControlState
from entropy_mech.train.parallel import Ranks

_MARKER = "complete.json"
_FULL_BYTES = 2**20


@dataclass(frozen=True)
class LoopState:
    """What a checkpoint keeps beside weights and optimizer.

    Attributes:
        cursor: the place in the training order to go on from.
        control: the state of the entropy target's controller, if there is one.

    """

    cursor: int = 0
    control: ControlState | None = None

    @classmethod
    def of(cls, cursor: int, control: dict[str, float] | None) -> LoopState:
        """Return the state of a checkpoint's note."""
        return cls(cursor, ControlState(**control) if control else None)


def save_checkpoint(
    folder: Path,
    next_step: int,
    write: Callable[[Path], None],
    *,
    keep: int,
    ranks: Ranks | None = None,
    note: dict[str, Any] | None = None,
) -> Path:
    """Write ``folder/step_NNNNNN``, then remove all but the ``keep`` newest.

    Args:
        folder: on a file system that all ranks share.
        next_step: the step to go on with.
        write: puts this rank's files into the folder that it is given.
        keep: how many checkpoints stay.
        ranks: the processes that call this together.
        note: small facts kept in the marker.

    """
    ranks = ranks or Ranks()
    final = folder / f"step_{next_step:06d}"
    temporary = folder / ranks.from_first(f"tmp-{os.getpid()}-{next_step:06d}")
    try:
        if ranks.first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        ranks.meet("the start of a checkpoint")
        write(temporary)
        ranks.meet("the end of a checkpoint")
        if ranks.first:
            _seal(temporary, {"next_step": next_step, "ranks": ranks.size, **(note or {})})
            if final.exists():  # left by a run that was resumed from before it
                shutil.rmtree(final)
            os.rename(temporary, final)
    except (OSError, RuntimeError) as error:
        if ranks.first:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _FULL_BYTES:
            # torch's own writer says "write failed" and not why.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise
    if ranks.first:
        sync_folder(folder)
        _retain(folder, keep)
    return final


def latest_checkpoint(
    folder: Path, say: Callable[[str], None], *, at_most: int
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest good checkpoint and its marker, or None where there is none.

    An unreadable one is named through ``say`` and the one before it is taken. One beyond
    ``at_most``, the steps that have metrics, is passed over: it would leave a hole in them.
    """
    for path in sorted(folder.glob("step_[0-9]*"), reverse=True):
        if int(path.name.removeprefix("step_")) > at_most:
            continue
        try:
            marker = json.loads((path / _MARKER).read_text())
            for name, expected in marker["sha256"].items():
                if _sha256(path / name) != expected:
                    raise ValueError(f"the checksum of {name} does not match")
            return path, marker
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"checkpoint {path.name} cannot be read ({error}); taking the one before it")
    return None


def _seal(folder: Path, marker: dict[str, Any]) -> None:
    """Make the files of all ranks durable, then write the marker with their checksums."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        sync_file(path)
    names = {str(path.relative_to(folder)): _sha256(path) for path in files}
    marker_path = folder / _MARKER
    marker_path.write_text(json.dumps({**marker, "sha256": names}, indent=1))
    sync_file(marker_path)
    sync_folder(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Make a file's contents durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _retain(folder: Path, keep: int) -> None:
    for old in sorted(folder.glob("step_*"))[:-keep]:
        shutil.rmtree(old)
    for torn in folder.glob("tmp-*"):
        shutil.rmtree(torn, ignore_errors=True)
