"""``train``, ``pretrain``, ``runs``, ``follow`` and ``import-run``: making and watching runs."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from entropy_mech.commands import Texts, count, number, switch, text
from entropy_mech.config.files import load_config, run_id
from entropy_mech.config.memory import check_memory, report
from entropy_mech.errors import bad_value, unknown_name
from entropy_mech.runs.jobs import ProgressLine
from entropy_mech.runs.status import STATES, existing_file, find_config, list_runs, newest_run
from entropy_mech.runs.store import RunStore, default_store

# -- Making a run --------------------------------------------------------------------------------


def train(
    config: Annotated[str, typer.Argument(help="TOML file, such as one of reproduce/runs/")],
    overrides: Annotated[
        Texts, text("override a key, such as seed=4; may be repeated", "KEY=VALUE", "--set")
    ] = None,
    dry_run: Annotated[
        bool, switch("print the configuration (JSON), say whether it fits", "--dry-run")
    ] = False,
    gpus: Annotated[int, count("with --dry-run: that train", least=1)] = 8,
    gpu_memory_gib: Annotated[float, number("with --dry-run: of each", "GIB", above=0)] = 80.0,
) -> int:
    """Train one policy, or go on with it where it stopped."""
    chosen = load_config(existing_file(config), overrides or ())
    if dry_run:
        memory = check_memory(chosen, gpus=gpus, gpu_memory_gib=gpu_memory_gib)
        unknown = (
            "no check: the shape of {} is not known; give a folder with the config.json of a "
            "Qwen2, Llama or Mistral"
        )
        lines = report(memory) if memory else [unknown.format(chosen.model.path)]
        print(chosen.model_dump_json(indent=2), flush=True)
        print("\n".join([f"run {run_id(chosen)}", *lines]), file=sys.stderr)
        return 0
    from entropy_mech.train.loop import train as train_run

    # Under a launcher rank 0 alone prints.
    line = ProgressLine(sys.stdout if os.environ.get("RANK", "0") == "0" else io.StringIO())
    line.note(f"run {run_id(chosen)}: {chosen.loss.method}, seed {chosen.seed}")

    def show(done: int, metrics: dict) -> None:
        line.show(
            done / chosen.steps,
            f"step {done}/{chosen.steps}, entropy {metrics['entropy_nats']:.3f} nats, "
            f"reward {metrics['reward_mean']:.3f}",
        )

    result = train_run(chosen, default_store(), report=show, say=line.note)
    line.close(f"done: {result.path}")
    return 0


def pretrain(
    name: Annotated[
        str, typer.Argument(help="a run's file in reproduce/runs/toy/, such as fig03_qwen2.5_7b")
    ],
) -> int:
    """Train a toy's base model into reproduce/base_models/."""
    from entropy_mech.train.pretrain import keep_base_model

    config = find_config(name)
    if not config.toy:
        raise bad_value("name", name, "starts from a model that exists; name a toy run")
    line = ProgressLine(sys.stderr)
    print(
        keep_base_model(
            Path(name).name.removesuffix(".toml"),
            config,
            default_store().root,
            lambda done, total: line.show(done / total, f"step {done}/{total}"),
        )
    )
    return 0


def follow(
    run: Annotated[
        str | None,
        typer.Argument(
            help="its id or the start of it, its folder, or the name of its file in "
            "reproduce/runs/; the one in training if left out"
        ),
    ] = None,
    seed: Annotated[int | None, count("of a run named by its file (1)")] = None,
    profile: Annotated[str, text("the same: toy, smollm, one_gpu or paper", "P")] = "toy",
) -> int:
    """Watch a run until it ends, whichever process trains it. Ctrl-C ends the watching alone."""
    from entropy_mech.runs.handle import follow_in_terminal, handle_on

    store = default_store()
    handle = handle_on(run or newest_run(store), store=store, profile=profile, seed=seed)
    try:
        status = follow_in_terminal(handle)
    except KeyboardInterrupt:
        print(f"\nwatching ended; {handle.name} goes on", file=sys.stderr)
        return 130
    if status.state == "failed":
        print(status.error, file=sys.stderr)
        return 1
    return 0


def import_run(
    name: Annotated[
        str, typer.Argument(help="the run's file in reproduce/runs/, such as fig11_7b_kl_cov")
    ],
    path: Annotated[Path, typer.Argument(help="a run's folder, or any log that `law` reads")],
    profile: Annotated[str, text("toy, smollm, one_gpu or paper", "P")] = "paper",
    seed: Annotated[int, count("the seed that it stands for")] = 1,
    entropy: Annotated[str, text("a log's entropy column", "COL")] = "",
    performance: Annotated[str, text("its accuracy column", "COL")] = "",
    step: Annotated[str, text("its step column", "COL")] = "",
    run: Annotated[str, text("one of several runs in a log", "NAME")] = "",
    replace: Annotated[bool, switch("replace a run that is here already", "--replace")] = False,
) -> int:
    """Import a run or a log from elsewhere.

    Stores a run's folder that was copied here, or the log of another framework, as a run.
    """
    from entropy_mech.reproduction.targets import (
        PROFILES,
        check_profile,
        load_targets,
        run_config,
    )
    from entropy_mech.runs.importing import import_run as import_into
    from entropy_mech.runs.kept import KEPT

    check_profile(profile)
    without = {"published", *KEPT}  # no runs, and runs that are evidence as they are
    if profile in without:
        raise unknown_name("profile with runs of yours", profile, set(PROFILES) - without)
    known = {run for target in load_targets().values() for run in target.run_names(profile)}
    if name not in known:
        raise unknown_name("run", name, known)
    target = default_store().run(run_config(name, profile=profile, seed=seed))
    columns = {"entropy": entropy, "performance": performance, "step": step}
    lines = import_into(target, path, **columns, one_run=run, replace=replace)
    print("\n".join([f"{name} seed {seed}: {target.path}", *lines]))
    return 0


# -- Listing runs --------------------------------------------------------------------------------

_WIDTH = 100
_SEPARATOR = "  "
# Columns that may be cut, and how far.
_NARROWEST = {"model": 6, "method": 12}


def runs(
    state: Annotated[str | None, text(f"only these: {', '.join(STATES)}", "STATE")] = None,
    name: Annotated[
        str | None, text("only runs whose id starts so, or whose method has it", "TEXT")
    ] = None,
    as_json: Annotated[bool, switch("all of it, for programs", "--json")] = False,
) -> int:
    """List the runs and how far they are, most recently changed first."""
    store = default_store()
    frame = list_runs(store, state=state, name=name)
    if as_json:
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        print(json.dumps(records, indent=1))
        return 0
    print(_table(frame) if len(frame) else _nothing(store, state, name))
    for row in frame[frame["state"].isin(["failed", "damaged"])].itertuples():
        print(_cut(f"{row.id[:8]} {row.state}: {row.error}", _WIDTH))
    return 0


def _nothing(store: RunStore, state: str | None, name: str | None) -> str:
    count = len(list_runs(store))
    if count:
        asked = {"state": state, "name": name}
        said = ", ".join(f"{key} {value}" for key, value in asked.items() if value is not None)
        return f"none of the {count} runs in {store.root} has {said}"
    return f"no runs in {store.root}; make one with: entropy-mech train reproduce/runs/grpo.toml"


def _table(frame: pd.DataFrame) -> str:
    now = time.time()
    rows = [
        {
            "id": row.id[:8],
            "state": row.state,
            "method": f"{row.algorithm} {row.method}".strip(),
            "model": row.model,
            "seed": "" if pd.isna(row.seed) else f"{row.seed:.0f}",
            "steps": f"{row.steps_done}/{row.steps_total or '?'}",
            "left": _short(row.time_left_s),
            "entropy": _number(row.entropy_nats),
            "accuracy": _number(row.validation_accuracy),
            "moved": f"{_short(max(now - row.updated, 0))} ago",
        }
        for row in frame.itertuples()
    ]
    widths = _widths(rows)
    lines = [{name: name for name in rows[0]}, *rows]
    return "\n".join(
        _SEPARATOR.join(_cut(text, widths[name]).ljust(widths[name]) for name, text in row.items())
        .rstrip()
        for row in lines
    )  # fmt: skip


def _widths(rows: list[dict[str, str]]) -> dict[str, int]:
    """Return each column's width; those that may be cut give way until a line fits."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for name, narrowest in _NARROWEST.items():
        over = sum(widths.values()) + len(_SEPARATOR) * (len(widths) - 1) - _WIDTH
        widths[name] = max(min(widths[name], narrowest), widths[name] - max(over, 0))
    return widths


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _short(seconds: float) -> str:
    """Return a duration in its largest unit.

    >>> _short(59), _short(60), _short(7300), _short(200000), _short(float("nan"))
    ('59 s', '1 min', '2 h', '2 d', '')
    """
    if pd.isna(seconds):
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
