"""The commands of ``entropy-mech``, one module each, and how their numbers are read."""

from __future__ import annotations

import math
from typing import Any

import typer


def count(words: str, least: int = 0) -> Any:
    """Return an option that takes a whole number from ``least`` on; ``words`` are its help."""

    def parser(text: str) -> int:
        if str(text).isascii() and str(text).isdecimal() and int(text) >= least:
            return int(text)
        raise typer.BadParameter(f"{text!r}; give a whole number from {least} on")

    return typer.Option(parser=parser, metavar="N", help=words)


def number(words: str, metavar: str, above: float = -math.inf) -> Any:
    """Return an option that takes a finite number above ``above``."""
    kind = f"a number above {above:g}" if math.isfinite(above) else "a number"

    def parser(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if above < value < math.inf:
            return value
        raise typer.BadParameter(f"{text!r}; give {kind}")

    return typer.Option(parser=parser, metavar=metavar, help=words)
