"""Sequences put into as few rows as a simple rule can."""

from __future__ import annotations

from collections.abc import Sequence


def first_fit(lengths: Sequence[int], columns: int) -> tuple[list[int], list[int]]:
    """Put each length, the longest first, into the first row with room; return rows and starts.

    >>> first_fit([2, 5, 3, 1], 5)
    ([1, 0, 1, 2], [3, 0, 0, 0])
    """
    row, start, filled = [0] * len(lengths), [0] * len(lengths), []
    for item in sorted(range(len(lengths)), key=lambda item: -lengths[item]):
        need = lengths[item]
        chosen = next((r for r, used in enumerate(filled) if used + need <= columns), len(filled))
        if chosen == len(filled):
            filled.append(0)
        row[item], start[item] = chosen, filled[chosen]
        filled[chosen] += need
    return row, start
