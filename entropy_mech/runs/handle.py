"""``entropy_mech.launch``: a run in a process of its own, and a handle on it.

A notebook never trains in its kernel: it starts a process that outlives the kernel and is not
reached by an interrupt of a cell, and watches the files which that process writes.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_mech.errors import UserError
from entropy_mech.runs.find import find_config, find_run
from entropy_mech.runs.jobs import failure
from entropy_mech.runs.launch import run_job
from entropy_mech.runs.stopping import ask_to_stop, take_back
from entropy_mech.runs.store import Run, RunStore, default_store
from entropy_mech.runs.watch import OPEN_VIEWS, RunStatus, pause, status_of
from entropy_mech.runs.workers import start_fresh
from entropy_mech.train.config import TrainConfig

_ASK_AGAIN_S = 1.0
# A long run has metrics of megabytes, which a look at its status reads.
_POLL_TOY_S, _POLL_S = 0.2, 2.0
_AT_REST = ("stopped", "failed", "damaged", "new")
# Children of this process by the folder of their run: two handles on a run share its child.
_CHILDREN: dict[Path, subprocess.Popen] = {}


class RunFailed(UserError):
    """The process of a run ended with an error; the message has its last words and its log."""

    exit_code = 1


def launch(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    seed: int | None = None,
    steps: int = 0,
    profile: str = "toy",
    store: RunStore | str | Path | None = None,
) -> RunHandle:
    """Train in a process of its own, from where the run stands, and return a handle on it.

    The process goes on when this one ends or is interrupted, and ``launch`` of the same
    configuration finds it again: a run that is complete is not trained again, one that is in
    work is not started twice.

    Args:
        config: a configuration, nested tables as in a TOML file, the path of a TOML file or the
            name of one of ``reproduce/runs/``, such as ``"fig11_7b_kl_cov"``.
        seed: in place of the configuration's own.
        steps: rollouts in place of the configuration's own; 0 keeps them.
        profile: where a name is looked for: ``toy`` or ``paper``, whose models need GPUs.
        store: where runs lie; the default store if None.

    Raises:
        UserError: a configuration that cannot be used, in one line with what would be right.

    """
    if not isinstance(store, RunStore):
        store = default_store() if store is None else RunStore(store)
    store = RunStore(store.root.resolve())
    run = store.run(find_config(config, profile=profile, seed=seed, steps=steps))
    handle = RunHandle(run, _name(config, run))
    if not (run.complete or handle.status.in_work):
        handle.start()
    return handle


class RunHandle:
    """A run that somebody trains, here or elsewhere.

    It holds no more than the run's folder and, if this process started it, its child: it may be
    dropped and made anew (``launch``, ``handle_on``) at any time.
    """

    def __init__(self, run: Run, name: str = ""):
        self.run, self.name = run, name or f"run {run.path.name[:8]}"

    def __repr__(self) -> str:
        return f"RunHandle({self.status}; {self.run.path})"

    @property
    def status(self) -> RunStatus:
        """Where the run is: state, rollouts done and to do, time left, last measurements."""
        child = self._child()
        alive = None if child is None else child.poll() is None
        status = status_of(self.run, name=self.name, alive=alive)
        # A child that was killed, or that could not even be imported, has noted nothing; one that
        # was asked to end (SIGTERM, or the file) has done as it was told.
        died = child is not None and child.returncode not in (None, 0, -signal.SIGTERM)
        if died and status.state in _AT_REST and self.run.status().get("stage") != "stopped":
            return replace(status, state="failed", error=failure(self._job(), child.returncode))
        return status

    @property
    def log(self) -> Path:
        """What the process that trains writes to."""
        return self.run.path / "log.txt"

    def metrics(self, *columns: str) -> pd.DataFrame:
        """Return the metrics so far, a row a rollout; all columns or those named.

        Raises:
            UserError: a column that the run does not have (names the nearest).

        """
        return self.run.metrics(*columns)

    def follow(self, **options: Any) -> None:
        """Draw entropy and accuracy while the run trains: ``runs.follow`` of this run."""
        from entropy_mech.runs import follow

        follow(self, **options)

    def start(self) -> None:
        """Start the process that trains, in a session of its own."""
        self.run.path.mkdir(parents=True, exist_ok=True)
        # So that whoever finds the folder knows what it is while the process still reads torch.
        self.run.write("config.json", self.run.config.model_dump(mode="json"))
        _CHILDREN[self.run.path] = start_fresh(self._job(), own_session=True)

    def wait(self, timeout_s: float | None = None) -> RunHandle:
        """Wait until nobody trains the run, and return the handle.

        An interrupt ends the waiting alone. A run that was stopped is no error: see ``status``.

        Raises:
            RunFailed: it ended with an error.
            TimeoutError: it has not ended after ``timeout_s``; it goes on.

        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.status).in_work:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"{status}; not at its end after {timeout_s:g} s, it goes on")
            pause(_POLL_TOY_S if self.run.config.toy else _POLL_S)
        if OPEN_VIEWS:
            pause(1.0)  # so that they show the end
        if status.state == "failed":
            raise RunFailed(status.error)
        return self

    def stop(self, timeout_s: float = 120.0) -> RunHandle:
        """End the process that trains after the rollout that it is at, saved, and return.

        ``launch`` goes on from there as if nothing had been. A child of this process that has not
        begun its first rollout is ended at once; the making of a base model then begins anew.

        Raises:
            TimeoutError: the rollout takes longer than ``timeout_s``; it still ends after it.

        """
        until, asked = time.monotonic() + timeout_s, 0.0
        while (status := self.status).in_work:
            if time.monotonic() > until:
                raise TimeoutError(f"{status}; still at it {timeout_s:g} s after it was asked")
            if time.monotonic() - asked > _ASK_AGAIN_S:
                self.ask_to_stop()
                asked = time.monotonic()
            pause()
        take_back(self.run.path)
        return self

    def ask_to_stop(self) -> None:
        """Ask once, without waiting, what ``stop`` asks again and again.

        A process that is only starting does not hear what was said before.
        """
        child, status = self._child(), self.status
        if status.state == "waiting" and child is not None and child.poll() is None:
            child.terminate()
        elif status.in_work:
            ask_to_stop(self.run.path)

    def _child(self) -> subprocess.Popen | None:
        return _CHILDREN.get(self.run.path)

    def _job(self):
        return run_job(self.run, RunStore(self.run.path.parent), self.name)


def handle_on(what: Any, *, store: RunStore | None = None, **options: Any) -> RunHandle:
    """Return a handle on a run that was started before, here or elsewhere, or not at all.

    Args:
        what: a handle, or what ``find.find_run`` takes.
        store: where runs lie; the default store if None.
        options: of ``find.find_run``: profile, seed.

    """
    if isinstance(what, RunHandle):
        return what
    run = find_run(what, store=store, **options)
    return RunHandle(run, _name(what, run))


def _name(what: object, run: Run) -> str:
    """Return what people call a run: its file and seed where they named a file, else its id."""
    if not isinstance(what, str | Path) or run.path.name.startswith(Path(what).name):
        return ""
    name = Path(what).name.removesuffix(".toml")
    return f"{name} seed {run.config.seed}"
