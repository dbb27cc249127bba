"""A browser, JupyterLab in a copy of the project, and its first notebook, run once for all."""

import importlib.util
import os

import pytest

from tests.browser import chromium
from tests.browser.lab import SCREENSHOTS, copy_of_project, lab
from tests.browser.notebook import Notebook

# The whole of 00_start_here with a base model and a run that take seconds: what is tested is that
# all is drawn, not what it shows.
_SHORTER = {
    "notebooks/00_start_here.ipynb": ("steps = 0 ", "steps = 24 "),
    "reproduce/runs/toy/_toy.toml": ("\n[base]\nsteps = ", "\n[base]\nsteps = 300  # not "),
}


@pytest.fixture(scope="package")
def page():
    """A page of 1280 x 800 in the browser that this machine has.

    Of this package alone: Playwright's event loop would be in the way of other tests' own.
    """
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: `make test-browser` installs it and a browser")
    executable = chromium.find()
    if executable is None:
        pytest.skip("no Chromium is installed: `make test-browser` installs one")
    from playwright.sync_api import sync_playwright

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for old in SCREENSHOTS.glob("*.png"):
        old.unlink()
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=arguments)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


@pytest.fixture(scope="package")
def project(tmp_path_factory):
    """A copy of the project whose first run is short."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    for name, (old, new) in _SHORTER.items():
        text = (folder / name).read_text()
        assert text.count(old) == 1, f"{name} has no {old!r} any more"
        (folder / name).write_text(text.replace(old, new))
    return folder


@pytest.fixture(scope="package")
def in_lab(page, project, tmp_path_factory):
    """The page, showing 00_start_here in JupyterLab as `make lab` opens it."""
    with lab(project, tmp_path_factory.mktemp("home")) as address:
        page.goto(address)
        yield page


@pytest.fixture(scope="package")
def start_here(in_lab, project):
    """The notebook 00_start_here, run through the menu, with what was seen meanwhile."""
    notebook = Notebook(in_lab, project / "notebooks" / "00_start_here.ipynb")
    notebook.wait_for_kernel()
    notebook.run_all()
    return notebook, notebook.watch("runs.follow(training)", timeout_s=900)
