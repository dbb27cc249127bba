"""``entropy_mech.launch`` and ``runs.follow``: a run in a process of its own, and its live view.

A notebook never trains in its kernel: it starts a process that outlives the kernel and is not
reached by an interrupt of a cell, and watches the files which that process writes.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd

from entropy_mech.config import TrainConfig
from entropy_mech.errors import UserError
from entropy_mech.runs.jobs import ProgressLine, failure, start_fresh
from entropy_mech.runs.launch import run_job
from entropy_mech.runs.status import OPEN_VIEWS, RunStatus, find_config, find_run, pause, status_of
from entropy_mech.runs.store import Run, RunStore, ask_to_stop, opened, withdraw_stop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# -- The handle ----------------------------------------------------------------------------------

_ASK_AGAIN_S = 1.0
# Reading the status of a long run reads megabytes of metrics.
_POLL_TOY_S, _POLL_S = 0.2, 2.0
_AT_REST = ("stopped", "failed", "damaged", "new")
# Children of this process by the folder of their run: two handles on a run share its child.
_CHILDREN: dict[Path, subprocess.Popen] = {}


class RunFailed(UserError):
    """The process of a run ended with an error; the message has its last log line."""

    exit_code = 1


def launch(
    config: TrainConfig | Mapping[str, Any] | str | Path,
    *,
    seed: int | None = None,
    steps: int = 0,
    profile: str = "toy",
    store: RunStore | str | Path | None = None,
) -> RunHandle:
    """Train in a process of its own, resuming a run that exists, and return a handle on it.

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
    store = RunStore(opened(store).root.resolve())
    run = store.run(find_config(config, profile=profile, seed=seed, steps=steps))
    handle = RunHandle(run, _name(config, run))
    if not (run.complete or handle.status.in_work):
        handle.start()
    return handle


class RunHandle:
    """A run that a process trains, here or elsewhere.

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
        child = _CHILDREN.get(self.run.path)
        alive = None if child is None else child.poll() is None
        status = status_of(self.run, name=self.name, alive=alive)
        # A child that was killed, or that failed on import, has written no status; one that was
        # asked to end (SIGTERM, or the file) has not failed.
        died = child is not None and child.returncode not in (None, 0, -signal.SIGTERM)
        if died and status.state in _AT_REST and self.run.status().get("stage") != "stopped":
            error = failure(run_job(self.run, self.run.store, self.name), child.returncode)
            return replace(status, state="failed", error=error)
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
        follow(self, **options)

    def start(self) -> None:
        """Start the process that trains, in a session of its own."""
        self.run.path.mkdir(parents=True, exist_ok=True)
        # So that the folder can be identified while its process still imports torch.
        self.run.write("config.json", self.run.config.model_dump(mode="json"))
        job = run_job(self.run, self.run.store, self.name)
        _CHILDREN[self.run.path] = start_fresh(job, own_session=True)

    def wait(self, timeout_s: float | None = None) -> RunHandle:
        """Wait until no process trains the run, and return the handle.

        An interrupt ends the waiting alone. A run that was stopped is no error: see ``status``.

        Raises:
            RunFailed: it ended with an error.
            TimeoutError: it has not ended after ``timeout_s``; it goes on.

        """
        until = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
        while (status := self.status).in_work:
            if time.monotonic() > until:
                raise TimeoutError(f"{status}; not at its end after {timeout_s:g} s, it goes on")
            pause(_POLL_TOY_S if self.run.config.toy else _POLL_S)
        if OPEN_VIEWS:
            pause(1.0)  # so that they show the end
        if status.state == "failed":
            raise RunFailed(status.error)
        return self

    def stop(self, timeout_s: float = 120.0) -> RunHandle:
        """End the training process after its current rollout, which is saved, and return.

        ``launch`` resumes from there with the same results. A child of this process that has not
        begun its first rollout is ended at once; an unfinished base model is then made again.

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
        withdraw_stop(self.run.path)
        return self

    def ask_to_stop(self) -> None:
        """Ask the process once to stop, without waiting; ``stop`` repeats this.

        A process that is still starting does not see earlier requests.
        """
        child, status = _CHILDREN.get(self.run.path), self.status
        if status.state == "waiting" and child is not None and child.poll() is None:
            child.terminate()
        elif status.in_work:
            ask_to_stop(self.run.path)


def handle_on(
    what: Any, *, store: RunStore | str | Path | None = None, **options: Any
) -> RunHandle:
    """Return a handle on a run, whether or not it has been started, here or elsewhere.

    Args:
        what: a handle, or what ``status.find_run`` takes.
        store: where runs lie; the default store if None.
        options: of ``status.find_run``: profile, seed.

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


# -- The view in a terminal ----------------------------------------------------------------------

_BARS = "▁▂▃▄▅▆▇█"
_BARS_WIDTH = 40
_SHOWN = {"entropy_nats": "entropy", "validation_accuracy": "accuracy"}


def follow_in_terminal(handle: RunHandle, stream: TextIO | None = None) -> RunStatus:
    """Show how far a run is until no process trains it; return how it ended.

    An interrupt is the caller's: the run does not notice.

    Raises:
        UserError: it has never been started.

    """
    stream = stream or sys.stdout
    line = ProgressLine(stream)
    status = handle.status
    if status.state == "new":
        raise UserError(f"{handle.name}: not started yet (entropy-mech train, or launch)")
    if status.in_work:
        line.note(str(status))
    while status.in_work:
        left_s = None if math.isnan(status.time_left_s) else status.time_left_s
        line.show(status.fraction, str(status).partition(", about ")[0], left_s)
        pause(_TICK_S)
        status = handle.status
    metrics = handle.metrics()
    for column, name in _SHOWN.items():
        if column in metrics:
            line.note(_history(name, metrics[column].dropna(), stream))
    if status.state != "failed":  # the caller prints an error, on the error stream
        line.note(f"{status} ({handle.run.path})")
    return status


def _history(name: str, values: pd.Series, stream: TextIO) -> str:
    """Return one line: first and last value, and the course between them where it can be shown."""
    if values.empty:
        return f"{name}: not measured yet"
    bars = sparkline(values)
    try:
        bars.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        bars = "to"
    return f"{name:8} {values.iloc[0]:.3f} {bars} {values.iloc[-1]:.3f}"


def sparkline(values: pd.Series, width: int = _BARS_WIDTH) -> str:
    """Return the course of a series as bars between its lowest and its highest value.

    >>> sparkline(pd.Series([0.0, 0.5, 1.0]))
    '▁▅█'
    """
    count = len(values)
    at = [values.iloc[i * count // min(width, count)] for i in range(min(width, count))]
    low, span = min(at), (max(at) - min(at)) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in at)


# -- The view in a notebook ----------------------------------------------------------------------
# Where there is a front end, a task on the kernel's own loop draws, so that the cell ends at once
# and the kernel stays free; waiting for a run in a later cell (``RunHandle.wait``) keeps the
# view drawn meanwhile. Without one (papermill), the cell waits, draws at the end and leaves one
# picture. Nothing here can harm a run: it only reads files.

# Set by Jupyter servers and VS Code for kernels with a user interface.
_FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID")
_TICK_S = 0.5
_REDRAW_S = 2.0
_DPI = 110
_BAR = 10
# Drawing takes at most this share of a core from the training beside it.
_DRAWING_SHARE = 0.15
_TASKS: set[asyncio.Task] = set()


def follow(
    *runs: Any,
    block: bool | None = None,
    store: RunStore | str | Path | None = None,
    profile: str = "toy",
    seed: int | None = None,
) -> None:
    """Draw entropy and accuracy of runs, with the time left, until they end.

    An interrupt or *Stop watching* ends the watching alone; *Stop the run* lets it finish its
    rollout and save. Outside a notebook the same in words.

    Args:
        runs: handles, runs, folders, ids or starts of them, names of run files, or lists of
            these; started by anybody, in any process.
        block: whether the cell waits for the runs; None waits only where there is no front end.
        store: where runs lie; the default store if None.
        profile: of names: toy or paper.
        seed: of names; 1 if None.

    Raises:
        UserError: no such run (says the nearest).
        RunFailed: where the cell waits and a run ends with an error.

    """
    handles = [
        handle_on(what, store=store, profile=profile, seed=seed)
        for given in runs
        for what in (given if isinstance(given, list | tuple) else [given])
    ]
    if not handles:
        print("no run to follow")
        return
    if not _in_kernel():
        for handle in handles:
            follow_in_terminal(handle)
        return
    view = LiveView(handles, seen=has_front_end())
    if block or (block is None and not view.seen):
        _wait_with(view)
    elif view.tick():
        OPEN_VIEWS.add(view.tick)
        task = asyncio.get_running_loop().create_task(_draw_until_the_end(view))
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)


def has_front_end() -> bool:
    """Return whether a front end shows this kernel's widgets, rather than papermill or a script."""
    return _in_kernel() and any(name in os.environ for name in _FRONT_ENDS)


class LiveView:
    """One cell's output: a line a run, a picture, and buttons where there is a front end."""

    def __init__(self, handles: list[RunHandle], *, seen: bool):
        from IPython.display import display

        self.handles, self.seen, self.rest_s = handles, seen, _REDRAW_S
        self.open, self.stopping = True, False
        self.looked = self.drawn = 0.0
        self.steps_drawn: list[int] = []
        self.words = display(_text("looking for the runs"), raw=True, display_id=True)
        self.buttons = _buttons(self) if seen else None
        self.picture = display(_text(""), raw=True, display_id=True)

    def tick(self) -> bool:
        """Check the runs, redraw if there is something new, and return whether to go on."""
        if not self.open:
            return False
        now = time.monotonic()
        if now - self.looked < _TICK_S:
            return True
        self.looked = now
        if self.stopping:
            for handle in self.handles:
                handle.ask_to_stop()
        states = [handle.status for handle in self.handles]
        at_work = any(state.in_work for state in states)
        if self.seen or not at_work:
            self.words.update(_text("\n".join(map(_line, states))), raw=True)
        steps = [state.steps_done for state in states]
        due = self.seen and steps != self.steps_drawn and now - self.drawn >= self.rest_s
        if due or not at_work:
            self._draw(max(state.steps_total for state in states))
            self.steps_drawn = steps
        if not at_work:
            self.close()
        return at_work

    def close(self, note: str = "") -> None:
        """End the watching; what is drawn stays."""
        if not self.open:
            return
        self.open = False
        OPEN_VIEWS.discard(self.tick)
        if note:
            lines = [_line(handle.status) for handle in self.handles]
            self.words.update(_text("\n".join([*lines, note])), raw=True)
        if self.buttons is not None:
            # So that the saved notebook holds no buttons that do nothing.
            self.buttons.update(_text(""), raw=True)

    def _draw(self, steps_total: int) -> None:
        from IPython.display import Image

        started = time.monotonic()
        frames = {}
        for handle in self.handles:  # of one name, if only the profile or the length differs
            name = handle.name
            name += f" ({handle.run.path.name[:8]})" if name in frames else ""
            frames[name] = handle.metrics()
        buffer = io.BytesIO()
        live_figure(frames, total=steps_total).savefig(buffer, format="png", dpi=_DPI)
        self.picture.update(Image(data=buffer.getvalue()))
        self.drawn = time.monotonic()
        self.rest_s = max(_REDRAW_S, (self.drawn - started) / _DRAWING_SHARE)


def live_figure(frames: Mapping[str, pd.DataFrame], *, total: int) -> Figure:
    """Draw entropy and accuracy against rollouts, on axes as long as the runs will be.

    The figure belongs to no pyplot window, so that it can be drawn again and again while others
    are open.

    Args:
        frames: by the run's name its metrics so far; may be empty.
        total: rollouts of the longest run.

    """
    from matplotlib.figure import Figure

    from entropy_mech.paper.style import ACCURACY_COLOUR, ENTROPY_COLOUR, ORDINAL_COLOURS

    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    entropy, accuracy = figure.subplots(1, 2)
    for i, (name, frame) in enumerate(frames.items()):
        for column, ax, alone, marker in (
            ("entropy_nats", entropy, ENTROPY_COLOUR, ""),
            ("validation_accuracy", accuracy, ACCURACY_COLOUR, "o"),
        ):
            points = frame.reindex(columns=["step", column]).dropna()
            colour = alone if len(frames) == 1 else ORDINAL_COLOURS[i % len(ORDINAL_COLOURS)]
            ax.plot(points["step"], points[column], color=colour, lw=1.6, marker=marker, ms=3.5,
                    label=name)  # fmt: skip
    entropy.set(ylabel="policy entropy H (nats)", ylim=(0, None))
    accuracy.set(ylabel="validation accuracy (fraction)", ylim=(0, 1))
    for ax in (entropy, accuracy):
        ax.set(xlabel="rollout step", xlim=(0, max(total, 1)))
        ax.grid(alpha=0.25)
        if len(frames) > 1:
            ax.legend(frameon=False, fontsize="small")
    return figure


def _line(status) -> str:
    filled = round(_BAR * status.fraction)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {status}"


def _wait_with(view: LiveView) -> None:
    """Hold the cell until the runs end; an interrupt ends the watching."""
    try:
        while view.tick():
            time.sleep(_TICK_S)
    except KeyboardInterrupt:
        view.close("watching ended; the run goes on, follow() shows it again")
        return
    states = [handle.status for handle in view.handles]
    failures = [state.error for state in states if state.state == "failed"]
    if failures:
        raise RunFailed("; ".join(failures))


async def _draw_until_the_end(view: LiveView) -> None:
    """Draw on the kernel's event loop, between cells; ``pause`` does while a cell waits."""
    try:
        while view.tick():
            await asyncio.sleep(_TICK_S)
    except Exception as error:
        view.close(f"watching ended: {type(error).__name__}: {error}")
        raise


def _buttons(view: LiveView):
    """Show the two buttons; None where ipywidgets is not installed."""
    try:
        import ipywidgets
    except ImportError:
        return None
    from IPython.display import display

    watching = ipywidgets.Button(description="Stop watching", tooltip="The run goes on")
    run = ipywidgets.Button(
        description="Stop the run", tooltip="It saves after this rollout; launch() goes on with it"
    )
    watching.on_click(lambda _: view.close("watching ended; follow() shows the run again"))

    def stop(_) -> None:
        view.stopping, run.disabled, run.description = True, True, "Stopping ..."

    run.on_click(stop)
    return display(ipywidgets.HBox([watching, run]), display_id=True)


def _text(text: str) -> dict[str, str]:
    return {"text/plain": text}


def _in_kernel() -> bool:
    """Return whether this is a notebook's kernel rather than a script or a terminal."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
