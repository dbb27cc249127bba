"""What the gallery's page is made of: its style, and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

# On a narrow screen a table of sentences becomes a card a row; tables of short cells and figures,
# whose letters would be too small, scroll sideways.
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1rem;
       color: #1b1f24; background: #fff; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .25rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
         border-bottom: 1px solid #d8dee4; }
th { border-bottom: 2px solid #8c959f; } td.n { text-align: right; white-space: nowrap; }
img { max-width: 100%; height: auto; display: block; }
.v { font-weight: 600; } .yes { color: #0a6e31; } .no { color: #8a5300; }
.against { color: #b3261e; } .open { color: #57606a; } .small { color: #57606a; font-size: .88rem; }
a { color: #0550ae; } p { margin: .4rem 0; max-width: 50rem; } p.figure { max-width: none; }
details summary { cursor: pointer; } code { font-size: .95em; }
@media (max-width: 40rem) {
  body { padding: .6rem; } p.figure { overflow-x: auto; } img { max-width: 180%; }
  th, td { padding: .3rem .35rem; }
  .cards tr:first-child { display: none; }
  .cards tr { display: block; border-bottom: 2px solid #8c959f; padding: .4rem 0; }
  .cards td { display: block; border: 0; padding: .1rem 0; }
  .cards td::before { content: attr(data-head) ": "; color: #57606a; }
}
"""


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, cards: bool) -> str:
    """Return a table; cells are HTML. ``cards``: a row becomes a card where it is narrow."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-head="{escape(name)}">{cell}</td>'
            for name, cell in zip(head, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    kind = ' class="cards"' if cards else ""
    return f'<div class="scroll"><table{kind}><tr>{top}</tr>{body}</table></div>'


def markdown_tables(text: str) -> list[str]:
    """Return paragraphs and tables of a Markdown file as HTML; bold is kept.

    >>> markdown_tables("In **points**.")
    ['<p>In <b>points</b>.</p>']
    """
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            found.append(_table_of(rows))
            rows = []
        if line.strip():
            found.append(f"<p>{_inline(line)}</p>")
    return found


def _table_of(rows: Sequence[Sequence[str]]) -> str:
    head, rule, *body = rows
    kinds = [' class="n"' if mark.endswith(":") else "" for mark in rule]
    top = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_inline(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in body
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{lines}</table></div>'


def _inline(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
