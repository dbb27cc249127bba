"""A metrics file: one JSON object a line, appended to, readable while a run writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_mech.errors import UserError


class MetricsFile:
    """Line k holds step k. Lines are whole or, at the end of a killed run, cut off and ignored."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line in a single write, keys in the order given."""
        line = json.dumps(row, allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())

    def sync(self) -> None:
        """Make what was appended durable: before a checkpoint that counts on it."""
        if self.path.exists():
            with self.path.open("ab") as file:
                os.fsync(file.fileno())

    def lines(self) -> list[bytes]:
        """Return the whole lines."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)

    def rows(self, last: int = 0) -> list[dict[str, Any]]:
        """Return the steps' tables, or those of the ``last`` steps alone.

        Raises:
            UserError: a line that is none, by its number.

        """
        lines, rows = self.lines(), []
        for number, line in list(enumerate(lines, 1))[-last:]:
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise UserError(f"{self.path}: line {number} is damaged; remove the run's folder")
            rows.append(row)
        return rows

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` lines; the caller has seen that there are so many."""
        keep = sum(map(len, self.lines()[:count]))
        if self.path.exists():
            os.truncate(self.path, keep)

    def frame(self) -> pd.DataFrame:
        """Return a row a step, in order of steps; null becomes NaN."""
        frame = pd.DataFrame(self.rows())
        # A metric that was null at every step so far would come as a column of objects.
        objects = frame.select_dtypes(include=object).columns
        return frame.astype(dict.fromkeys(objects, "float64"))
