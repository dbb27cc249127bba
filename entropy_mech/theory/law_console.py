"""What trainers print on a console: verl's steps and the dicts of TRL, ms-swift and slime."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

TORN = "the last line is cut off and left out: the run was writing it"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_VERL = re.compile(r"\b(?:global_)?step:\s*(\d+)(?:/\d+)?\s+-\s+(\S+:.*)")
_TYPED = re.compile(r"\b(?:\w+\.)?(?:float|int|tensor|array|Array)\d*\(([^(),]*)[^()]*\)")


def says_verl_step(line: str) -> bool:
    """Return whether verl's console logger wrote the line.

    >>> says_verl_step("(TaskRunner pid=7) step:3 - actor/entropy:0.5"), says_verl_step("step: 3")
    (True, False)
    """
    return bool(_VERL.search(_plain(line)))


def printed_records(lines: Iterable[str], verl: bool, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the metrics of each step of verl, or else each printed dict, one a line.

    Prefixes, colours, progress bars and types (``np.float64(0.5)``) are left out. A last line
    without its end is taken as far as it is surely whole, and ``notes`` says so.

    >>> list(printed_records(["{'loss': 0.1, 'entropy': tensor(0.5, device='cuda:0')}"], False, []))
    [{'loss': 0.1, 'entropy': 0.5}]
    """
    last = ""
    for line in lines:
        ended = line.endswith("\n")
        for part in _plain(line).split("\r"):
            record = _verl_step(part) if verl else _printed_dict(part)
            if record:
                if verl and not ended and last not in ("", next(reversed(record))):
                    record.popitem()  # perhaps cut off within its digits
                    notes.append(TORN)
                yield record
                last = next(reversed(record))
            elif not verl and not ended and re.search(r"\{['\"][\w/]+['\"]:", part):
                notes.append(TORN)


def _plain(line: str) -> str:
    return _TYPED.sub(r"\1", _ANSI.sub("", line))


def _verl_step(text: str) -> dict[str, Any] | None:
    found = _VERL.search(text)
    if not found:
        return None
    pairs = (pair.rpartition(":") for pair in found[2].strip().split(" - "))
    return {"step": int(found[1]), **{k.strip(): v for k, _, v in pairs if k and v.strip()}}


def _printed_dict(text: str) -> dict[str, Any] | None:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    inner = text[start : end + 1]
    try:
        record = json.loads(inner)
    except json.JSONDecodeError:
        try:
            record = ast.literal_eval(re.sub(r"(?<![\w'])(-?(?:nan|inf))\b", r"'\1'", inner))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return record if isinstance(record, dict) and record else None
