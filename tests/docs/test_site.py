"""The site is built without a warning, is one whole, and needs no network."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.long
pytest.importorskip("myst_nb", reason="the optional extra 'docs' is not installed")


class _Links(HTMLParser):
    """The links of a page, what it loads, and the names that links may end in."""

    def __init__(self, page: Path):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag in ("script", "img") and attributes.get("src"):
            self.loaded.append(attributes["src"])
        if tag == "link" and attributes.get("rel") == "stylesheet":
            self.loaded.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs")
    command = [sys.executable, str(ROOT / "docs" / "make" / "site.py"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {page: _Links(page) for page in site.rglob("*.html")}


def _inside(link, page):
    """Return the file that a link of a page leads to, and the place in it; None outside."""
    address = urlparse(link)
    if address.scheme or address.netloc or link.startswith("data:"):
        return None
    path = unquote(address.path)
    return (page.parent / path).resolve() if path else page, unquote(address.fragment)


def test_every_link_leads_somewhere(pages):
    for page, found in pages.items():
        for link in found.links:
            target = _inside(link, page)
            if target is None:
                continue
            file, place = target
            assert file.exists(), f"{page}: {link}"
            # Of sources, viewcode names what a module only imports by that module too.
            if place and file in pages and "_modules" not in page.parts:
                assert place in pages[file].ids, f"{page}: {link}"


def test_every_page_is_reached_from_the_index(site, pages):
    reached, waiting = set(), [site / "index.html"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = (_inside(link, page) for link in pages[page].links)
        waiting += [file for file, _ in filter(None, targets) if file in pages]
    ours = {page for page in pages if "_static" not in page.parts}
    left = ours - {site / "search.html", site / "_modules" / "index.html"}  # Sphinx's own
    assert left - reached == set()


def test_nothing_is_loaded_from_the_network_and_formulas_are_drawn(site, pages):
    for page, found in pages.items():
        assert not [name for name in found.loaded if urlparse(name).netloc], page
    assert "<math" in (site / "notebooks" / "lemma1.html").read_text()
    assert (site / "searchindex.js").stat().st_size > 10_000
