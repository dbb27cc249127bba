"""The paper's own order: figures, tables, the listing; then what is not an item of it."""

from __future__ import annotations

from collections.abc import Sequence

from entropy_mech.reproduction.targets import Target

_KINDS = ("Start here", "Figure", "Table", "Listing")


def in_paper_order(targets: Sequence[Target]) -> list[Target]:
    """Return targets as the paper has them; others keep their order and come last.

    The runner's order differs: it takes first what is soon done.
    """
    return sorted(targets, key=_place)  # stable, so that equals keep their order


def _place(target: Target) -> tuple[int, int]:
    for place, kind in enumerate(_KINDS):
        if target.item.startswith(kind):
            number = target.item.removeprefix(kind).strip()
            return place, int(number) if number.isdigit() else 0
    return len(_KINDS), 0
