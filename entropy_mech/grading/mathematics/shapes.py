"""What an answer is made of: lists, tuples, intervals, sets, unions, matrices, ratios."""

from __future__ import annotations

import re

from entropy_mech.grading.mathematics.normal import normal

_AND = re.compile(
    r",? ?\\text\{ ?,? ?(?:and|or) ?\},?|,? ?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]) ?"
    r"|(?<=\d)(?:and|or)(?=[A-Za-z(])|\\(?:text)?\{ ?,? ?(?:and|or) ?\}|\\(?:lor|vee)(?![A-Za-z])"
)
_NAME = r"(?:[A-Za-z]|\\[a-z]+)'*(?:_\w|_\{[^{}]*\}|_\\[a-z]+)?'*"
NAMED = re.compile(rf"({_NAME}(?:\([\w, ]{{1,12}}\))?|\({_NAME}(?:, ?{_NAME})+\))=(.+)", re.DOTALL)
_MATRIX = re.compile(
    r"\\begin\{([a-z]*(?:matrix|array))\}(?:\{[lcr|]*\})?((?:(?!\\end\{).)*)\\end\{\1\}", re.DOTALL
)
_CASES = re.compile(
    r"(?:\\\{)?\\begin\{(cases|array|aligned|gathered|align\*?)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}",
    re.DOTALL,
)
_LESS = r"(<|>|\\leq|\\geq)"
_TURNED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
_COMMANDS = re.compile(r"\\[a-zA-Z]+")
_RATIO = re.compile(r"[\d.]+(?::[\d.]+)+")


def split_top(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside all brackets.

    >>> split_top("(1,2),3", ",")
    ['(1,2)', '3']
    """
    pieces, depth, start, i = [], 0, 0, 0
    while i < len(text):
        if text.startswith(("\\{", "\\}"), i):
            depth += 1 if text[i + 1] == "{" else -1
            i += 2
            continue
        if depth <= 0 and text.startswith(separator, i):
            pieces.append(text[start:i])
            i += len(separator)
            start = i
            continue
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
        i += 1
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces]


def parts(text: str) -> tuple[str, str, list[str]]:
    r"""What an answer is made of: (kind, shape, parts); kind is leaf where it has none.

    >>> parts("(0,1]"), parts(r"\{1,2\}")
    (('tuple', '(]', ['0', '1']), ('list', '', ['1', '2']))
    """
    if (cases := _CASES.fullmatch(text)) and "=" in cases.group(2):
        rows = [row.replace("&", "") for row in cases.group(2).split("\\\\") if row.strip()]
        text = ", ".join(map(normal, rows))
    bracketed = text[1:7] == "\\begin" and text[0] + text[-1] in ("[]", "()")
    if match := _MATRIX.fullmatch(text[1:-1] if bracketed else text):
        rows = [row for row in match.group(2).split("\\\\") if row.strip()]
        cells = [[normal(cell) for cell in row.split("&")] for row in rows]
        kind = "determinant" if match.group(1)[:1] in ("v", "V") else ""
        shape = f"{kind}{[len(row) for row in cells]}"
        return "matrix", shape, [cell for row in cells for cell in row]
    if _RATIO.fullmatch(text):
        return "ratio", "", text.split(":")
    listed = _AND.sub(",", text)
    items = [item for piece in split_top(listed, ",") for item in split_top(piece, ";")]
    items = [item for item in map(normal, items) if item]
    if len(items) > 1:
        return "list", "", _named([i for item in items for i in plus_minus(item)])
    if text.startswith("\\{") and text.endswith("\\}") and len(split_top(text, ",")) == 1:
        inside = [i for item in split_top(text[2:-2], ",") for i in plus_minus(normal(item))]
        return "list", "", inside
    if len(both := plus_minus(text)) > 1:
        return "list", "", both
    union = split_top(text, "\\cup")
    if len(union) > 1:
        return "union", "", [normal(part) for part in union]
    if text.startswith("(") and (named := NAMED.fullmatch(text)) and named.group(2)[:1] == "(":
        names, values = (split_top(side[1:-1], ",") for side in named.groups())
        if len(names) == len(values):
            return "list", "", [f"{n}={v}" for n, v in zip(names, values, strict=True)]
    if text[:1] in "([" and text[-1:] in ")]" and len(split_top(text[1:-1], ",")) > 1:
        return "tuple", text[0] + text[-1], [normal(i) for i in split_top(text[1:-1], ",")]
    return "leaf", "", []


def as_intervals(text: str) -> str | None:
    r"""Inequalities of one name as the union of intervals that they are; None for others.

    >>> as_intervals(r"x<1\text{or}x\geq3"), as_intervals("1<x"), as_intervals("x<y")
    ('(-\\infty,1)\\cup[3,\\infty)', '(1,\\infty)', None)
    """
    pieces = [piece for piece in split_top(_AND.sub(",", text), ",") if piece]
    found = [_interval(piece.strip()) for piece in pieces]
    if not found or None in found or len({name for name, _ in found}) > 1 or "and" in text:
        return None
    return "\\cup".join(interval for _, interval in found)


def _interval(text: str) -> tuple[str, str] | None:
    """(name, interval) of one inequality, simple or double."""
    members = re.split(_LESS, text)
    if members[1:2] and members[1] in (">", "\\geq"):
        members = [_TURNED.get(member, member) for member in members[::-1]]
    values, signs = [value.strip() for value in members[::2]], members[1::2]
    names = [i for i, value in enumerate(values) if re.fullmatch(_NAME, value)]
    if len(values) not in (2, 3) or len(names) != 1 or not set(signs) <= {"<", "\\leq"}:
        return None
    at = names[0]
    if (len(values) == 3 and at != 1) or any(
        re.search("[a-zA-Z]", _COMMANDS.sub("", value)) for i, value in enumerate(values) if i != at
    ):
        return None
    low, high = "(-\\infty", "\\infty)"
    if at > 0:
        low = ("(" if signs[at - 1] == "<" else "[") + values[at - 1]
    if at + 1 < len(values):
        high = values[at + 1] + (")" if signs[at] == "<" else "]")
    return values[at], f"{low},{high}"


def _named(items: list[str]) -> list[str]:
    """With a name that stands before the first of several values before each: x=1, 2."""
    name, found = "", []
    for item in items:
        match = NAMED.fullmatch(item)
        name = match.group(1) if match else name
        found.append(item if match or not name else f"{name}={item}")
    return found


def plus_minus(text: str) -> list[str]:
    r"""The two values of an expression with \\pm (and \\mp, its opposite)."""
    if "\\pm" not in text:
        return [text]
    plus = re.sub(r"\\pm ?", "+", re.sub(r"\\mp ?", "-", text))
    minus = re.sub(r"\\pm ?", "-", re.sub(r"\\mp ?", "+", text))
    return [re.sub(r"(^|[=(,])\+", r"\1", plus), minus]
