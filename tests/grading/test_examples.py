"""The examples in the docstrings of the grading package are true."""

import doctest
import importlib
import pkgutil
import sys

import pytest

import entropy_mech.grading
from entropy_mech.grading.sandbox import INSIDE

MODULES = [
    module.name
    for module in pkgutil.walk_packages(entropy_mech.grading.__path__, "entropy_mech.grading.")
    if ".inside" not in module.name and not module.name.endswith("worker")
]


@pytest.mark.parametrize("name", ["entropy_mech.grading", *MODULES])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_names_exist_and_have_docstrings():
    for name in entropy_mech.grading.__all__:
        value = getattr(entropy_mech.grading, name)
        assert isinstance(value, tuple) or value.__doc__


def test_what_runs_inside_needs_the_standard_library_only():
    import ast

    siblings = {path.stem for path in INSIDE.glob("*.py")}
    for path in INSIDE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names | siblings | {"solution"}
