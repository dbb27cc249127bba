"""Sampled responses as HTML, each token on the colour of what was measured of it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from entropy_mech.errors import unknown_name

# What a colour may stand for: the record's column, the words, the colour of its largest value.
COLOURINGS = {
    "covariance": ("covariance", "covariance (red: spends entropy; blue: earns it)"),
    "entropy": ("entropy_nats", "entropy of the policy where the token was drawn (nats)"),
    "touched": ("selected_mask", "tokens that the method touched"),
}
_POSITIVE, _NEGATIVE, _ENTROPY, _TOUCHED = (
    (0xD5, 0x5E, 0x00), (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73),
)  # fmt: skip
_BLANKS = {" ": "·", "\n": "↵", "\t": "⇥"}


def token_colour(value: float, scale: float, colouring: str) -> str:
    """Return the background of a token, ``#rrggbb``: white at 0, full colour from ``scale`` on.

    >>> token_colour(0.0, 2.0, "covariance"), token_colour(5.0, 2.0, "covariance")
    ('#ffffff', '#d55e00')
    >>> token_colour(-1.0, 2.0, "covariance"), token_colour(1.0, 1.0, "touched")
    ('#aadaf4', '#009e73')
    """
    full = {
        "covariance": _POSITIVE if value >= 0 else _NEGATIVE,
        "entropy": _ENTROPY,
        "touched": _TOUCHED,
    }
    if colouring not in full:
        raise unknown_name("colouring", colouring, full)
    share = min(abs(value) / scale, 1.0) if scale > 0 else 0.0
    return "#" + "".join(f"{round(255 - share * (255 - c)):02x}" for c in full[colouring])


def colour_scale(record: Mapping[str, np.ndarray], colouring: str) -> float:
    """Return the value of full colour: the 95th percentile of the size, 1 for ``touched``.

    A record is what ``Run.tokens`` returns; only its response tokens count.
    """
    if colouring not in COLOURINGS:
        raise unknown_name("colouring", colouring, COLOURINGS)
    if colouring == "touched":
        return 1.0
    values = np.abs(record[COLOURINGS[colouring][0]][record["response_mask"]])
    return float(np.quantile(values, 0.95)) if values.size else 1.0


def responses_html(
    record: Mapping[str, np.ndarray],
    rows: Sequence[int],
    text_of: Callable[[int], str],
    *,
    colouring: str = "covariance",
    scale: float | None = None,
    prompt: str = "",
    title: str = "",
) -> str:
    """Return responses as HTML, a line each: right or wrong, then its tokens.

    A token has its number as tooltip and, whatever the colouring, a dark line under it where the
    method touched it. Nothing in the page is loaded from elsewhere.

    Args:
        record: what ``Run.tokens`` returns: B x T arrays, ``reward`` (B).
        rows: which of the B responses.
        text_of: the text of a token id.
        colouring: one of ``COLOURINGS``.
        scale: the value of full colour; None takes the record's own.
        prompt: what was asked, above the responses.
        title: in bold above all.

    Raises:
        UserError: no such colouring (says the nearest).

    """
    scale = colour_scale(record, colouring) if scale is None else scale
    lines = "".join(_response(record, row, text_of, colouring, scale) for row in rows)
    words = COLOURINGS[colouring][1]
    reach = "" if colouring == "touched" else f"; full colour from {scale:.3g} on"
    asked = f"<div>asked: <code>{html.escape(prompt)}</code></div>" if prompt else ""
    return (
        '<div style="color:#1b1f24;background:#ffffff;padding:6px">'
        f"<div><b>{html.escape(title)}</b></div>{asked}{lines}"
        f'<div style="color:#57606a">Colour: {html.escape(words)}{reach}. '
        "Underlined: touched by the method.</div></div>"
    )


def _response(record, row: int, text_of, colouring: str, scale: float) -> str:
    column = COLOURINGS[colouring][0]
    spans = []
    for t in np.flatnonzero(record["response_mask"][row]):
        value, touched = float(record[column][row, t]), bool(record["selected_mask"][row, t])
        measured = (
            f"probability {np.exp(record['logp'][row, t]):.3f}, "
            f"entropy {record['entropy_nats'][row, t]:.3f} nats, "
            f"advantage {record['advantage'][row, t]:+.2f}, "
            f"covariance {record['covariance'][row, t]:+.3f}"
        )
        line = "border-bottom:3px solid #1b1f24" if touched else "border-bottom:3px solid #ffffff"
        text = text_of(int(record["tokens"][row, t]))
        shown = html.escape("".join(_BLANKS.get(c, c) for c in text))
        spans.append(
            f'<span title="{measured}" style="background:{token_colour(value, scale, colouring)};'
            f'{line};padding:1px 2px">{shown}</span>'
        )
    mark = "&#10003;" if record["reward"][row] > 0 else "&#10007;"
    return (
        '<div style="font-family:monospace;line-height:1.9;overflow-wrap:anywhere">'
        f"{mark} {''.join(spans)}</div>"
    )
