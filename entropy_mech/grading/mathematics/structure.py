r"""Compare two answers part by part: lists, tuples, intervals, sets, unions, matrices, chains.

What the shape decides is decided here, exactly. What needs algebra is asked of ``same_algebra``,
the only part that can be slow; without it :class:`NeedsAlgebra` is raised instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise

from entropy_mech.grading.mathematics.normal import normal
from entropy_mech.grading.mathematics.quantity import (
    Number,
    as_words,
    changes_a_number,
    choice,
    number,
    same_moment,
    split_unit,
)  # fmt: skip

_AND = re.compile(
    r",? ?\\text\{ ?,? ?(?:and|or) ?\},?|,? ?(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]) ?"
    r"|(?<=\d)(?:and|or)(?=[A-Za-z(])|\\(?:text)?\{ ?,? ?(?:and|or) ?\}|\\(?:lor|vee)(?![A-Za-z])"
)
_NAME = r"(?:[A-Za-z]|\\[a-z]+)'*(?:_\w|_\{[^{}]*\}|_\\[a-z]+)?'*"
NAMED = re.compile(rf"({_NAME}(?:\([\w, ]{{1,12}}\))?|\({_NAME}(?:, ?{_NAME})+\))=(.+)", re.DOTALL)
_MATRIX = re.compile(
    r"\\begin\{([a-z]*(?:matrix|array)|cases)\}(?:\{[lcr|]*\})?((?:(?!\\end\{).)*)\\end\{\1\}",
    re.DOTALL,
)
_CASES = re.compile(
    r"(?:\\\{)?\\begin\{(cases|array|aligned|gathered|align\*?)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}",
    re.DOTALL,
)
_PIECES = re.compile(r"&(?!=|<|>|\\(?:le|ge))")  # a value, and where it is taken
_IF = re.compile(r"^ ?(?:\\text\{ ?)?(?:if|for|when)(?![a-z]) ?(?:\} ?)?")
_LESS = r"(<|>|\\leq|\\geq)"
_TURNED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
_COMMANDS = re.compile(r"\\[a-zA-Z]+")
_CONGRUENCE = re.compile(r"([^,]+)\\equiv((?:(?!\\equiv).)+)\\p?mod ?([^,]+)")
_RATIO = re.compile(r"[\d.]+(?::[\d.]+)+")


def split_top(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside all brackets.

    >>> split_top("(1,2),3", ",")
    ['(1,2)', '3']
    """
    pieces, depth, start = [], 0, 0
    for match in re.finditer(rf"[(\[{{]|[)\]}}]|{re.escape(separator)}", text):
        if match.group() in "([{":
            depth += 1
        elif match.group() in ")]}":
            depth -= 1
        elif depth <= 0:
            pieces.append(text[start : match.start()])
            start = match.end()
    return [piece.strip() for piece in (*pieces, text[start:])]


def parts(text: str) -> tuple[str, str, list[str]]:
    r"""What an answer is made of: (kind, shape, parts); kind is leaf where it has none.

    >>> parts("(0,1]"), parts(r"\{1,2\}")
    (('tuple', '(]', ['0', '1']), ('list', '', ['1', '2']))
    """
    cases = _CASES.fullmatch(text)
    if cases and "=" in cases.group(2) and not _PIECES.search(cases.group(2)):
        rows = [row.replace("&", "") for row in cases.group(2).split("\\\\") if row.strip()]
        text = ", ".join(map(normal, rows))
    bracketed = text[1:7] == "\\begin" and text[0] + text[-1] in ("[]", "()")
    if match := _MATRIX.fullmatch(text[1:-1] if bracketed else text):
        rows = [row for row in match.group(2).split("\\\\") if row.strip()]
        cells = [[normal(_IF.sub("", cell)) for cell in row.split("&")] for row in rows]
        kind = {"v": "determinant", "V": "determinant", "c": "cases"}.get(match.group(1)[:1], "")
        shape = f"{kind}{[len(row) for row in cells]}"
        return "matrix", shape, [cell for row in cells for cell in row]
    if _RATIO.fullmatch(text):
        return "ratio", "", text.split(":")
    listed = _AND.sub(",", text)
    if match := _CONGRUENCE.fullmatch(listed):
        name, residues, modulus = match.groups()
        if len(residues := split_top(residues, ",")) > 1:
            return "list", "", [rf"{name}\equiv{r}\pmod {modulus}" for r in residues]
        return "tuple", "mod", [name, rf"({residues[0]})\mod {modulus}", modulus]
    items = [item for piece in split_top(listed, ",") for item in split_top(piece, ";")]
    items = [item for item in map(normal, items) if item]
    if len(items) < 2 and text.startswith("\\{") and text.endswith("\\}"):
        inside = map(normal, split_top(text[2:-2], ","))
        return "list", "", [i for item in inside for i in plus_minus(item)]
    items = [i for item in items for i in plus_minus(item)]
    if len(items) > 1:
        return "list", "", _named(items)
    union = split_top(text, "\\cup")
    if len(union) > 1:
        return "union", "", [normal(part) for part in union]
    if text.startswith("(") and (named := NAMED.fullmatch(text)) and named.group(2)[:1] == "(":
        names, values = (split_top(side[1:-1], ",") for side in named.groups())
        if len(names) == len(values):
            return "list", "", [f"{n}={v}" for n, v in zip(names, values, strict=True)]
    inside = split_top(text[1:-1], ",")
    if text[:1] in "([" and text[-1:] in ")]" and len(inside) > 1:
        return "tuple", text[0] + text[-1], list(map(normal, inside))
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


_PLUS_MINUS = re.compile(r"\\pm(?![a-z]) ?")


def plus_minus(text: str) -> list[str]:
    r"""The two values of an expression with \\pm (and \\mp, its opposite)."""
    if not _PLUS_MINUS.search(text):
        return [text]
    plus = _PLUS_MINUS.sub("+", re.sub(r"\\mp ?", "-", text))
    minus = _PLUS_MINUS.sub("-", re.sub(r"\\mp ?", "+", text))
    return [re.sub(r"(^|[=(,])\+", r"\1", plus), minus]


_MEMBER = re.compile(rf"([A-Za-z](?:_\{{?\w\}}?)?|\({_NAME}(?:, ?{_NAME})+\))\\in ?(.+)", re.DOTALL)
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
    pieces = enumerate(split_top(text, "\\approx"))
    found = [(member, i > 0) for i, piece in pieces for member in split_top(piece, "=")]
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
    return len(split_top(value, "=")) > 1 and not value.startswith(("\\sum", "\\prod", "\\begin"))


_BASE = re.compile(r"\(?([0-9A-Za-z]*\d[0-9A-Za-z]*)\)?_\{?(-?\d+)\}?")
_COMMA = re.compile(r"-?\d+,(?:\d{1,2}|\d{4,})")
MAX_DEPTH = 40


class NeedsAlgebra(Exception):
    """The shapes agree, but some part can only be decided by a computer algebra system."""


@dataclass(frozen=True)
class Closeness:
    """How far numbers may differ and still be the same: the larger of the two bounds."""

    relative: float = 0.0
    absolute: float = 0.0

    def same(self, answer: Fraction, reference: Fraction) -> bool:
        bound = max(Fraction(self.relative) * abs(reference), Fraction(self.absolute))
        return abs(answer - reference) <= bound


@dataclass(frozen=True)
class Comparison:
    """One way of comparing; ``same(answer, reference)`` takes normalised texts."""

    closeness: Closeness = Closeness()
    same_algebra: Callable[[str, str, Closeness], bool] | None = None

    def same(self, answer: str, reference: str, depth: int = 0) -> bool:
        """Whether two normalised answers are the same; raises NeedsAlgebra without algebra."""
        if answer == reference:
            return True
        if depth > MAX_DEPTH:
            return False
        ways = (self._numbers, same_moment, self._choices)
        for decide in ways if depth == 0 else (partial(self._numbers, lone_letters=False),):
            if (decided := decide(answer, reference)) is not None:
                return decided
        values = unnamed(answer, reference)
        if values != (answer, reference):
            return self.same(*values, depth + 1)
        mine, theirs = parts(answer), parts(reference)
        if "list" not in (mine[0], theirs[0]):
            (name, values), (other_name, others) = computation(answer), computation(reference)
            if len(values) > 1 or len(others) > 1:
                return self._computed(name, values, other_name, others, depth + 1)
            if bool(name) != bool(other_name) and not is_relation(reference if name else answer):
                return self.same(values[0][0], others[0][0], depth + 1)
        if mine[0] == theirs[0] == "leaf":
            return self._leaves(answer, reference, depth + 1)
        if mine[0] == theirs[0]:
            return self._same_parts(mine, theirs, depth + 1)
        kinds = {mine[0], theirs[0]}
        if kinds == {"list", "leaf"}:
            leaf = answer if mine[0] == "leaf" else reference
            if number(leaf) is not None:
                return False  # one number is not several
        if kinds == {"list", "tuple"}:
            return self._in_order(answer, mine, reference, theirs, depth + 1)
        unions = as_intervals(answer) or answer, as_intervals(reference) or reference
        if unions != (answer, reference):
            return self.same(*unions, depth + 1)
        return self._algebra(answer, reference)

    def _in_order(self, answer, mine, reference, theirs, depth) -> bool:
        """Whether a list without braces, or one of named values, is the tuple of its items."""
        text, items = (answer, mine[2]) if mine[0] == "list" else (reference, theirs[2])
        named = [NAMED.fullmatch(item) for item in items]
        if all(named) and len({match.group(1) for match in named}) == len(items):
            items = [m.group(2) for m in sorted(named, key=lambda m: m.group(1))]
        elif text.startswith("\\{"):
            return False
        tuples = [("tuple", "()", items) if kind[0] == "list" else kind for kind in (mine, theirs)]
        return self._same_parts(*tuples, depth)

    def _computed(self, name, values, other_name, other_values, depth) -> bool:
        """Compare computations: the answer's must be right in every step."""
        if name and other_name and name != other_name:
            return False
        for (before, _), (after, about) in pairwise(values):
            if not about and not self.same(after, before, depth):
                return False
        exact = [value for value, about in values if not about]
        mine = [*exact[-1:], *(v for v, about in values if about and self._rounds(v, exact, depth))]
        theirs = [other_values[-1][0], *(v for v, about in other_values if not about)]
        return any(self.same(a, r, depth) for r in theirs for a in mine)

    def _rounds(self, about: str, exact: list[str], depth: int) -> bool:
        """Whether a decimal is what rounding the exact value gives, to three digits or more."""
        decimal = number(about)
        if not exact or decimal is None or decimal.decimals is None:
            return False
        half = Fraction(1, 2 * 10**decimal.decimals)
        if abs(decimal.value) < 200 * half:
            return False
        nearly = Comparison(Closeness(absolute=float(half)), self.same_algebra)
        return nearly.same(about, exact[-1], depth)

    def _choices(self, answer: str, reference: str) -> bool | None:
        """Compare lettered choices with what they say; None where neither side is one."""
        mine, theirs = choice(answer), choice(reference)
        if mine and theirs:
            return mine[0] == theirs[0] and self.same(mine[1], theirs[1], 1)
        if mine is None and theirs is None:
            return None
        (letter, said), other = (mine, reference) if mine else (theirs, answer)
        if (word := as_words(other)) is not None and len(word) == 1:
            return word == letter
        return self.same(said, other, 1) if mine else self.same(other, said, 1)

    def _same_parts(self, mine, theirs, depth) -> bool:
        kind, shape, answers = mine
        _, other_shape, references = theirs
        if shape != other_shape:
            return False
        if kind in ("tuple", "matrix", "ratio"):
            return len(answers) == len(references) and all(
                self.same(a, r, depth) for a, r in zip(answers, references, strict=True)
            )
        return self._same_items(answers, references, depth)

    def _same_items(self, answers, references, depth) -> bool:
        """In any order; repeated items count only where the reference itself repeats one."""
        repeats = len(set(references)) < len(references)
        if len(answers) < len(references) or (repeats and len(answers) != len(references)):
            return False
        free = list(references)
        for answer in answers:
            match = self._find(answer, free, depth)
            if match is not None:
                free.remove(match)
            elif repeats or self._find(answer, references, depth) is None:
                return False
        return not free

    def _find(self, answer, references, depth):
        if answer in references:
            return answer
        undecided = None
        for reference in references:
            try:
                if self.same(answer, reference, depth):
                    return reference
            except NeedsAlgebra as needed:
                undecided = needed
        if undecided:
            raise undecided
        return None

    def _numbers(self, answer: str, reference: str, *, lone_letters: bool = True) -> bool | None:
        mine, theirs = (number(t, lone_letters=lone_letters) for t in (answer, reference))
        mine, theirs = mine or _with_comma(answer, theirs), theirs or _with_comma(reference, mine)
        if mine is None or theirs is None:
            return None
        if mine.unit and theirs.unit and mine.unit != theirs.unit:
            return False
        if self.closeness.same(mine.value, theirs.value) or (
            theirs.decimals is None and rounds_to(mine, theirs.value)  # rounded or cut off
        ):
            return True
        if {mine.unit, theirs.unit} != {"percent", ""}:
            return False
        return self.closeness.same(*(n.value / (100 if n.unit else 1) for n in (mine, theirs)))

    def _leaves(self, answer: str, reference: str, depth: int) -> bool:
        words, expected = as_words(answer), as_words(reference)
        if words is not None and expected is not None:
            return words == expected
        mine, theirs = _BASE.fullmatch(answer), _BASE.fullmatch(reference)
        if mine and theirs:
            mine, theirs = ((m[1].lstrip("0").lower(), int(m[2])) for m in (mine, theirs))
            return mine == theirs
        if (mine and number(reference)) or (theirs and number(answer)):  # the base left out
            (digits, base), plain = (mine or theirs).groups(), reference if mine else answer
            valid = all(int(digit, 36) < int(base) for digit in digits)
            return valid and digits.lstrip("0") == plain.lstrip("0")
        (mine, unit), (theirs, expected_unit) = (
            split_unit(text, lone_letters=False) for text in (answer, reference)
        )
        if unit and expected_unit and unit != expected_unit:
            return False
        if "degree" in (unit, expected_unit) and "\\pi" in answer + reference:
            mine, theirs = (
                rf"\frac{{({text})\cdot\pi}}{{180}}" if name == "degree" else text
                for text, name in ((mine, unit), (theirs, expected_unit))
            )
        if (mine, theirs) != (answer, reference) and mine and theirs:
            return self.same(mine, theirs, depth)
        return self._algebra(answer, reference)

    def _algebra(self, answer: str, reference: str) -> bool:
        if self.same_algebra is None:
            raise NeedsAlgebra
        return self.same_algebra(answer, reference, self.closeness)


def _with_comma(text: str, other: Number | None) -> Number | None:
    """The number in a text with a decimal comma, where the other side has a decimal point."""
    decimal = other and other.decimals and _COMMA.fullmatch(text)
    return number(text.replace(",", ".")) if decimal else None


def rounds_to(answer: Number, exact: Fraction) -> bool:
    """Whether a decimal of five digits or more is what rounding or cutting off ``exact`` gives.

    >>> rounds_to(number("2.6667"), Fraction(8, 3)), rounds_to(number("2.67"), Fraction(8, 3))
    (True, False)
    """
    if answer.decimals is None:
        return False
    unit = Fraction(1, 10**answer.decimals)
    if abs(answer.value) < 10**4 * unit:
        return False
    cut_off = abs(answer.value) <= abs(exact)
    return abs(answer.value - exact) * (1 if cut_off else 2) < unit
