"""Notebook sources: no outputs, no logic, literal parameters, a kernel that exists."""

import ast
import json
from pathlib import Path

import pytest

from entropy_mech.reproduction.targets import load_targets, notebook_parameters

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LOGIC = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Lambda, ast.Try)


def _code(path):
    cells = json.loads(path.read_text())["cells"]
    return [c for c in cells if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_is_thin_and_clean(path):
    for cell in _code(path):
        assert not cell["outputs"]
        assert cell["execution_count"] is None
        tree = ast.parse("".join(cell["source"]))
        found = [type(node).__name__ for node in ast.walk(tree) if isinstance(node, LOGIC)]
        assert not found, f"logic in a notebook: {found}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_literals(path):
    (cell,) = [c for c in _code(path) if "parameters" in c["metadata"].get("tags", [])]
    for node in ast.parse("".join(cell["source"])).body:
        assert isinstance(node, ast.Assign)
        ast.literal_eval(node.value)
    assert {"profile", "out_dir"} <= notebook_parameters(path).keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kernel_is_the_one_every_jupyter_has(path):
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


def test_every_target_has_its_notebook_and_runs():
    for target in load_targets().values():
        assert target.notebook_path.exists()
        assert len(target.configs(seed=1, seeds=2)) == 2 * len(target.runs)


def test_every_run_file_is_used_and_valid():
    used = {run for target in load_targets().values() for run in target.runs}
    there = {path.stem for path in (ROOT / "reproduce" / "runs").glob("*.toml")}
    assert used == there - {"toy"}
