"""A metrics file: one JSON object a line, appended to, readable while a run writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd


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
        with self.path.open("ab") as file:
            os.fsync(file.fileno())

    def lines(self) -> list[bytes]:
        """Return the whole lines."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` lines; the caller has seen that there are so many."""
        keep = sum(map(len, self.lines()[:count]))
        if self.path.exists():
            os.truncate(self.path, keep)

    def frame(self) -> pd.DataFrame:
        """Return a row a step, in order of steps; null becomes NaN."""
        frame = pd.DataFrame([json.loads(line) for line in self.lines()])
        # A metric that was null at every step so far would come as a column of objects.
        objects = frame.select_dtypes(include=object).columns
        return frame.astype(dict.fromkeys(objects, "float64"))
