r"""Values with a name (x = 5) and computations with their result (18/3 = 6).

A name is dropped where only one side has it. The members of a computation must agree with each
other, and then its last one counts; what stands behind \approx counts only where it is a
rounding of what stands before.
"""

from __future__ import annotations

import re

from entropy_mech.grading.mathematics.quantity import number
from entropy_mech.grading.mathematics.shapes import NAMED, split_top
from entropy_mech.grading.mathematics.units import changes_a_number

_MEMBER = re.compile(r"([A-Za-z](?:_\{?\w\}?)?)\\in ?(.+)", re.DOTALL)
_RELATION = re.compile(r"[<>]|\\(?:geq|leq|ne|equiv|in|to|mid|parallel|perp|sim|neg|lnot)(?![a-z])")
_NO_SYMBOLS = re.compile(
    r"\\(?:text|begin|end)\{[^{}]*\}|\\(?:pi|infty|frac|binom|sqrt|cdot|times|div|sin|cos|tan|cot|sec"
    r"|csc|ln|log|exp|arcsin|arccos|arctan|pm|mp|circ|max|min|gcd|lcm|lfloor|rfloor|lceil|rceil)"
    r"(?![a-zA-Z])|(?<![a-zA-Z])[ei](?![a-zA-Z])"
)
_SYMBOL = re.compile(r"[a-zA-Z]")


def has_symbols(text: str) -> bool:
    r"""Whether a text has letters that stand for something, so that it is no constant.

    >>> has_symbols(r"2\pi e^{i}"), has_symbols("7 cm"), has_symbols("4k+7")
    (False, False, True)
    """
    return number(text) is None and bool(_SYMBOL.search(_NO_SYMBOLS.sub("", text)))


def is_name(text: str) -> bool:
    r"""Whether a text can name a value: one thing with letters, no sum and no multiple.

    >>> [is_name(t) for t in ("x", r"\frac{AB}{CD}", "f(2)", "x+y", "2x", "5")]
    [True, True, True, False, False, False]
    """
    if not text or len(text) > 60 or text[0] in "-.0123456789" or not has_symbols(text):
        return False
    words = re.findall(r"[a-zA-Z']{2,}", re.sub(r"\\[a-zA-Z]+", " ", text))
    if len(words) > 3 or changes_a_number([w for w in words if not w.isupper()]):  # NO is a side
        return False
    inside = re.sub(r"[_^](?:\w|\\[a-z]+|\{[^{}]*\})|\([^()]*\)|\{[^{}]*[+-][^{}]*\}", "", text)
    return not re.search(r"[-+]|\d", inside)


def is_relation(text: str) -> bool:
    """Whether a text says how things are related, and so is no value."""
    text = _outside_braces(text)
    return "=" in text or bool(_RELATION.search(text))


def _outside_braces(text: str) -> str:
    r"""Without what stands in braces, as the bounds of a sum or a limit do."""
    for _ in range(8):
        text, count = re.subn(r"(?<!\\)\{[^{}]*(?<!\\)\}", "", text)
        if not count:
            break
    return text


def members(text: str) -> list[tuple[str, bool]]:
    r"""The members of a chain of equalities, each with whether it is only approximate.

    >>> members(r"x=\sqrt{2}\approx1.41")
    [('x', False), ('\\sqrt{2}', False), ('1.41', True)]
    """
    if ("=" not in text and "\\approx" not in text) or _RELATION.search(_outside_braces(text)):
        return [(text, False)]
    found = []
    for i, piece in enumerate(split_top(text, "\\approx")):
        equal = split_top(piece, "=")
        found += [(member, i > 0) for member in equal]
    return found if all(member for member, _ in found) else [(text, False)]


def computation(text: str) -> tuple[str, list[tuple[str, bool]]]:
    """A chain as the name that it may begin with ("" for none) and the values that follow.

    One value, the whole text, where it is not a computation: an equation, or no chain at all.
    """
    chain = members(text)
    if len(chain) == 2 and not has_symbols(chain[0][0]) and is_name(chain[1][0]):
        chain = [(chain[1][0], False), chain[0]]  # 5 = x
    if len(chain) > 1 and is_name(chain[0][0]) and len(split_top(text, ",")) == 1:
        return chain[0][0], chain[1:]
    if len(chain) > 1 and not any(has_symbols(member) for member, _ in chain):
        return "", chain
    return "", [(text, False)]


def unnamed(answer: str, reference: str) -> tuple[str, str]:
    """Drop "x=" or "x in" where only one side has it, or both have the same."""
    answer, reference = (re.sub(r"\\in(?![a-z]) ?", r"\\in ", t) for t in (answer, reference))
    for pattern in (NAMED, _MEMBER):
        mine, theirs = pattern.fullmatch(answer), pattern.fullmatch(reference)
        same_name = mine and theirs and mine.group(1) == theirs.group(1)
        alone = bool(mine) != bool(theirs)
        if alone and is_relation(reference if mine else answer):
            continue  # an equation is not a value
        if mine and theirs and not same_name and pattern is NAMED:
            answer = _renamed(mine, theirs, answer)
            mine = NAMED.fullmatch(answer)
            same_name = mine.group(1) == theirs.group(1)
        if same_name or alone:
            answer, reference = (
                match.group(match.lastindex) if match and not _several(match) else text
                for match, text in ((mine, answer), (theirs, reference))
            )
    return answer, reference


_CALL = re.compile(r"(.+)\(([a-zA-Z])\)")


def _renamed(mine: re.Match, theirs: re.Match, answer: str) -> str:
    """f(t) = 2t as f(x) = 2x, where the reference calls the argument x."""
    call, other = (_CALL.fullmatch(match.group(1)) for match in (mine, theirs))
    if not call or not other or call.group(1) != other.group(1):
        return answer
    old, new = call.group(2), other.group(2)
    tokens = re.findall(r"\\[a-zA-Z]+|.", answer, re.DOTALL)
    if new in tokens:
        return answer
    return "".join(new if token == old else token for token in tokens)


def _several(match: re.Match) -> bool:
    value = match.group(match.lastindex)
    return len(split_top(value, "=")) > 1 and not value.startswith(("\\sum", "\\prod"))
