"""``runs.follow``: the curves of runs in a notebook, drawn while they train.

Where there is a front end, a task on the kernel's own loop draws, so that the cell ends at once
and the kernel stays free; whoever waits for a run in a later cell (``RunHandle.wait``) has the
view drawn meanwhile. Without one (papermill), the cell waits, draws a bounded number of times and
leaves one picture. Nothing here can harm a run: it only reads files.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from typing import Any

from entropy_mech.runs.handle import RunFailed, RunHandle, handle_on
from entropy_mech.runs.store import RunStore
from entropy_mech.runs.terminal_view import follow_in_terminal
from entropy_mech.runs.watch import OPEN_VIEWS

# What Jupyter servers and VS Code set for the kernels that somebody looks at.
_FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID")
_TICK_S = 0.5
_DPI = 110
_BAR = 10
# Without a front end nobody sees the pictures before the last.
_REDRAWS_UNSEEN = 4
# Drawing takes at most this share of a core from the training beside it.
_DRAWING_SHARE = 0.15
_TASKS: set[asyncio.Task] = set()


def follow(
    *runs: Any,
    block: bool | None = None,
    every_s: float = 2.0,
    store: RunStore | None = None,
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
        every_s: seconds between two pictures, at least.
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
    seen = somebody_looks()
    view = LiveView(handles, every_s=every_s, seen=seen)
    if (not seen) if block is None else block:
        _wait_with(view)
    else:
        _draw_in_background(view)


def somebody_looks() -> bool:
    """Return whether a front end shows this kernel's widgets, rather than papermill or a script."""
    return _in_kernel() and any(name in os.environ for name in _FRONT_ENDS)


class LiveView:
    """One cell's output: a line a run, a picture, and buttons where somebody can press them."""

    def __init__(self, handles: list[RunHandle], *, every_s: float, seen: bool):
        from IPython.display import display

        self.handles, self.every_s, self.seen = handles, every_s, seen
        self.rest_s = every_s
        self.open, self.stopping = True, False
        self.looked = self.drawn = 0.0
        self.key: tuple = ()
        self.redraws = 0
        self.words = display(_text("looking for the runs"), raw=True, display_id=True)
        self.buttons = _buttons(self) if seen else None
        self.picture = display(_text(""), raw=True, display_id=True)

    def tick(self) -> bool:
        """Look, draw if there is something new, and return whether to look again."""
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
        if not at_work or self._due(states, now):
            self._draw(states)
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
            # The saved notebook shall not hold buttons that do nothing.
            self.buttons.update(_text(""), raw=True)

    def failures(self) -> list[str]:
        """Return what ended runs with an error."""
        states = [handle.status for handle in self.handles]
        return [state.error for state in states if state.state == "failed"]

    def _due(self, states, now: float) -> bool:
        if tuple(state.done for state in states) == self.key or now - self.drawn < self.rest_s:
            return False
        if self.seen:
            return True
        return min(state.fraction for state in states) * _REDRAWS_UNSEEN >= self.redraws

    def _draw(self, states) -> None:
        from entropy_mech.figures.live import live_figure

        started = time.monotonic()
        frames = {}
        for handle in self.handles:  # of one name, if only the profile or the length differs
            name = handle.name
            name += f" ({handle.run.path.name[:8]})" if name in frames else ""
            frames[name] = handle.metrics()
        figure = live_figure(frames, total=max(state.total for state in states))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI)
        self._show(buffer.getvalue())
        self.redraws += 1
        self.key, self.drawn = tuple(state.done for state in states), time.monotonic()
        self.rest_s = max(self.every_s, (self.drawn - started) / _DRAWING_SHARE)

    def _show(self, png: bytes) -> None:
        from IPython.display import Image

        self.picture.update(Image(data=png))


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
    failures = view.failures()
    if failures:
        raise RunFailed("; ".join(failures))


def _draw_in_background(view: LiveView) -> None:
    """Draw on the kernel's loop, between cells, and whenever somebody waits for a run."""
    if not view.tick():
        return
    OPEN_VIEWS.add(view.tick)
    task = asyncio.get_running_loop().create_task(_draw_until_the_end(view))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


async def _draw_until_the_end(view: LiveView) -> None:
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
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
