"""Small changes that make a reference another answer, for tests of what graders reject."""

import random
import re

_LABEL = re.compile(r"_\{?\w+\}?|\\begin\{array\}\{[lcr|]*\}")


def perturbations(reference: str, seed: str) -> list[tuple[str, str]]:
    """Return (kind, changed reference): a number, a sign, an end of an interval, an element.

    A change in an index of a name is no change of value, so indices are left alone; so is a
    zero whose sign changes, and a number that stands as an exponent of one.
    """
    rng = random.Random(seed)
    labels = [m.span() for m in _LABEL.finditer(reference)]
    spots = [
        m for m in re.finditer(r"\d+", reference) if not any(a <= m.start() < b for a, b in labels)
    ]
    found = []
    if spots:
        spot = rng.choice(spots)
        changed = str(int(spot.group()) + rng.choice([1, 2, 3, 10]))
        found.append(("number", _replace(reference, spot, changed)))
        if len(spots) > 1 and "," in reference:
            last = spots[-1]
            found.append(("element", _replace(reference, last, str(int(last.group()) + 1))))
    stripped = reference.strip(" $")
    first = re.match(r"-?[\d\\(\[]|-?[a-z]\b", stripped)
    several = re.search(r"\\pm|\\mp|=|<|>|\\in|\\le|\\ge|,|\\cup|matrix|text|\[", stripped)
    if first and not several and re.search(r"[1-9a-zA-Z]", stripped):
        minus = stripped[1:] if stripped[0] == "-" else f"-{stripped}"
        is_sum = re.search(r"(?<=[\w})])\s*[-+]\s*", stripped[1:])
        found.append(("sign", f"-\\left({stripped}\\right)" if is_sum else minus))
    interval = re.fullmatch(
        r"(\(|\[|\\left[(\[])([^()\[\]]*,[^()\[\]]*?)(\\right)?([)\]])", stripped
    )
    if interval and "\\infty" not in stripped:
        last = {")": "]", "]": ")"}[interval.group(4)]
        found.append(("end", stripped[: interval.start(4)] + last))
    return [(kind, text) for kind, text in found if text != reference]


def _replace(text, match, new):
    return text[: match.start()] + new + text[match.end() :]
