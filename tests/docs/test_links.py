"""Every link of the pages and notebooks leads somewhere; no network is asked."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, prose

NOTEBOOKS = tuple(sorted((ROOT / "notebooks").glob("*.ipynb")))
NOTES = tuple(sorted((ROOT / "benchmarks").glob("*.md")))
_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:docs|notebooks|reproduce|tests|benchmarks|entropy_mech)/[\w./*-]+)`(?!:)")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _wrong(link: str, page: Path) -> str:
    """Return what is wrong with a link of a page, or nothing."""
    address = urlparse(link)
    if address.scheme or address.netloc:
        well_formed = address.scheme == "https" and "." in address.netloc
        return "" if well_formed else "no https address"
    target = (page.parent / address.path).resolve() if address.path else page
    if not target.exists():
        return "no such file"
    if not target.is_relative_to(ROOT):
        return "outside of the checkout"
    if not address.fragment or target.suffix != ".md":
        return ""
    known = anchors(target.read_text().split("\n"))
    return "" if address.fragment in known else "no such heading"


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS, *NOTES], ids=_name)
def test_links_lead_somewhere(page):
    faults = {link: said for link in _LINK.findall(prose(page)) if (said := _wrong(link, page))}
    assert not faults


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_paths_in_sentences_are_there(page):
    named = [path.rstrip(".") for path in _PATH.findall(page.read_text())]
    assert [path for path in named if not list(ROOT.glob(path))] == []


def test_a_wrong_link_is_seen():
    page = ROOT / "docs" / "README.md"
    assert _wrong("guides/theory.md", page) == ""
    assert _wrong("guides/theroy.md", page) == "no such file"
    assert _wrong("toy-world.md#what-it-is", page) == ""
    assert _wrong("toy-world.md#what-is-it", page) == "no such heading"
    assert _wrong("http://arxiv.org", page) == "no https address"


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in _LINK.findall(index.read_text())}
    assert {page for page in PAGES if index.parent in page.parents} - {index} <= linked
