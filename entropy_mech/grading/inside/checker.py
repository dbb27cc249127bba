"""The trusted side of a tests job: runs tests against functions in another process.

No line of the program is executed here, so nothing that it patches, prints or returns early
can change what these functions find.
"""

from __future__ import annotations

import builtins
import json
import math
import os
import sys
import types

import collect
import fake_pytest
import forms
import proxies
import remote


class RemoteModule(types.ModuleType):
    """The program, as the module ``solution`` that tests import from."""

    def __init__(self, peer, proxy, names, ready):
        super().__init__("solution")
        self.__dict__.update(_peer=peer, _proxy=proxy, _names=set(names), _ready=ready)
        self.__dict__["__all__"] = [n for n in names if n[:1] != "_" and not hasattr(builtins, n)]

    __doc__ = property(lambda self: self._proxy.__doc__)

    def __getattr__(self, name):
        if name[:2] == "__" and name not in self._names:
            raise AttributeError(f"module 'solution' has no attribute {name!r}")
        value = self._ready.get(name) if self._peer.count == 0 else None  # else it may have changed
        return self._peer.reached(name, getattr(self._proxy, name) if value is None else value)

    def __setattr__(self, name, value):
        if name[:2] == "__":
            super().__setattr__(name, value)
        else:
            setattr(self._proxy, name, value)

    def __delattr__(self, name):
        delattr(self._proxy, name)


def run(tests: dict, peer: remote.Peer, result_fd: int, folder: str) -> None:
    """Run the tests and write one JSON report to ``result_fd``; then end the process."""
    sys.modules["proxies"] = proxies  # where pickle looks for it
    fake_pytest.provide()
    keep = sorted({peer.connection.fileno(), result_fd})
    os.closerange(3, keep[0])
    os.closerange(keep[0] + 1, keep[1])
    os.closerange(keep[1] + 1, 4096)
    os.chdir(folder)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    null = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), null, null  # noqa: SIM115
    try:
        report = forms.FORMS[tests["form"]](tests, peer)
    except remote.Gone as gone:
        report = {"passed": 0, "total": tests["total"], "failure": str(gone)}
    except collect.BadTests as bad:
        report = {"passed": 0, "total": tests["total"], "bad_tests": str(bad)}
    except Exception as error:  # tests and programs are run where theirs are caught: it is ours
        why = f"the grader failed: {type(error).__name__}: {error}"
        report = {"passed": 0, "total": tests["total"], "bad_tests": why}
    report["failure"] = str(report.get("failure", ""))[:500]
    os.write(result_fd, json.dumps(report).encode())
    os._exit(0)


def shown(value) -> str:
    if proxies.is_opaque(value):
        return f"an object of type {type(value).__name__}"
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def same_value(got, expected) -> bool:
    """Equality as the data sets mean it: JSON has no tuples, no integer keys, rounded floats."""
    if proxies.is_opaque(got):
        return False
    if isinstance(got, float) or isinstance(expected, float):
        number = (int, float)
        if not (isinstance(got, number) and isinstance(expected, number)):
            return False
        try:
            return got == expected or math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:
            return False
    if isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(got) != len(expected):
            return False
        return all(same_value(a, b) for a, b in zip(got, expected, strict=True))
    if isinstance(expected, dict) and isinstance(got, dict):
        mine = {str(key): value for key, value in got.items()}
        want = {str(key): value for key, value in expected.items()}
        return mine.keys() == want.keys() and all(same_value(mine[k], want[k]) for k in want)
    return bool(got == expected)
