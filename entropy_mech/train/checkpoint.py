"""Checkpoints, written whole or not at all, and the other files of a run."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from entropy_mech.objectives import ControlState
from entropy_mech.problems.tripwire import Tripwire
from entropy_mech.runs.store import (
    Run,
    RunStopped,
    atomic_write,
    environment,
    file_sha256,
    folder_lock,
    now,
)
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Engine
from entropy_mech.train.pretrain import LoadedModel

# -- Checkpoints ---------------------------------------------------------------------------------
# A checkpoint is a folder, written atomically; a marker with the checksums of its contents shows
# whether it is damaged. Every random stream is a function of the step, so a checkpoint is weights,
# optimizer and a few numbers; with several ranks each writes its own shards into the one folder.

_MARKER = "complete.json"
_SHARD = re.compile(r"pp_rank_(\d+)_")  # in the names of DeepSpeed's shards
_FULL_BYTES = 2**20


@dataclass(frozen=True)
class LoopState:
    """What a checkpoint keeps beside weights and optimizer.

    Attributes:
        cursor: the place in the training order to go on from.
        control: the state of the entropy target's controller, if there is one.
        kept_fraction: of the last rollout's prompts, those that the filter left; older checkpoints
            lack it.

    """

    cursor: int = 0
    control: ControlState | None = None
    kept_fraction: float = 1.0


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
    if ranks.first:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(final) if ranks.first else nullcontext() as temporary:
            temporary = ranks.from_first(temporary)
            if ranks.first:
                temporary.mkdir()
            ranks.meet("the start of a checkpoint")
            write(temporary)
            ranks.meet("the end of a checkpoint")
            names = ranks.from_first(_files(temporary) if ranks.first else None)
            sums = _checksums(temporary, names, ranks)
            if ranks.first:
                marker = {"next_step": next_step, "ranks": ranks.size, **(note or {})}
                _seal(temporary, marker, sums)
    except RuntimeError as error:
        # torch's own writer says "write failed" and not why.
        if shutil.disk_usage(folder).free < _FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise
    if ranks.first:
        _retain(folder, keep)
    return final


def latest_checkpoint(
    folder: Path, say: Callable[[str], None], *, at_most: int, ranks: Ranks | None = None
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest good checkpoint and its marker, or None where there is none; on all ranks.

    An unreadable one is named through ``say`` and the one before it is taken. One beyond
    ``at_most``, the steps that have metrics, is passed over: it would leave a hole in them.
    """
    ranks = ranks or Ranks()
    names = ranks.from_first(sorted(path.name for path in folder.glob("step_[0-9]*")))
    for name in reversed(names):
        if int(name.removeprefix("step_")) > at_most:
            continue
        path = folder / name
        fault, marker, sums = ranks.from_first(_read_marker(path) if ranks.first else None)
        if not fault:
            found = _checksums(path, list(sums), ranks)
            wrong = (one for one in sums if found[one] != sums[one])
            fault = next((f"the checksum of {one} does not match" for one in wrong), "")
        if not fault:
            return path, marker
        say(f"checkpoint {name} cannot be read ({fault}); taking the one before it")
    return None


def _read_marker(path: Path) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return what is wrong with a checkpoint's marker or file names, the marker, the checksums."""
    try:
        marker = json.loads((path / _MARKER).read_text())
        sums = dict(marker["sha256"])
        for name in sums:
            (path / name).stat()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error), {}, {}
    return "", marker, sums


def _seal(folder: Path, marker: dict[str, Any], sums: dict[str, str]) -> None:
    """Write the marker, with the checksums of the files of all ranks."""
    (folder / _MARKER).write_text(json.dumps({**marker, "sha256": sums}, indent=1))


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _checksums(folder: Path, names: Sequence[str], ranks: Ranks) -> dict[str, str]:
    """Return the files' checksums, on all ranks; each rank reads its share of them.

    A file that cannot be read has none.
    """
    mine = [name for name in names if reader_of(name, ranks.size) == ranks.rank]
    parts = ranks.gather({name: _sha256(folder / name) for name in mine})
    found = ChainMap(*parts)
    return {name: found[name] for name in names}


def reader_of(name: str, ranks: int) -> int:
    """Return the rank that reads a file: of a shard the one that wrote it, of another rank 0.

    >>> [reader_of(name, 2) for name in ("zero/pp_rank_1_a.pt", "zero/pp_rank_2_a.pt", "w.pt")]
    [1, 0, 0]
    """
    shard = _SHARD.search(name)
    return int(shard[1]) % ranks if shard else 0


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _retain(folder: Path, keep: int) -> None:
    for old in sorted(folder.glob("step_*"))[:-keep]:
        shutil.rmtree(old)
    for torn in folder.glob("tmp-*"):
        shutil.rmtree(torn, ignore_errors=True)


# -- Other files of a run ------------------------------------------------------------------------


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays (compressed npz); the file appears whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def export_policy(run: Run, engine: Engine, loaded: LoadedModel, done: int) -> None:
    """Write the policy after ``done`` steps in Hugging Face format, in place of the one before.

    All ranks call this together: weights that are sharded are gathered. Rank 0 writes.
    """
    weights = {}
    for name, weight in engine.weights():
        if engine.ranks.first:
            weights[name] = weight.cpu().clone()
    if not engine.ranks.first:
        return
    final = run.model_path(done)
    folder = final.parent
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(final) as temporary:
        engine.policy.model.save_pretrained(temporary, state_dict=weights)
        loaded.tokenizer.save_pretrained(temporary)
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old)


def write_manifest(
    run: Run, loaded: LoadedModel, *, done: int, ranks: int, wall_time_s: float
) -> None:
    """Write the manifest: where the run's results come from, and that ``done`` steps are done.

    A resumed session keeps the start time and the model that the first session wrote.
    """
    before = run.manifest()
    model = {"place": loaded.place, "revision": loaded.revision, **loaded.source}
    run.write(
        "manifest.json",
        {
            "steps": done,
            "started": before.get("started", now()),
            "saved": now(),
            "wall_time_s": round(wall_time_s, 1),
            "model": before.get("model", model),
            "seed": run.config.seed,
            "threads": run.config.threads,
            "ranks": ranks,
            **environment(),
        },
    )


def keep_accepted(run: Run, tripwire: Tripwire, step: int) -> None:
    """Write which answers a step found right for which references, if any are new."""
    if accepted := tripwire.take_new():
        run.accepted_file.append({"step": step, "accepted": accepted})


def restore_accepted(run: Run, tripwire: Tripwire, step: int) -> None:
    """Tell the tripwire which answers were accepted before ``step``; delete later ones."""
    rows = [json.loads(line) for line in run.accepted_file.lines()]
    earlier = [row for row in rows if row["step"] < step]
    run.accepted_file.truncate(len(earlier))
    for row in earlier:
        tripwire.restore(row["accepted"])


@contextmanager
def only_one_run(run: Run, ranks: Ranks, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the run's lock and note what ends it early; rank 0 does so for all."""
    if not ranks.first:
        yield
        return
    with folder_lock(run.path.with_suffix(".lock"), lambda: say(f"waiting: {run} is in use")):
        try:
            yield
        except RunStopped:
            raise  # not a failure, and noted by the loop
        except Exception as error:
            run.note_failure(error)
            raise
