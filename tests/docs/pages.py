"""The pages that people read, and their blocks of code."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_HEADING = re.compile(r"^#{1,6} (.+)$")
_FENCE = re.compile(r"^ *(`{3,})(\S*)\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page (relative to the root), first line, language and text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def needs_trl(self) -> bool:
        """Whether it is for readers who have TRL."""
        return "integrations.trl" in self.text

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks in order; one that is not closed is an error."""
    found, open_fence, start, language = [], "", 0, ""
    lines = page.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        match = _FENCE.match(line)
        if open_fence:
            if match and match[1] == open_fence and not match[2]:
                text = "\n".join(lines[start : number - 1]) + "\n"
                name = page.relative_to(ROOT).as_posix()
                found.append(Block(name, start + 1, language, text))
                open_fence = ""
        elif match:
            open_fence, language, start = match[1], match[2], number
    assert not open_fence, f"{page}: the block at line {start} is not closed"
    return found


def prose(page: Path) -> str:
    """Return a page without its blocks and its inline code; of a notebook, its Markdown cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    text = re.sub(r"^ *(`{3,})[^`\n]*\n.*?^ *\1 *$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "", text)


BLOCKS = tuple(block for page in PAGES for block in blocks(page))


def anchors(lines: Iterable[str]) -> list[str]:
    """Return the anchor of every heading, as hosts of Markdown make them: repeats are numbered.

    >>> anchors(["# A.b_c", "## The law, R = x", "", "### A.b_c"])
    ['ab_c', 'the-law-r--x', 'ab_c-1']
    """
    seen: Counter[str] = Counter()
    found, fence = [], ""
    for line in lines:
        if fence or line.startswith("```"):
            ticks = re.match("`*", line)[0]
            fence = ("" if line == fence else fence) if fence else ticks
        elif match := _HEADING.match(line):
            anchor = re.sub(r"[^\w\- ]", "", match[1].lower()).replace(" ", "-")
            found.append(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return found
