"""Docstrings as Markdown, and the anchors of headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Warns|Yields|Keys):$")
_ITEM = re.compile(r"^(\*{0,2}\w[\w., *]*): (.+)$")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
# What Markdown would read as its own: a star between words, __name__, a tag, the start of a link.
_LITERAL = re.compile(r"(?<=[\w)])\*(?=[\w(])|(?<!\w)__(?=\w)|<(?=[A-Za-z/!])|\[(?=[^]]*\]\()")
_HEADING = re.compile(r"^#{1,6} (.+)$")


def prose(docstring: str | None) -> list[str]:
    """Return a docstring's lines: its sections as lists, its examples and formulas as code."""
    lines, out, place = (docstring or "").split("\n"), [], 0
    while place < len(lines):
        line = lines[place]
        if line.lstrip().startswith(">>>"):
            end = _until(lines, place, lambda text: bool(text.strip()))
            indent = len(line) - len(line.lstrip())
            block = fenced("pycon", [text[indent:] for text in lines[place:end]])
        elif match := _SECTION.match(line):
            end = _until(lines, place + 1, _indented_or_empty)
            block = [f"**{match[1]}**", "", *_items(lines[place + 1 : end]), ""]
        elif line.startswith("    "):
            end = _until(lines, place, _indented_or_empty)
            text = "\n".join(part[4:] for part in lines[place:end]).rstrip()
            block = fenced("text", text.split("\n"))
        else:
            out += [inline(line)] if line or (out and out[-1]) else []
            place += 1
            continue
        out += [*([""] if out and out[-1] else []), *block]
        place = end
    while out and not out[-1]:
        out.pop()
    return out


def fenced(language: str, lines: Iterable[str]) -> list[str]:
    """Return a block of code with a fence longer than any inside it, and an empty line after."""
    lines = list(lines)
    ticks = max([2, *(len(run) for run in re.findall(r"`{3,}", "\n".join(lines)))]) + 1
    return ["`" * ticks + language, *lines, "`" * ticks, ""]


def inline(line: str) -> str:
    """Return a line of prose with its code as Markdown's, and nothing else read as Markdown."""
    line = _ROLE.sub(r"`\1`", line).replace("``", "`")
    parts = re.split(r"(`[^`]*`)", line)
    escaped = "".join(p if p.startswith("`") else _LITERAL.sub(r"\\\g<0>", p) for p in parts)
    return re.sub(r"^(\s*)([#>+])", r"\1\\\2", escaped)


def summary(docstring: str | None) -> str:
    """Return the first paragraph as one line that a table's cell can hold."""
    return inline((docstring or "").split("\n\n")[0].replace("\n", " ")).replace("|", r"\|")


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


def _until(lines: list[str], start: int, holds: Callable[[str], bool]) -> int:
    return next((i for i in range(start, len(lines)) if not holds(lines[i])), len(lines))


def _indented_or_empty(line: str) -> bool:
    return not line.strip() or line.startswith("    ")


def _items(lines: list[str]) -> list[str]:
    """Return a section's ``name: what`` lines as a list, other text as one item."""
    out: list[str] = []
    for text in (line[4:] for line in lines if line.strip()):
        match = _ITEM.match(text)
        if match:
            out.append(f"- `{match[1]}`: {inline(match[2])}")
        elif out and (text.startswith("    ") or not out[-1].startswith("- `")):
            out[-1] += f" {inline(text.strip())}"
        else:
            out.append(f"- {inline(text.strip())}")
    return out
