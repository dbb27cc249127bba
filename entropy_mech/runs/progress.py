"""One line that says how far something is, and how long it will take."""

from __future__ import annotations

import time
from typing import TextIO

_LIVE_LINE_EVERY_S = 0.2
_QUIET_LINE_EVERY_S = 15.0


class ProgressLine:
    """One line with a bar and the time left; rewritten on a terminal, seldom repeated elsewhere."""

    def __init__(self, stream: TextIO):
        self.stream, self.live = stream, stream.isatty()
        self.started = self.last = time.monotonic()
        self.width = 0

    def due(self) -> bool:
        """Return whether ``show`` would write: there is no need to work out what, otherwise."""
        every = _LIVE_LINE_EVERY_S if self.live else _QUIET_LINE_EVERY_S
        return time.monotonic() - self.last >= every

    def show(self, fraction: float, what: str, left_s: float | None = None) -> None:
        """Show the share done, what is being done, and the time left.

        ``left_s`` None takes the time left from the share done so far and the time it took.
        """
        if not self.due():
            return
        self.last = now = time.monotonic()
        if left_s is None and fraction > 0.01:
            left_s = (now - self.started) * (1 - fraction) / fraction
        left = "" if left_s is None else f"{clock(left_s)} left"
        filled = round(20 * min(fraction, 1.0))
        self._write(f"[{'#' * filled}{'.' * (20 - filled)}] {fraction:4.0%} {left}  {what}")

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._write(text, stay=True)

    def close(self, text: str) -> None:
        """End with a line that stays."""
        self.note(f"{text} in {clock(time.monotonic() - self.started)}")

    def _write(self, text: str, *, stay: bool = False) -> None:
        if self.live:
            padded = text[:119].ljust(self.width) if not stay else text.ljust(self.width)
            self.stream.write("\r" + padded + ("\n" if stay else ""))
            self.width = 0 if stay else len(padded.rstrip())
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Return a duration in minutes and seconds.

    >>> clock(59.6), clock(7.2)
    ('1 min 00 s', '7 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
