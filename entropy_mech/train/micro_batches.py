"""How the rows of an optimizer step are cut into backward passes and dealt to the processes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from entropy_mech.errors import bad_value

# One entry a process: the rows it passes in this round, possibly none.
Round = tuple[Tensor, ...]


def plan_rounds(
    lengths: Tensor, *, rows: int | None = None, tokens: int | None = None, ranks: int = 1
) -> list[Round]:
    """Cut rows into micro-batches of like length and deal them out.

    The cut is deterministic and made by every process alike. Rows go from the shortest to the
    longest, so that little is padding; the micro-batches of one round are neighbours in that
    order, so that no process waits long for another.

    Args:
        lengths: B, tokens of each row with its prompt.
        rows: at most this many rows a micro-batch, or
        tokens: at most this many tokens a micro-batch, padding counted in.
        ranks: how many processes share them. With a token budget the costliest micro-batches
            are halved until all processes have equally many, where rows allow it.

    Returns:
        Rounds of ``ranks`` entries; each row occurs once.

    >>> plan_rounds(torch.tensor([4, 9, 2, 5]), tokens=10, ranks=2)
    [(tensor([2]), tensor([0])), (tensor([1]), tensor([3]))]

    """
    order = lengths.argsort(stable=True)
    if tokens is None:
        parts = list(order.split(rows or len(order) or 1))
    else:
        parts = _halved(_within_budget(order, lengths, tokens), lengths, ranks)
    rounds = []
    for number, start in enumerate(range(0, len(parts), ranks)):
        chosen = parts[start : start + ranks]
        chosen += [order[:0]] * (ranks - len(chosen))
        # Each second round is dealt backwards: the same process does not always get the longest.
        rounds.append(tuple(chosen if number % 2 == 0 else chosen[::-1]))
    return rounds


def _within_budget(order: Tensor, lengths: Tensor, tokens: int) -> list[Tensor]:
    longest = int(lengths.max()) if len(lengths) else 0
    if longest > tokens:
        raise bad_value(
            "update.micro_batch_tokens", tokens, f"a sequence has {longest} tokens; give as many"
        )
    parts, start = [], 0
    ordered = lengths[order].tolist()
    for end, length in enumerate(ordered):
        if (end - start + 1) * length > tokens:
            parts.append(order[start:end])
            start = end
    return [*parts, order[start:]] if ordered else []


def _halved(parts: list[Tensor], lengths: Tensor, ranks: int) -> list[Tensor]:
    """Split the costliest parts until their number divides by ``ranks`` or none can be split."""
    while len(parts) % ranks:
        costs = [len(part) * int(lengths[part].max()) if len(part) > 1 else 0 for part in parts]
        place = max(range(len(parts)), key=costs.__getitem__)
        if not costs[place]:
            break
        # The longer rows' half is the smaller one: halves of like cost.
        part = parts[place]
        middle = (len(part) + 1) // 2
        parts = [*parts[:place], part[:middle], part[middle:], *parts[place + 1 :]]
    return parts


def own_rows(rounds: Sequence[Round], rank: int) -> list[Tensor]:
    """Return one process's rows, round by round."""
    return [entries[rank] for entries in rounds]
