"""Find the answer in a response: boxes with balanced braces, in one pass over the text."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{)?")
_EMPTY = re.compile(r"(?:\\[ ,;:!~]|\\[lc]?dots|[\s~._$?])*")
MAX_BETWEEN_BOXES = 80
_BARE_WORDS = re.compile(r"\\[a-zA-Z]+|\\.|[A-Za-z]{2,}")
_NO_WORDS = re.compile(
    r"\\(?:text|mbox|mathrm|begin|end)[a-z]*\s*\{[^{}]*\}|\\[a-zA-Z]+|_\{[^{}]*\}"
)
_WORD = re.compile(r"(?!and\b)[A-Za-z]{3,}|\b(?:is|it)\b")
# How base models close an answer that they learned from the Minerva prompt.
_CLOSING = re.compile(
    r"[Ff]inal [Aa]nswer:?\s*The final answer is:?\s*(.{1,400}?)\.?\s*I hope it is correct"
)
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
    r"""The last boxed answer and, where boxes follow each other closely, the list of them.

    The list can only match a reference that is a list; the last box counts for all others.
    The closing sentence of the Minerva prompt ("Final Answer: The final answer is ... I hope it
    is correct.") counts as a box.

    >>> boxed_answers(r"\boxed{1} and \boxed{2}")
    ['2', '1, 2']
    """
    found = boxes(text)
    said = [box for box in found if not _EMPTY.fullmatch(box[2])]
    found = said or found[-1:]  # instructions may be repeated behind the answer: \\boxed{}
    closing = list(_CLOSING.finditer(text, found[-1][1] if found else 0))
    if closing:
        return [_innermost(closing[-1].group(1))]
    if not found:
        return []
    last = _innermost(found[-1][2])
    run = [last]
    for (_, end, content), (start, _, _) in zip(found[-2::-1], found[:0:-1], strict=False):
        if start - end > MAX_BETWEEN_BOXES or "\n\n" in text[end:start]:
            break
        run.insert(0, _innermost(content))
    return [last] if len(run) == 1 else [last, ", ".join(run)]


def unfinished_box(text: str) -> str:
    r"""The content of a box that is never closed, as some references have it; else the text."""
    return re.sub(r"^.*\\+boxed\s*\{", "", text, count=1, flags=re.DOTALL)


def _innermost(content: str) -> str:
    r"""Open boxes inside a box: alone or among words it is the answer, else a part of it.

    >>> _innermost(r"thus \boxed{5}."), _innermost(r"-\boxed{a+b}")
    ('5', '-(a+b)')
    """
    for _ in range(5):
        inner = boxes(content)
        if not inner:
            return content
        start, end, inside = inner[-1]
        around = content[:start] + " " + content[end:]
        worded = _WORD.search(_NO_WORDS.sub(" ", around))
        if worded or not re.sub(r"\\[\[\]()]|[\s$.]", "", around):
            content = inside
        else:
            content = f"{content[:start]}({inside}){content[end:]}"
    return content


def bare_answer(text: str) -> str | None:
    r"""The whole text, if it is one line of mathematics without any words; else None.

    >>> bare_answer("$\\frac{1}{3}$")
    '$\\frac{1}{3}$'
    >>> bare_answer("The answer is 3") is None
    True
    """
    text = text.strip()
    if not text or len(text) > 400 or "\n" in text or "boxed" in text:
        return None
    words = [w for w in _BARE_WORDS.findall(text) if not w.startswith("\\")]
    return None if words else text


def after_reasoning(text: str, end_marks: tuple[str, ...] = ("</think>",)) -> str:
    """What follows the last end of reasoning; all of it where there is none."""
    for mark in end_marks:
        text = text.rpartition(mark)[2]
    return text
