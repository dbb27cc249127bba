"""A notebook driven through JupyterLab's interface, as somebody with a mouse would."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.browser.lab import SCREENSHOTS

_WAIT_S = 180  # of a busy machine; what a cell complains of ends the waiting at once
_LOOK_EVERY_S = 0.2
_RAN = r"""cells => cells.every(cell => /\[\d+\]/.test(
    cell.querySelector('.jp-InputPrompt').textContent))"""
_BYTES = """async image => Array.from(new Uint8Array(
    await (await fetch(image.src)).arrayBuffer()))"""
_CUT = "labels => labels.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"


class Notebook:
    """A notebook that is open in a browser's page, in JupyterLab."""

    def __init__(self, page, path: Path):
        self.page, self.path = page, path
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.code = self.panel.locator(".jp-CodeCell")

    def wait_for_kernel(self) -> None:
        """Wait until the status bar says Idle; before, Run All would meet a question."""
        self.page.get_by_text("| Idle").first.wait_for(timeout=1000 * _WAIT_S)

    def menu(self, name: str, entry: str) -> None:
        """Choose an entry of a menu of JupyterLab's menu bar."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=name).first.click()
        self.page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()

    def run_all(self) -> None:
        """Start all cells."""
        self.menu("Run", "Run All Cells")

    def cell(self, text: str):
        """Return the code cell whose source has this text."""
        return self.code.filter(has=self.page.locator(".jp-InputArea-editor", has_text=text))

    @property
    def ran(self) -> bool:
        """Whether every code cell has a number and the kernel has nothing more to do.

        Raises ``AssertionError`` with what a cell complains of: after an error the rest never runs.
        """
        assert not (found := self.complaints()), found
        return self.page.get_by_text("| Idle").count() > 0 and self.code.evaluate_all(_RAN)

    def wait_until_run(self, timeout_s: float) -> None:
        """Wait until all cells ran."""
        wait_for(lambda: self.ran, "all cells ran", timeout_s)

    def watch(self, text: str, timeout_s: float) -> list[tuple[str, str]]:
        """Look at one cell until all cells ran: its pictures' hashes, each with its words then."""
        cell, seen = self.cell(text), []

        def look() -> bool:
            if cell.locator("img").count():
                # Words last: a run that they call unfinished was so when the picture was shown.
                now = fingerprint(cell.locator("img").first), _words(cell)
                if not seen or now[0] != seen[-1][0]:
                    seen.append(now)
                    cell.scroll_into_view_if_needed()
                    self._screenshot(f"{self.path.stem}_live_{len(seen)}")
            return self.ran

        wait_for(look, "all cells ran", timeout_s)
        # The end may have changed the words alone.
        return [*seen, (fingerprint(cell.locator("img").first), _words(cell))]

    def complaints(self) -> list[str]:
        """Return what cells show in red: tracebacks, and whatever was written to stderr."""
        kinds = ("error", "stderr")
        marks = [f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in kinds]
        return self.panel.locator(", ".join(marks)).all_text_contents()

    def cut_labels(self) -> list[str]:
        """Return the widgets' labels that have no room."""
        return self.panel.locator(".widget-label").evaluate_all(_CUT)

    def saved_cells(self) -> list[dict]:
        """Save through the menu and return the code cells, as the file has them."""
        before = self.path.stat().st_mtime_ns
        self.menu("File", "Save Notebook")
        wait_for(lambda: self.path.stat().st_mtime_ns != before, "saved")
        cells = json.loads(self.path.read_text())["cells"]
        return [cell for cell in cells if cell["cell_type"] == "code"]

    def screenshots(self, name: str) -> None:
        """Keep what a reader sees, screen by screen, from the top to the bottom."""
        scroller = self.panel.locator(".jp-WindowedPanel-outer")
        scroller.evaluate("e => e.scrollTo(0, 0)")
        last = self.panel.locator(".jp-Cell").last
        for number in range(1, 30):
            self.page.wait_for_timeout(200)
            self._screenshot(f"{name}_{number:02}")
            if last.evaluate("e => e.getBoundingClientRect().bottom <= innerHeight"):
                return
            scroller.evaluate("e => e.scrollBy(0, 0.9 * e.clientHeight)")

    def _screenshot(self, name: str) -> None:
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


def fingerprint(image) -> str:
    """Return a hash of the bytes of an image that the page shows."""
    return hashlib.sha256(bytes(image.evaluate(_BYTES))).hexdigest()


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = _WAIT_S) -> None:
    """Look again and again until something holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(_LOOK_EVERY_S)


def _words(cell) -> str:
    return " ".join(cell.locator(".jp-OutputArea-output").all_text_contents())
