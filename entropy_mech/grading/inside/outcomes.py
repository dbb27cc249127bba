"""How a test can end, apart from passing. No program can raise these: their classes stay here."""

from __future__ import annotations

import linecache
import traceback

import pytest


class BadTests(BaseException):
    """The tests themselves cannot be run; no program could pass or fail them."""


Failed, XFailed = pytest.fail.Exception, pytest.xfail.Exception  # the second is one of the first
Skipped = pytest.skip.Exception


def refuse_to_lose(error=None) -> None:
    """Raise again what says that a test fails: no context manager of a program may end it."""
    if isinstance(error, (Failed, Skipped, BadTests)):
        raise error
    if isinstance(error, AssertionError):
        frame, number = [*traceback.walk_tb(error.__traceback__)][-1]
        line = linecache.getline("tests.py", number).strip()
        if frame.f_code.co_filename != "tests.py" or not line.startswith("raise"):
            raise error
