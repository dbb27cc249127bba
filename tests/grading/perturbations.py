"""Small changes that make a reference another answer, for tests of what graders reject."""

import random
import re

KINDS = ("number", "sign", "element", "end", "digits", "rotated", "case", "prime", "accent", "unit")
_LABEL = re.compile(r"_\{?\w+\}?|\\begin\{array\}\{[lcr|]*\}")
_NO_SYMBOL = re.compile(
    r"\\(?:text|mbox|mathrm|operatorname|begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]{3,}|boxed.*"
    r"|_\{[^{}]*\}|_\w"
)


def perturbations(reference: str, seed: str) -> list[tuple[str, str]]:
    """Return (kind, changed reference), one for each of KINDS that this reference can have.

    A change in an index of a name is no change of value, so indices are left alone; so is a
    zero whose sign changes, and a number that stands as an exponent of one.
    """
    rng = random.Random(seed)
    stripped = reference.strip(" $")
    found = [*_numbers(reference, rng), *_sign(stripped), *_end(stripped), *_rotated(stripped)]
    found += _symbols(reference, rng)
    return [(kind, text) for kind, text in found if text != reference]


def _numbers(reference, rng):
    labels = [m.span() for m in _LABEL.finditer(reference)]
    spots = [
        m for m in re.finditer(r"\d+", reference) if not any(a <= m.start() < b for a, b in labels)
    ]
    if not spots:
        return
    spot = rng.choice(spots)
    yield "number", _replace(reference, spot, str(int(spot.group()) + rng.choice([1, 2, 3, 10])))
    if len(spots) > 1 and "," in reference:
        last = spots[-1]
        yield "element", _replace(reference, last, str(int(last.group()) + 1))
    pairs = [(s, i) for s in spots for i in range(len(s.group()) - 1)
             if s.group()[i] != s.group()[i + 1]]  # fmt: skip
    if pairs:
        spot, i = rng.choice(pairs)
        digits = spot.group()
        swapped = digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :]
        yield "digits", _replace(reference, spot, swapped)


def _sign(stripped):
    first = re.match(r"-?[\d\\(\[]|-?[a-z]\b", stripped)
    several = re.search(r"\\pm|\\mp|=|<|>|\\in|\\le|\\ge|,|\\cup|matrix|text|\[", stripped)
    if first and not several and re.search(r"[1-9a-zA-Z]", stripped):
        minus = stripped[1:] if stripped[0] == "-" else f"-{stripped}"
        is_sum = re.search(r"(?<=[\w})])\s*[-+]\s*", stripped[1:])
        yield "sign", f"-\\left({stripped}\\right)" if is_sum else minus


def _end(stripped):
    interval = re.fullmatch(
        r"(\(|\[|\\left[(\[])([^()\[\]]*,[^()\[\]]*?)(\\right)?([)\]])", stripped
    )
    if interval and "\\infty" not in stripped:
        yield "end", stripped[: interval.start(4)] + {")": "]", "]": ")"}[interval.group(4)]


def _rotated(stripped):
    tuple_ = re.fullmatch(r"(\(|\\left\()([^()\[\]]*,[^()\[\]]*?)(\)|\\right\))", stripped)
    if tuple_:
        first, *rest = tuple_.group(2).split(",")
        yield "rotated", f"{tuple_.group(1)}{','.join([*rest, first])}{tuple_.group(3)}"


def _symbols(reference, rng):
    """Changes of a letter that stands for something: another letter is another symbol."""
    if re.search(r"\b(?:is|of|the)\b", reference):
        return  # a sentence
    hidden = [m.span() for m in _NO_SYMBOL.finditer(reference)]
    spots = [
        m for m in re.finditer(r"[a-zA-Z](?!')", reference)
        if not any(a <= m.start() < b for a, b in hidden)
    ]  # fmt: skip
    spots = [m for m in spots if m.group() not in "ei" and len(reference.strip(" $().")) > 1]
    if not spots:
        return
    spot = rng.choice(spots)
    letter = spot.group()
    yield "case", _replace(reference, spot, letter.swapcase())
    yield "prime", _replace(reference, spot, letter + "'")
    yield (
        "accent",
        _replace(reference, spot, rf"\{rng.choice(['hat', 'bar', 'tilde'])}{{{letter}}}"),
    )
    if reference.strip()[-1:].isalnum():
        yield "unit", reference.strip() + rng.choice("hmsg")


def _replace(text, match, new):
    return text[: match.start()] + new + text[match.end() :]
