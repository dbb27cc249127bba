"""The two notebooks that people meet first, opened in JupyterLab and run through its menu.

Screenshots of what a reader sees are in ``out/browser``.
"""

import pytest

from tests.browser.notebook import Notebook, fingerprint, wait_for

pytestmark = pytest.mark.long


def _assert_clean(notebook):
    assert notebook.complaints() == []
    cells = notebook.saved_cells()
    assert all(cell["execution_count"] for cell in cells)
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "execute_result" in kinds
    assert kinds <= {"display_data", "execute_result"}


def test_training_is_drawn_while_it_trains(start_here):
    _, seen = start_here
    assert "complete 24/24" in seen[-1][1]
    while_it_trained = {picture for picture, words in seen if "complete" not in words}
    assert len(while_it_trained) >= 2, seen


def test_start_here_runs_to_its_end(start_here):
    notebook, _ = start_here
    notebook.screenshots("00_start_here")
    _assert_clean(notebook)
    for text in ("collapse_figure", "errors_figure", "entropy_figure"):
        assert notebook.cell(text).locator("img").count() == 1
    verdict = notebook.cell("report.verdict(")
    assert "Policy entropy falls" in verdict.locator("table").inner_text()


@pytest.fixture(scope="module")
def explore(start_here, in_lab, project):
    """The notebook explore, opened from the list of files and run; it finds the run above."""
    in_lab.locator(".jp-DirListing-itemText", has_text="explore.ipynb").dblclick()
    notebook = Notebook(in_lab, project / "notebooks" / "explore.ipynb")
    notebook.cell("explore.law").wait_for()
    notebook.wait_for_kernel()
    notebook.run_all()
    notebook.wait_until_run(timeout_s=300)
    notebook.cell("explore.law").locator("img").wait_for()
    notebook.screenshots("explore")
    return notebook


def test_explore_runs_to_its_end(explore):
    _assert_clean(explore)
    assert explore.cut_labels() == []


@pytest.mark.parametrize("cell", ["explore.policy", "explore.law"])
def test_keys_on_a_slider_move_the_figure_and_back(explore, cell):
    shown = explore.cell(cell)
    picture = shown.locator("img")
    before = fingerprint(picture)
    shown.locator(".noUi-handle").last.focus()
    for key, moved in (("PageUp", True), ("PageDown", False)):
        for _ in range(6):
            explore.page.keyboard.press(key)
        wait_for(
            lambda moved=moved: (fingerprint(picture) != before) is moved,
            f"{cell}: another figure after {key}" if moved else f"{cell}: the first figure again",
        )
    assert explore.complaints() == []


def test_dragging_the_step_shows_other_tokens(explore):
    shown = explore.cell("explore.tokens")
    tokens = shown.locator(".widget-html-content")
    assert "step 0" in tokens.inner_text()
    shown.locator(".noUi-handle").first.drag_to(shown.locator(".noUi-base").first)
    wait_for(lambda: "step 0" not in tokens.inner_text(), "tokens of another step")
    explore.screenshots("explore_moved")
    assert explore.complaints() == []
