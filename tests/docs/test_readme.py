"""The README's tree and table match what is there; test_code.py has its code."""

import re
import subprocess
import sys

from tests.docs.pages import ROOT

README = (ROOT / "README.md").read_text()


def _tree() -> str:
    return README.split("## What is where")[1].split("```")[1]


def test_the_tree_has_every_folder_and_no_other():
    listed = set(re.findall(r"^  (\w+)/ ", _tree(), re.MULTILINE))
    there = {p.parent.name for p in (ROOT / "entropy_mech").glob("*/__init__.py")}
    assert listed == there
    tops = set(re.findall(r"^(\w+)/", _tree(), re.MULTILINE))
    assert tops == {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")} - {
        "out",
        "runs",
        "dist",
        "build",
    } - {p.name for p in ROOT.iterdir() if p.name.endswith(".egg-info") or p.name == "__pycache__"}


def test_every_notebook_is_in_the_table():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", README, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"\w+", row)}
    assert listed == {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}


def test_the_table_of_verdicts_is_the_pages_own():
    command = [sys.executable, str(ROOT / "docs" / "make" / "readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
