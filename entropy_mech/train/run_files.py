"""What a run's folder gets beside metrics and checkpoints: records, the policy, the manifest."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from entropy_mech.problems.tripwire import Tripwire
from entropy_mech.runs.locks import folder_lock
from entropy_mech.runs.manifest import environment, now
from entropy_mech.runs.mirrors import Mirror, open_mirror
from entropy_mech.runs.stopping import RunStopped
from entropy_mech.runs.store import Run
from entropy_mech.train.engine import Engine
from entropy_mech.train.models import LoadedModel, export_model
from entropy_mech.train.parallel import Ranks


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays (compressed npz); the file appears whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    temporary = path.with_name(f"tmp-{os.getpid()}-{path.name}")
    temporary.write_bytes(buffer.getbuffer())
    os.replace(temporary, path)


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
    folder = run.path / "models"
    final, temporary = folder / f"step_{done:06d}", folder / f"tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        export_model(engine.policy.model, loaded.tokenizer, weights, temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if final.exists():
        shutil.rmtree(final)
    os.rename(temporary, final)
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old)


def write_manifest(
    run: Run, loaded: LoadedModel, *, done: int, ranks: int, wall_time_s: float
) -> None:
    """Say where the run's results come from, and that ``done`` steps are behind them.

    A session that goes on with a run took weights from a checkpoint, so that time and model of
    the first session's start stay as that session wrote them.
    """
    before = run.manifest()
    model = {"place": loaded.place, "revision": loaded.revision}
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


@contextmanager
def mirrored(run: Run, ranks: Ranks, say: Callable[[str], None]) -> Iterator[Mirror]:
    """Open the dashboard that shows a run, on rank 0; one that fails stops nothing."""
    config = run.config
    mirror = open_mirror(
        config.mirror.kind if ranks.first else "none",
        f"{config.loss.method}-seed{config.seed}-{run.path.name}",
        run.path / "mirror",
        config.model_dump(mode="json"),
        say,
        project=config.mirror.project,
    )
    try:
        yield mirror
    finally:
        mirror.close()


def keep_accepted(run: Run, tripwire: Tripwire, step: int) -> None:
    """Write which answers a step found right for which references, if any are new."""
    if accepted := tripwire.take_new():
        run.accepted_file.append({"step": step, "accepted": accepted})


def restore_accepted(run: Run, tripwire: Tripwire, step: int) -> None:
    """Let the tripwire know what was right before ``step``, and forget what came later."""
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
