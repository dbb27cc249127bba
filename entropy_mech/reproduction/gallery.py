"""The gallery: one static page with every figure, its claims, both numbers and the verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
from entropy_mech.reproduction.gallery_parts import STYLE, html_table, markdown_tables
from entropy_mech.reproduction.paper_order import in_paper_order
from entropy_mech.reproduction.targets import Target
from entropy_mech.runs.progress import clock
from entropy_mech.runs.store import read_json_if_whole

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
