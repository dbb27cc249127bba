"""Values of options that several commands read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entropy_mech.errors import whole_number


def parse_assignments(pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return papermill-style ``-p NAME VALUE`` pairs, numbers and true/false as such."""
    return {name: _literal(value) for name, value in pairs}


def _literal(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue  # not of this kind: try the next, else it is text
    return text


def positive(name: str, value: int) -> int:
    """Return a count of at least 1, or raise the error that says so."""
    return whole_number(name, value, least=1)
