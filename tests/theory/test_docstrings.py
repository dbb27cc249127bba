import doctest
import importlib
import pkgutil

import pytest

import entropy_mech.theory

MODULES = [m.name for m in pkgutil.iter_modules(entropy_mech.theory.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_every_example_in_a_docstring_holds(name):
    module = importlib.import_module(f"entropy_mech.theory.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0
