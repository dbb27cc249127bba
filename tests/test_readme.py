"""The README's tree, code and table match what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
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


def test_the_code_runs(capsys):
    losses, graders = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(compile(losses, "README.md", "exec"), names)
    assert names["out"].selected_mask.sum().item() == 4
    capsys.readouterr()
    exec(compile(graders, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("correct\n")
    assert "name='wrong'" in printed
    assert "passed=1, total=2" in printed


def test_the_commands_exist():
    from entropy_mech.cli import _parser

    words = re.findall(r"^entropy-mech (\w+)", README, re.MULTILINE)
    assert {"reproduce", "train", "law", "doctor"} <= set(words)
    help_text = _parser().format_help()
    assert all(f" {word} " in help_text for word in words)
