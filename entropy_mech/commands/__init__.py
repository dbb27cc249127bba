"""The commands of ``entropy-mech``, and how their options are read."""

from __future__ import annotations

import math
from typing import Any

import typer

from entropy_mech.hub import prepare_libraries

prepare_libraries()  # before a command imports them

Texts = list[str] | None


def count(words: str, least: int = 0) -> Any:
    """Return an option that takes a whole number from ``least`` on; ``words`` are its help."""

    def parser(given: str) -> int:
        if str(given).isascii() and str(given).isdecimal() and int(given) >= least:
            return int(given)
        raise typer.BadParameter(f"{given!r}; give a whole number from {least} on")

    return typer.Option(parser=parser, metavar="N", help=words)


def number(words: str, metavar: str, above: float = -math.inf) -> Any:
    """Return an option that takes a finite number above ``above``."""
    kind = f"a number above {above:g}" if math.isfinite(above) else "a number"

    def parser(given: str) -> float:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if above < value < math.inf:
            return value
        raise typer.BadParameter(f"{given!r}; give {kind}")

    return typer.Option(parser=parser, metavar=metavar, help=words)


def text(words: str, metavar: str, *names: str) -> Any:
    """Return an option that takes text; a list of texts where it may be repeated."""
    return typer.Option(*names, metavar=metavar, help=words)


def switch(words: str, *names: str) -> Any:
    """Return an option without a value."""
    return typer.Option(*names, help=words)
