"""The API reference is what the docstrings say, and its stubs are Python."""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, docstrings

PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))


def test_the_pages_are_what_the_sources_say():
    command = [sys.executable, str(ROOT / "docs" / "make" / "api.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_generator_hold():
    found = doctest.testmod(docstrings)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize(
    "name", ["objectives.kl_cov_loss", "law.fit_law", "runs.follow", "grading.grade_math"]
)
def test_an_exported_name_has_its_entry(name):
    package, _, word = name.partition(".")
    page = (ROOT / "docs" / "api" / f"{package}.md").read_text()
    (anchor,) = re.findall(rf"\[`{word}`\]\(#([\w-]+)\)", page)
    assert anchor in docstrings.anchors(page.split("\n"))
    assert f"\ndef {word}(" in page


def test_a_setting_has_its_bounds_and_its_explanation():
    page = (ROOT / "docs" / "api" / "config.md").read_text()
    assert "\n    penalty_coefficient: float = Field(1.0, ge=0)\n" in page
    assert "\n- `penalty_coefficient`: beta; paper 1\n" in page


def test_an_indented_formula_is_no_prose_and_a_product_no_emphasis():
    text = "Sum a*b*c, with\n\n    R = -a exp(H) + b\n\nArgs:\n    x: B x T,\n        masked.\n"
    assert docstrings.prose(text) == [
        "Sum a\\*b\\*c, with", "", "```text", "R = -a exp(H) + b", "```", "",
        "**Args**", "", "- `x`: B x T, masked.",
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_stubs_are_python(page: Path):
    stubs = re.findall(r"^```pyi\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert stubs or page.stem == "README"
    for stub in stubs:
        ast.parse(stub)
