"""How a run is asked to stop, by whoever can write into its folder: a file, which needs no pid.

So it reaches a run in another process, started from another notebook or on another host, and a
run of many processes, whose rank 0 tells the others.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from entropy_mech.errors import UserError

_NAME = "stop"


class RunStopped(UserError):
    """A run was asked to stop and did, after a whole step; it goes on when started again."""

    exit_code = 1

    def __init__(self, name: str, done: int, total: int):
        super().__init__(
            f"run {name[:8]} stopped at step {done} of {total}, as asked; started again it goes on"
        )


def ask_to_stop(folder: Path) -> None:
    """Ask the process that trains the run in ``folder`` to stop before its next step.

    A request counts for processes that have begun before it: a process that is only starting
    must be asked again.
    """
    if folder.is_dir():
        (folder / _NAME).touch()


def take_back(folder: Path) -> None:
    """Forget a request, where there is one."""
    (folder / _NAME).unlink(missing_ok=True)


def stop_is_asked(folder: Path, *, since: float) -> bool:
    """Return whether a stop was asked for after ``since`` (Unix time)."""
    with suppress(FileNotFoundError):
        return (folder / _NAME).stat().st_mtime >= since
    return False
