"""The house's floors, drawn from the imports: none runs uphill, and there is no circle."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "entropy_mech"
# From the ground up; a room may import its own floor and those below it.
FLOORS = (
    ("errors", "random_streams", "hub", "stack"),
    ("theory",),
    ("law",),
    ("objectives",),
    ("grading",),
    ("problems",),
    ("paper",),
    ("config",),
    ("sampling",),
    ("runs",),
    ("train",),
    ("evaluation",),
    ("integrations",),
    ("reproduction",),
    ("commands",),
    ("cli",),
    ("__init__", "__main__"),
)
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {
    _name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "inside" not in path.parts
}


def _module(*parts: str) -> str | None:
    """The module that a dotted name of this package stands for."""
    name = ".".join(part for part in parts if part)
    return next((m for m in (name, f"{name}.__init__".lstrip(".")) if m in MODULES), None)


def imports_of(path: Path) -> set[str]:
    """Modules of this package that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("entropy_mech."):
            base = node.module.removeprefix("entropy_mech").lstrip(".")
            found |= {_module(base, alias.name) or _module(base) for alias in node.names}
        elif isinstance(node, ast.Import):
            names = (a.name for a in node.names if f"{a.name}.".startswith("entropy_mech."))
            found |= {_module(name.removeprefix("entropy_mech").lstrip(".")) for name in names}
    return found - {None, "__init__"}


GRAPH = {name: imports_of(path) - {name} for name, path in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_no_import_runs_uphill(name):
    height = HEIGHT[name.partition(".")[0]]
    uphill = {other for other in GRAPH[name] if HEIGHT[other.partition(".")[0]] > height}
    assert not uphill


def test_there_is_no_circle():
    assert len(list(graphlib.TopologicalSorter(GRAPH).static_order())) == len(MODULES)
