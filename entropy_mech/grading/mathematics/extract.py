"""Find the answer in a response: boxes with balanced braces, in one pass over the text."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{)?")
_BETWEEN_BOXES = re.compile(
    r"(?:[\s,;.$]|\\[,;!]|\\quad|\\qquad|\\\(|\\\)|and|or|\\text\{\s*(?:and|or)\s*\})*"
)
_BARE_WORDS = re.compile(r"\\[a-zA-Z]+|\\.|[A-Za-z]{2,}")
MAX_ANSWER_CHARACTERS = 4000


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Every outermost ``\boxed{...}`` whose braces balance: (start, end, content).

    ``\boxed 5`` (no braces) counts too, up to the next space or dollar sign. Escaped braces do
    not count. An unfinished box, as at the end of a response that was cut off, is skipped.

    >>> [content for _, _, content in boxes(r"\boxed{\frac{1}{2}} or \boxed{3")]
    ['\\frac{1}{2}']
    """
    starts = list(_BOX.finditer(text))
    if not starts:
        return []
    closing = _matching_braces(text)
    found, position = [], 0
    for match in starts:
        if match.start() < position:
            continue  # inside the box before
        if match.group(1):
            end = closing.get(match.end() - 1)
            if end is None:
                continue
            content = text[match.end() : end]
            end += 1
        else:
            bare = re.compile(r"[^\s$\\]+").match(text, match.end())
            if bare is None:
                continue
            content, end = bare.group(), bare.end()
        found.append((match.start(), end, content))
        position = end
    return found


def _matching_braces(text: str) -> dict[int, int]:
    """Where each opening brace is closed; unfinished ones are left out."""
    open_at, closing = [], {}
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if match.group() == "{":
            open_at.append(match.start())
        elif match.group() == "}" and open_at:
            closing[open_at.pop()] = match.start()
    return closing


def boxed_answers(text: str) -> list[str]:
    r"""The last boxed answer and, where several boxes make one list, that list as well.

    Boxes make one list if nothing but commas, "and" or "or" stands between them.

    >>> boxed_answers(r"first \boxed{1}; so \boxed{2}")
    ['2']
    >>> boxed_answers(r"\boxed{1} and \boxed{2}")
    ['2', '1, 2']
    """
    found = boxes(text)
    if not found:
        return []
    last = _innermost(found[-1][2])
    run = [last]
    for (_, end, content), (start, _, _) in zip(found[-2::-1], found[:0:-1], strict=False):
        if not _BETWEEN_BOXES.fullmatch(text, end, start):
            break
        run.insert(0, _innermost(content))
    return [last] if len(run) == 1 else [last, ", ".join(run)]


def _innermost(content: str) -> str:
    r"""A box inside the box is the answer proper, as in ``\boxed{x = \boxed{5}}``."""
    for _ in range(5):
        inner = boxes(content)
        if not inner:
            return content
        content = inner[-1][2]
    return content


def bare_answer(text: str) -> str | None:
    r"""The whole text, if it is one line of mathematics without any words; else None.

    >>> bare_answer("$\\frac{1}{3}$")
    '$\\frac{1}{3}$'
    >>> bare_answer("The answer is 3") is None
    True
    """
    text = text.strip()
    if not text or len(text) > 400 or "\n" in text:
        return None
    words = [w for w in _BARE_WORDS.findall(text) if not w.startswith("\\")]
    return None if words else text


def after_reasoning(text: str, end_marks: tuple[str, ...] = ("</think>",)) -> str:
    """What follows the last end of reasoning; all of it where there is none."""
    for mark in end_marks:
        text = text.rpartition(mark)[2]
    return text
