"""The commands of ``entropy-mech``, one module each, and how their numbers are read."""

from __future__ import annotations

import math
from typing import Any

import typer


def count(words: str, *names: str, least: int = 0, metavar: str = "N") -> Any:
    """Return an option that takes a whole number from ``least`` on; ``words`` are its help."""

    def parser(text: str) -> int:
        if str(text).isascii() and str(text).isdecimal() and int(text) >= least:
            return int(text)
        raise typer.BadParameter(f"{text!r}; give a whole number from {least} on")

    return typer.Option(*names, parser=parser, metavar=metavar, help=words)


def number(words: str, metavar: str, above: float = -math.inf) -> Any:
    """Return an option that takes a finite number above ``above``."""

    def parser(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if above < value < math.inf:
            return value
        raise typer.BadParameter(f"{text!r}; give a number" + (f" above {above:g}" * (above == 0)))

    return typer.Option(parser=parser, metavar=metavar, help=words)
