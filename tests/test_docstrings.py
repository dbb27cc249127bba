"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import entropy_mech
from entropy_mech.errors import UserError

# theory/ and grading/ check their own examples beside their other tests.
ELSEWHERE = ("entropy_mech.theory", "entropy_mech.grading", "entropy_mech.paper.published")
# Runs in the grader's sandbox or on import as a program: nothing to import here.
PROGRAMS = (".__main__",)
MODULES = [
    module.name
    for module in pkgutil.walk_packages(entropy_mech.__path__, "entropy_mech.")
    if not module.name.startswith(ELSEWHERE) and not module.name.endswith(PROGRAMS)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except UserError as error:  # a file that needs a package which this machine does not have
        pytest.skip(str(error))
    names = {**vars(module), "torch": importlib.import_module("torch")}
    names["np"] = importlib.import_module("numpy")
    result = doctest.testmod(module, extraglobs=names)
    assert result.failed == 0
