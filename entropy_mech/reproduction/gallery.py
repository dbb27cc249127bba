"""The gallery: one static page with every figure, its claims, both numbers and the verdict."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from entropy_mech.errors import UserError
from entropy_mech.paper.claims import (
    CONTRADICTED,
    DOES_NOT_HOLD,
    HOLDS,
    NO_VERDICT,
    NOT_AT_THIS_SCALE,
    REPRODUCED,
)
from entropy_mech.reproduction.targets import Target, in_paper_order
from entropy_mech.runs.jobs import clock
from entropy_mech.runs.store import read_json_if_whole

# -- Style and tables of the page ----------------------------------------------------------------

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


# -- Verdicts as a page and a manifest -----------------------------------------------------------

# The picture that says most about a full run; the README shows it.
_PICTURE = "fig01.png"
# What differs between two runs of the same thing, and says nothing of the result.
_NOT_OF_THE_RESULT = ("made",)


def write_verdicts(
    results_folder: Path, targets: Sequence[Target], profile: str, folder: Path
) -> Path:
    """Write ``verdicts.md`` and ``verdicts.json`` into ``folder`` and return the former's path.

    Figure 1 is copied beside them where it was made.

    Raises:
        UserError: no target has a result yet.

    """
    results = {
        t.name: read_json_if_whole(results_folder / f"{t.name}.json")
        for t in in_paper_order(targets)
    }
    if not any(results.values()):
        raise UserError(f"--write-verdicts: no results in {results_folder}; reproduce first")
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        name: {k: v for k, v in result.items() if k not in _NOT_OF_THE_RESULT}
        for name, result in results.items()
        if result
    }
    manifest = {"profile": profile, "targets": kept}
    _write(folder / "verdicts.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    page = folder / "verdicts.md"
    _write(page, verdict_page(in_paper_order(targets), results, profile))
    picture = results_folder.parent / "figures" / _PICTURE
    if picture.exists():
        shutil.copyfile(picture, folder / _PICTURE)
    return page


def verdict_page(
    targets: Sequence[Target], results: Mapping[str, dict[str, Any]], profile: str
) -> str:
    """Return the page: what was judged, on what, and every claim with both numbers."""
    claims = [c for result in results.values() for c in result.get("claims", [])]
    lines = [
        f"# Verdicts: profile {profile}",
        "",
        "Written by `entropy-mech reproduce --seeds 3 --write-verdicts docs/`; do not edit. Where "
        "it comes from (commit, versions, configuration hashes, seeds, hardware, time) is in "
        "`verdicts.json`.",
        "",
        f"{_provenance(results)}",
        "",
        f"All {len(claims)} claims: {_counts(claims)}.",
        "",
        "| item | what it shows | verdicts |",
        "|---|---|---|",
        *(
            f"| {_anchor(t)} | {_cell(t.title)} | "
            f"{_counts(results[t.name].get('claims', [])) or 'not made'} |"
            for t in targets
        ),
    ]
    for target in targets:
        lines += _item_verdicts(target, results[target.name])
    return "\n".join(lines) + "\n"


def _item_verdicts(target: Target, result: Mapping[str, Any]) -> list[str]:
    lines = ["", f"## {target.item}: {target.title}", "", target.claim, ""]
    if not result:
        return [*lines, "Not made."]
    return [
        *lines,
        "| claim | paper | ours | verdict |",
        "|---|---|---|---|",
        *(
            f"| {_cell(c['claim'])} | {_cell(c['paper'])} | {_cell(c['ours'])} | {c['verdict']} |"
            for c in result["claims"]
        ),
    ]


def _provenance(results: Mapping[str, Mapping[str, Any]]) -> str:
    made = [result for result in results.values() if result]
    runs = {run["run"]: run for result in made for run in result["runs"]}
    seeds = sorted({run["seed"] for run in runs.values()})
    commits = sorted({str(result["commit"]) for result in made})
    hardware = sorted({f"{result['processor']}, {result['cores']} cores" for result in made})
    of_runs = f"Runs: {len(runs)}, seeds: {', '.join(map(str, seeds))}" if runs else "No runs"
    return f"{of_runs}; {'; '.join(hardware)}; commit {', '.join(commits)}."


def _counts(claims: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{n} {verdict}" for verdict, n in verdict_counts(claims).items())


def _anchor(target: Target) -> str:
    """Link to an item's heading, named as GitHub names it."""
    heading = f"{target.item}: {target.title}".lower()
    kept = "".join(c for c in heading if c.isalnum() or c in " -_").replace(" ", "-")
    return f"[{target.item}](#{kept})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


# -- The page ------------------------------------------------------------------------------------

VERDICTS = (REPRODUCED, HOLDS, NOT_AT_THIS_SCALE, DOES_NOT_HOLD, CONTRADICTED, NO_VERDICT)
_CLASS = dict(zip(VERDICTS, ("yes", "yes", "no", "no", "against", "open"), strict=True))
_ABOUT = {
    "toy": "Tiny transformers of the paper's model classes, trained here on a CPU. Intervals are "
    "95 % over seeds; a verdict needs three.",
    "published": "The paper's own numbers, digitised or printed, without any run of ours: what "
    "they say of the paper's claims.",
    "paper": "The paper's models. Intervals are 95 % over seeds; a verdict needs three.",
}


def write_gallery(folder: Path, targets: Sequence[Target], profile: str) -> Path:
    """Write ``folder/index.html`` from the results that are there; return its path.

    Items come in the paper's order. The page opens from disk, and links only to files below
    ``folder``.
    """
    results = {t.name: read_json_if_whole(folder / "results" / f"{t.name}.json") for t in targets}
    ordered = in_paper_order(targets)
    body = [
        f"<h1>The entropy mechanism, reproduced: profile {escape(profile)}</h1>",
        '<p>Every item of <a href="https://arxiv.org/abs/2505.22617">arXiv 2505.22617</a>, with '
        "the paper's claim, its number, ours, and a verdict that could have failed. "
        f"{_ABOUT.get(profile, '')}</p>",
        _summary(ordered, results),
        *(_item(folder, target, results[target.name]) for target in ordered),
        _manifest(results),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>entropy_mech: {escape(profile)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(body)
        + "</body></html>\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / "index.html", folder / f"index-{os.getpid()}.tmp"
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
    return path


def verdict_counts(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many claims have each verdict, best first, those that occur."""
    counts = {v: sum(claim["verdict"] == v for claim in claims) for v in VERDICTS}
    return {verdict: count for verdict, count in counts.items() if count}


def _summary(targets: Sequence[Target], results: Mapping[str, dict]) -> str:
    rows = []
    for target in targets:
        claims = results[target.name].get("claims", [])
        link = f'<a href="#{target.name}">{escape(target.item)}</a>'
        rows.append([link, escape(target.title), _said(claims) or "not made yet"])
    everything = [c for result in results.values() for c in result.get("claims", [])]
    made = sum(bool(result) for result in results.values())
    total = (
        f"<p>{made} of {len(targets)} items made; all claims: {_said(everything) or 'none'}.</p>"
    )
    return total + html_table(["item", "what it shows", "verdicts"], rows, cards=False)


def _said(claims: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f'<span class="{_CLASS[v]}">{n} {escape(v)}</span>'
        for v, n in verdict_counts(claims).items()
    )


def _item(folder: Path, target: Target, result: dict[str, Any]) -> str:
    parts = [
        f'<section id="{target.name}"><h2>{escape(target.item)}: {escape(target.title)}</h2>',
        f"<p>{escape(target.claim)}</p>",
    ]
    for stem in result.get("figures", []):
        alt = escape(f"{target.item}: {target.title}")
        parts.append(
            f'<p class="figure"><a href="figures/{stem}.svg"><img src="figures/{stem}.png" '
            f'alt="{alt}" loading="lazy"></a></p>'
        )
    for stem in result.get("tables", []):
        parts += _written_table(folder, stem)
    rows = [
        [escape(c["claim"]), escape(c["paper"]), escape(c["ours"]),
         f'<span class="v {_CLASS[c["verdict"]]}">{escape(c["verdict"])}</span>']
        for c in result.get("claims", [])
    ]  # fmt: skip
    if rows:
        parts.append(html_table(["claim", "paper", "ours", "verdict"], rows, cards=True))
    return "\n".join([*parts, _links(folder, target, result), "</section>"])


def _written_table(folder: Path, stem: str) -> list[str]:
    path = folder / "tables" / f"{stem}.md"
    if not path.exists():
        return []
    link = f'<p class="small"><a href="tables/{stem}.md">Markdown</a>, '
    return [*markdown_tables(path.read_text(encoding="utf-8")),
            f'{link}<a href="tables/{stem}.tex">LaTeX</a></p>']  # fmt: skip


def _links(folder: Path, target: Target, result: dict[str, Any]) -> str:
    executed = f"notebooks/{target.notebook}"
    if not result or not (folder / f"{executed}.html").exists():
        return '<p class="small">Not made yet.</p>'
    links = (
        f'<p class="small"><a href="{executed}.html">Executed notebook</a> '
        f'(<a href="{executed}.ipynb">.ipynb</a>), '
        f'<a href="results/{target.name}.json">manifest</a>: numbers, commit, versions, '
        f"configuration hashes, seeds, hardware, time.</p>"
    )
    return links + _runs(result.get("runs", []))


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return '<p class="small">Needs no training.</p>'
    seconds = sum(run.get("wall_time_s") or 0 for run in runs)
    seeds = sorted({run["seed"] for run in runs})
    head = f"Runs: {len(runs)}, seeds: {', '.join(map(str, seeds))}, trained in {clock(seconds)}"
    rows = [
        [escape(str(run.get("name", run["method"]))), str(run["seed"]), str(run["steps"]),
         f"<code>{escape(run['run'])}</code>", _origin(run)]
        for run in runs
    ]  # fmt: skip
    table = html_table(["run", "seed", "rollouts", "configuration", "made"], rows, cards=False)
    return f'<details class="small"><summary>{head}</summary>{table}</details>'


def _origin(run: Mapping[str, Any]) -> str:
    if "imported" in run:
        return escape(f"imported from {run['imported']['from']}")
    return f"{run['wall_time_s']:.0f} s" if run.get("wall_time_s") is not None else ""


def _manifest(results: Mapping[str, dict]) -> str:
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
