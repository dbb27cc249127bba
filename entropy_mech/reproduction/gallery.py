"""The gallery: one static page with every figure, its claims, both numbers and the verdict."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mistune
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from entropy_mech.errors import UserError
from entropy_mech.paper.claims import (
    CONTRADICTED,
    DOES_NOT_HOLD,
    FALLS_SHORT,
    HOLDS,
    NO_VERDICT,
    REPRODUCED,
    UNDECIDED,
)
from entropy_mech.reproduction.check import Check, summary
from entropy_mech.reproduction.report import NOT_KEPT, SMALL_MODEL
from entropy_mech.reproduction.targets import Target, in_paper_order
from entropy_mech.runs.jobs import clock
from entropy_mech.runs.store import atomic_write, read_json_if_whole

# -- Verdicts as a page and a manifest -----------------------------------------------------------

# The picture that says most about a full run; the README shows it.
_PICTURE = "fig01.png"
# A claim about seeds, of fewer than three.
_IN_COUNTS = {NO_VERDICT: "number only"}
# What differs between two runs of the same thing, and says nothing of the result.
_NOT_OF_THE_RESULT = ("made",)


def write_verdicts(
    results_folder: Path, targets: Sequence[Target], profile: str, folder: Path
) -> Path:
    """Write ``verdicts.md`` and ``verdicts.json`` into ``folder`` and return the former's path.

    Figure 1 is copied beside them where it was made, but for the small language model's, whose
    page stands beside its tables.

    Raises:
        UserError: no target has a result yet.

    """
    targets = in_paper_order(targets)
    results = {t.name: read_json_if_whole(results_folder / f"{t.name}.json") for t in targets}
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
    _write(page, verdict_page(targets, results, profile))
    picture = results_folder.parent / "figures" / _PICTURE
    if picture.exists() and profile != "kept_smollm":
        shutil.copyfile(picture, folder / _PICTURE)
    return page


def verdict_page(
    targets: Sequence[Target], results: Mapping[str, dict[str, Any]], profile: str
) -> str:
    """Return the page: what was judged, on what, and every claim with both numbers."""
    items = [(target, results[target.name]) for target in targets]
    return _rendered("verdicts.md.jinja", items, profile, provenance=_provenance(results))


def _claim_columns(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    beside = any(SMALL_MODEL in claim for claim in claims)
    return ["claim", "ours", "paper", "verdict", *([SMALL_MODEL] if beside else [])]


def _provenance(results: Mapping[str, Mapping[str, Any]]) -> str:
    made = [result for result in results.values() if result]
    runs = {run["run"]: run for result in made for run in result["runs"]}
    seeds = sorted({run["seed"] for run in runs.values()})
    commits = sorted({str(result["commit"]) for result in made})
    hardware = sorted({f"{result['processor']}, {result['cores']} cores" for result in made})
    of_runs = f"Runs: {len(runs)}, seeds: {', '.join(map(str, seeds))}" if runs else "No runs"
    return f"{of_runs}; {'; '.join(hardware)}; commit {', '.join(commits)}."


def _anchor(target: Target) -> str:
    """Return an item's heading as GitHub links to it."""
    heading = f"{target.item}: {target.title}".lower()
    return "".join(c for c in heading if c.isalnum() or c in " -_").replace(" ", "-")


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# -- The page ------------------------------------------------------------------------------------

VERDICTS = (
    REPRODUCED, HOLDS, UNDECIDED, FALLS_SHORT, CONTRADICTED, DOES_NOT_HOLD, NO_VERDICT,
)  # fmt: skip
_CLASS = dict(zip(VERDICTS, ("yes", "yes", "open", "no", "against", "no", "open"), strict=True))


def write_gallery(
    folder: Path,
    targets: Sequence[Target],
    profile: str,
    checks: Mapping[str, Sequence[Check]] | None = None,
    full_time_s: float | None = None,
) -> Path:
    """Write ``folder/index.html`` from the results that are there; return its path.

    ``checks``: by target, whether the runs' beginnings on this machine follow the kept ones;
    ``full_time_s``: how long all kept runs would take here.

    Items come in the paper's order. The page opens from disk, and links only to files below
    ``folder``.
    """
    items = [
        (target, read_json_if_whole(folder / "results" / f"{target.name}.json"))
        for target in in_paper_order(targets)
    ]
    page = _rendered(
        "gallery.html.jinja", items, profile,
        tables={path.stem: _html_of(path) for path in (folder / "tables").glob("*.md")},
        executed={path.stem for path in (folder / "notebooks").glob("*.html")},
        checks=checks or {},
        full_time_s=full_time_s,
        pictures={path.stem for path in (folder / "figures").glob("*.png")},
        classes=_CLASS,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    _write(path, page)
    return path


def _rendered(
    template: str, items: Sequence[tuple[Target, dict[str, Any]]], profile: str, **more: Any
) -> str:
    results = [result for _, result in items if result]
    claims = [claim for result in results for claim in result["claims"]]
    return (
        _environment()
        .get_template(template)
        .render(
            profile=profile,
            items=items,
            results=results,
            claims=claims,
            small_model=SMALL_MODEL,
            beside=any(SMALL_MODEL in claim for claim in claims),
            missing=NOT_KEPT if profile == "kept_smollm" else "not made yet",
            **more,
        )
    )


def verdict_counts(claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the verdicts that occur, best first, each with how many claims have it, in words."""
    counts = Counter(claim["verdict"] for claim in claims)
    return [(v, f"{counts[v]} {_IN_COUNTS.get(v, v)}") for v in VERDICTS if counts[v]]


def small_model_counts(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return what the small language model says of claims, counted, in words."""
    said = [claim.get(f"{SMALL_MODEL}: verdict", "") for claim in claims]
    words = {verdict: verdict for verdict in VERDICTS} | _IN_COUNTS | {NOT_KEPT: ""}
    counts = [f"{said.count(one)} {name}" for one, name in words.items() if name and one in said]
    if NOT_KEPT in said:
        counts.append(f"{said.count(NOT_KEPT)} {NOT_KEPT}" if counts else NOT_KEPT)
    return ", ".join(counts)


def _environment() -> Environment:
    pages = select_autoescape(["html.jinja"])
    environment = Environment(loader=PackageLoader(__package__, ""), autoescape=pages)
    environment.filters |= {
        "anchor": _anchor,
        "cell": lambda text: text.replace("|", "\\|").replace("\n", " "),
        "check_row": lambda check: [check.name, check.seed, str(check)],
        "claim_columns": _claim_columns,
        "clock": clock,
        "counts": lambda claims: ", ".join(words for _, words in verdict_counts(claims)),
        "run_row": _run_row,
        "small_model_counts": small_model_counts,
        "summary": summary,
        "verdict_counts": verdict_counts,
        "zip": zip,
    }
    return environment


def _html_of(path: Path) -> Markup:
    """Return a table that was written as Markdown, its caption above."""
    html = mistune.create_markdown(plugins=["table"])(path.read_text(encoding="utf-8"))
    return Markup(f'<div class="scroll">{html}</div>')


def _run_row(run: Mapping[str, Any]) -> list[str]:
    seconds = run.get("wall_time_s")
    made = "" if seconds is None else f"{seconds:.0f} s"
    if "imported" in run:
        made = f"imported from {run['imported']['from']}"
    name = run.get("name", run["method"])
    return [name, run["seed"], run["steps"], Markup("<code>{}</code>").format(run["run"]), made]
