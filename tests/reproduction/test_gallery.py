"""The gallery and the page of verdicts: the paper's order, every claim, no dead link."""

import json
from html.parser import HTMLParser

import pytest

from entropy_mech.errors import UserError
from entropy_mech.reproduction.gallery import write_gallery, write_verdicts
from entropy_mech.reproduction.targets import Target, in_paper_order, load_targets

TARGETS = [
    Target("fig11", "Figure 11", "Four methods", "They differ.", "fig11_notebook"),
    Target("lemma1", "Lemma 1", "A covariance", "It is one.", "lemma1_notebook"),
    Target("tab02", "Table 2", "Benchmarks <&>", "Averages | rise.", "tab02_notebook"),
    Target("fig02", "Figure 2", "Early steps", "They count.", "fig02_notebook"),
]
RUN = {"name": "fig11_7b_grpo", "run": "0123456789abcdef", "method": "ppo_clip", "seed": 2,
       "steps": 60, "wall_time_s": 61.4}  # fmt: skip


def _result(name, verdicts, **more):
    claims = [
        {"claim": f"{name} claims <{i}>", "paper": "a | b", "ours": f"{i}.5 [1, 2]", "verdict": v}
        for i, v in enumerate(verdicts)
    ]
    return {
        "target": name, "claims": claims, "figures": [], "tables": [], "runs": [],
        "made": "2030-01-01T00:00:00+00:00", "processor": "A processor", "cores": 2,
        "python": "3.11", "packages": {"torch": "2"}, "commit": "abc", **more,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    results = {
        "fig11": _result("fig11", ["reproduced", "contradicted"], figures=["fig11"],
                         runs=[RUN]),
        "tab02": _result("tab02", ["holds"], tables=["tab02"]),
    }  # fmt: skip
    for name in ("results", "notebooks", "tables"):
        (tmp_path / name).mkdir()
    for name, result in results.items():
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(result))
        (tmp_path / "notebooks" / f"{name}_notebook.html").write_text("executed")
    (tmp_path / "tables" / "tab02.md").write_text(
        "Shares.\n\n| m | x |\n|---|---:|\n| a | **1** |\n"
    )
    return tmp_path


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [v for k, v in attributes if k in ("href", "src")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_items_come_in_the_papers_order_whatever_the_runners():
    assert [t.item for t in in_paper_order(TARGETS)] == [
        "Figure 2", "Figure 11", "Table 2", "Lemma 1"
    ]  # fmt: skip
    real = [t.item for t in in_paper_order(list(load_targets().values()))]
    start = real.index("Figure 1")
    assert real[start : start + 17] == [
        *(f"Figure {n}" for n in range(1, 15)), "Table 1", "Table 2", "Listing 1"
    ]  # fmt: skip


def test_the_page_has_every_claim_and_links_only_to_what_lies_below(folder):
    page = write_gallery(folder, TARGETS, "toy").read_text()
    parser = _Links()
    parser.feed(page)
    assert parser.open == []  # every tag is closed
    outside = [link for link in parser.links if not link.startswith(("#", "https://arxiv.org/"))]
    assert all(not link.startswith(("/", "http", "..")) for link in outside)
    assert "fig11 claims &lt;0&gt;" in page
    assert "Benchmarks &lt;&amp;&gt;" in page
    assert page.index('id="fig02"') < page.index('id="fig11"') < page.index('id="tab02"')
    assert "2 of 4 items made" in page
    assert "1 reproduced" in page
    assert "1 contradicted" in page
    assert "Runs: 1, seeds: 2, trained in 1 min 01 s" in " ".join(page.split())
    assert page.count("Not made yet.") == 2
    assert '<td style="text-align:right"><strong>1</strong></td>' in page


def test_verdicts_are_the_same_text_from_the_same_results(folder, tmp_path):
    out = tmp_path / "docs"
    (folder / "figures").mkdir()
    (folder / "figures" / "fig01.png").write_bytes(b"a picture")
    page = write_verdicts(folder / "results", TARGETS, "toy", out)
    first = page.read_bytes(), (out / "verdicts.json").read_bytes()
    # Made again at another time: nothing else has changed, and neither has the page.
    path = folder / "results" / "fig11.json"
    again = json.loads(path.read_text()) | {"made": "2031-01-01T00:00:00+00:00"}
    path.write_text(json.dumps(again))
    write_verdicts(folder / "results", TARGETS, "toy", out)
    assert (page.read_bytes(), (out / "verdicts.json").read_bytes()) == first
    assert (out / "fig01.png").read_bytes() == b"a picture"
    text = page.read_text()
    assert "All 3 claims: 1 reproduced, 1 holds, 1 contradicted." in text
    assert "| fig11 claims <1> | 1.5 [1, 2] | a \\| b | contradicted |" in text
    assert "Runs: 1, seeds: 2; A processor, 2 cores; commit abc." in text
    kept = json.loads((out / "verdicts.json").read_text())
    assert list(kept["targets"]) == ["fig11", "tab02"]
    assert kept["targets"]["fig11"]["runs"] == [RUN]


def test_no_results_no_page(tmp_path):
    with pytest.raises(UserError, match="no results in"):
        write_verdicts(tmp_path / "results", TARGETS, "toy", tmp_path)
    assert not (tmp_path / "verdicts.md").exists()
