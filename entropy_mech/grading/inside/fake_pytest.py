"""What differs in the module ``pytest`` that tests import, where no pytest runs them."""

from __future__ import annotations

import pytest
from outcomes import BadTests, Failed

Parameters = type(pytest.param())  # one row of a ``parametrize``, or one value of a fixture's


class Fixture:
    """A function that makes what tests ask for by the name of an argument."""

    def __init__(self, function, scope="function", params=None, autouse=False, ids=None, name=None):
        self.function, self.scope, self.autouse = function, scope, autouse
        self.params, self.ids, self.name = params and list(params), ids, name
        self.__name__ = getattr(function, "__name__", "fixture")

    def __call__(self, *_args, **_kwargs):
        raise Failed(f"fixture {self.__name__} called directly")


def fixture(function=None, **settings):
    settings.pop("loop_scope", None)
    if function is not None:
        return Fixture(function, **settings)
    return lambda inner: Fixture(inner, **settings)


def exit(reason="", returncode=None):
    raise BadTests(f"the tests call pytest.exit({reason!r})")


def main(*_args, **_kwargs):
    return 0


def missing(name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise BadTests(f"pytest.{name} is not available here")


def provide() -> None:
    """Give these to the tests of this process."""
    vars(pytest).update(fixture=fixture, exit=exit, main=main, __getattr__=missing)
