"""The gallery: one static page with every figure, its claims, both numbers and the verdict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from entropy_mech.findings.claims import (
    CONTRADICTED,
    DOES_NOT_HOLD,
    HOLDS,
    NO_VERDICT,
    NOT_AT_THIS_SCALE,
    REPRODUCED,
)
from entropy_mech.reproduction.targets import Target
from entropy_mech.runs.store import read_json

_CLASS = {
    REPRODUCED: "yes",
    NOT_AT_THIS_SCALE: "no",
    CONTRADICTED: "against",
    NO_VERDICT: "open",
    HOLDS: "yes",
    DOES_NOT_HOLD: "no",
}
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1rem;
       color: #1b1f24; background: #fff; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .25rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem;
         border-bottom: 1px solid #d8dee4; }
th { border-bottom: 2px solid #8c959f; } img { max-width: 100%; height: auto; }
.v { white-space: nowrap; font-weight: 600; } .yes { color: #0a6e31; } .no { color: #8a5300; }
.against { color: #b3261e; } .open { color: #57606a; } .small { color: #57606a; font-size: .88rem; }
a { color: #0550ae; } p { margin: .4rem 0; max-width: 50rem; }
@media (max-width: 40rem) { .v { white-space: normal; } th, td { padding: .3rem .4rem; } }
"""


def write_gallery(folder: Path, targets: Sequence[Target], profile: str) -> Path:
    """Write ``folder/index.html`` from the results that are there; return its path.

    It opens from disk, and links only to files below ``folder``.
    """
    results = {t.name: read_json(folder / "results" / f"{t.name}.json") for t in targets}
    body = [
        f"<h1>The entropy mechanism, reproduced: profile {escape(profile)}</h1>",
        '<p>Every item of <a href="https://arxiv.org/abs/2505.22617">arXiv 2505.22617</a> that '
        "this package reproduces so far, with the paper's claim, its number, ours, and a verdict "
        "that could have failed. Intervals are 95 % over seeds; a verdict needs three.</p>",
        _summary(targets, results),
        *(_item(folder, target, results[target.name]) for target in targets),
        _provenance(results),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>entropy_mech: {escape(profile)}</title><style>{_STYLE}</style></head>\n<body>"
        + "\n".join(body)
        + "</body></html>\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / "index.html", folder / f"index-{os.getpid()}.tmp"
    temporary.write_text(page)
    os.replace(temporary, path)
    return path


def _summary(targets: Sequence[Target], results: dict[str, dict]) -> str:
    rows = []
    for target in targets:
        claims = results[target.name].get("claims", [])
        counts = {v: sum(c["verdict"] == v for c in claims) for v in _CLASS}
        said = ", ".join(
            f'<span class="{_CLASS[v]}">{n} {escape(v)}</span>' for v, n in counts.items() if n
        )
        link = f'<a href="#{target.name}">{escape(target.item)}</a>'
        rows.append(
            f"<tr><td>{link}</td><td>{escape(target.title)}</td>"
            f'<td class="v">{said or "not made yet"}</td></tr>'
        )
    return _table(["item", "what it shows", "verdicts"], rows)


def _item(folder: Path, target: Target, result: dict[str, Any]) -> str:
    parts = [
        f'<h2 id="{target.name}">{escape(target.item)}: {escape(target.title)}</h2>',
        f"<p>{escape(target.claim)}</p>",
    ]
    for stem in result.get("figures", []):
        alt = escape(f"{target.item}: {target.title}")
        parts.append(
            f'<p><a href="figures/{stem}.svg"><img src="figures/{stem}.png" alt="{alt}"></a></p>'
        )
    rows = [
        f"<tr><td>{escape(c['claim'])}</td><td>{escape(c['paper'])}</td>"
        f'<td>{escape(c["ours"])}</td><td class="v {_CLASS[c["verdict"]]}">'
        f"{escape(c['verdict'])}</td></tr>"
        for c in result.get("claims", [])
    ]
    if rows:
        parts.append(_table(["claim", "paper", "ours", "verdict"], rows))
    executed = f"notebooks/{target.notebook}"
    if (folder / f"{executed}.html").exists():
        runs = ", ".join(
            f"{r['method']} seed {r['seed']} ({r['run']})" for r in result.get("runs", [])
        )
        parts.append(
            f'<p class="small"><a href="{executed}.html">Executed notebook</a> '
            f'(<a href="{executed}.ipynb">.ipynb</a>, <a href="results/{target.name}.json">numbers '
            f"and manifest</a>). {'Runs: ' + escape(runs) if runs else 'Needs no training.'}</p>"
        )
    else:
        parts.append('<p class="small">Not made yet.</p>')
    return "\n".join(parts)


def _provenance(results: dict[str, dict]) -> str:
    made = [result for result in results.values() if result]
    if not made:
        return ""
    last = max(made, key=lambda result: result["made"])
    packages = ", ".join(f"{name} {v}" for name, v in last["packages"].items() if v)
    text = (
        f"Last made {last['made']} on {last['processor']}, {last['cores']} cores, "
        f"Python {last['python']}, {packages}; commit {last['commit'] or 'unknown'}."
    )
    return f'<h2>Manifest</h2><p class="small">{escape(text)}</p>'


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="scroll"><table><tr>{cells}</tr>{"".join(rows)}</table></div>'
