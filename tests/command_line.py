"""A line of the command line, parsed by the real parser; nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from entropy_mech import cli


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return a command's name and its parameters.

    Raises:
        TyperException: an unknown option, a value of another kind, a word too many.

    """
    name, *rest = cli._one_word_each(words)
    command = typer.main.get_command(cli.app).commands[name]
    return name, command.make_context(f"entropy-mech {name}", rest).params
