"""The public names of the grading package, and what its sandboxed half may import."""

import ast
import sys

import entropy_mech.grading
from entropy_mech.grading.sandbox import INSIDE


def test_public_names_exist_and_have_docstrings():
    for name in entropy_mech.grading.__all__:
        value = getattr(entropy_mech.grading, name)
        assert isinstance(value, tuple) or value.__doc__


def test_what_runs_inside_needs_the_standard_library_only():
    siblings = {path.stem for path in INSIDE.glob("*.py")}
    for path in INSIDE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names | siblings | {"solution"}
