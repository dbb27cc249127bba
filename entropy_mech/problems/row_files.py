"""Rows of a data set's local file, each of which knows where it stands, so that errors can say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from entropy_mech.errors import bad_value

_FIX = "give one JSON object a row"


class _Row(dict):
    """A row of a file that knows where it stands there, for errors."""

    def __init__(self, row: dict, place: str):
        super().__init__(row)
        self.place = place


def place_of(row: Mapping) -> str:
    """Return where a row stands: file and number; "a row" where it is of no file."""
    return getattr(row, "place", "a row")


def read_rows(path: Path) -> list[dict]:
    """Return a file's rows.

    Raises:
        UserError: it cannot be read, or a row of it is no JSON object; with its number.

    """
    numbers: Iterable[int] | None = None
    try:
        if path.suffix == ".parquet":
            import pandas

            rows = pandas.read_parquet(path).to_dict("records")
        elif path.suffix == ".json":
            rows = json.loads(path.read_text(encoding="utf-8-sig"))
        else:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
            rows = [_of_line(path, number, lines[number - 1]) for number in numbers]
    except (ValueError, OSError, RecursionError) as error:
        why = " ".join(str(error).split())[:300]
        raise bad_value("data_dir", str(path), f"cannot be read ({why})") from None
    if not isinstance(rows, list):
        raise bad_value("data_dir", str(path), _FIX)
    what = "row" if numbers is None else "line"
    placed = list(zip(numbers or range(1, len(rows) + 1), rows, strict=True))
    for number, row in placed:
        if not isinstance(row, dict):
            raise bad_value("data_dir", str(path), f"{what} {number} is no table: {_FIX}")
    return [_Row(row, f"{path}, {what} {number}") for number, row in placed]


def _of_line(path: Path, number: int, line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        fix = f"cannot be read: line {number} is no JSON ({' '.join(str(error).split())[:200]})"
        raise bad_value("data_dir", str(path), fix) from None
