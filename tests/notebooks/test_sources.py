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


@pytest.mark.parametrize("profile", ["toy", "paper"])
def test_every_target_has_its_notebook_and_runs(profile):
    for target in load_targets().values():
        assert target.notebook_path.exists()
        if profile == "paper" and target.name == "lemma1_transformer":
            continue  # a check of ours, on toys alone
        if profile in target.taken_from:
            continue  # it is about a model of another profile
        configs = target.configs(profile=profile, seed=1, seeds=2)
        assert set(configs) == {(run, seed) for run in target.run_names(profile) for seed in (1, 2)}
        assert all(config.toy == (profile == "toy") for config in configs.values())


def test_every_run_file_is_used_and_valid():
    used = {run for target in load_targets().values() for run in target.run_names("toy")}
    runs = ROOT / "reproduce" / "runs"
    there = {path.stem for path in (runs / "toy").glob("[!_]*.toml")}
    assert used == there
    # The other profile has the same runs, but for two checks of ours and what toys alone have: the
    # tenfold doses, the raised entropies.
    papers = {path.stem for path in (runs / "paper").glob("[!_]*.toml")}
    toys_alone = {run for target in load_targets().values() for run in target.toy_runs}
    assert there - papers - toys_alone == {"lemma1_sgd", "lemma1_small"}
    assert any(run.endswith("_x10") for run in toys_alone)
    assert papers <= there
