"""``monkeypatch``: changes that are taken back."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

_ABSENT = object()


class MonkeyPatch:
    """Changes that are taken back at the end of the test."""

    def __init__(self):
        self.undone = []

    @classmethod
    @contextlib.contextmanager
    def context(cls):
        patch = cls()
        try:
            yield patch
        finally:
            patch.undo()

    @staticmethod
    def _find(path):
        """The object and the attribute that a dotted path names."""
        module, _, name = path.rpartition(".")
        parts = module.split(".")
        for end in range(len(parts), 0, -1):
            try:
                target = importlib.import_module(".".join(parts[:end]))
            except ImportError:
                continue
            for part in parts[end:]:
                target = getattr(target, part)
            return target, name
        raise ImportError(f"no module for {path!r}")

    def setattr(self, target, name, value=_ABSENT, raising=True):
        if isinstance(target, str) and value is _ABSENT:
            value, (target, name) = name, self._find(target)
        old = getattr(target, name, _ABSENT)
        if raising and old is _ABSENT:
            raise AttributeError(f"{target!r} has no attribute {name!r}")
        if isinstance(target, type):
            old = vars(target).get(name, _ABSENT)
        self.undone.append(lambda: _put_back(target, name, old))
        setattr(target, name, value)

    def delattr(self, target, name=_ABSENT, raising=True):
        if isinstance(target, str) and name is _ABSENT:
            target, name = self._find(target)
        old = getattr(target, name, _ABSENT)
        if old is _ABSENT:
            if raising:
                raise AttributeError(name)
            return
        self.undone.append(lambda: setattr(target, name, old))
        delattr(target, name)

    def setitem(self, mapping, key, value):
        old = mapping.get(key, _ABSENT)
        put_back = (lambda: mapping.pop(key, None)) if old is _ABSENT else (
            lambda: mapping.__setitem__(key, old)
        )  # fmt: skip
        self.undone.append(put_back)
        mapping[key] = value

    def delitem(self, mapping, key, raising=True):
        if key not in mapping:
            if raising:
                raise KeyError(key)
            return
        old = mapping[key]
        self.undone.append(lambda: mapping.__setitem__(key, old))
        del mapping[key]

    def setenv(self, name, value, prepend=None):
        if prepend and name in os.environ:
            value = f"{value}{prepend}{os.environ[name]}"
        self.setitem(os.environ, name, str(value))

    def delenv(self, name, raising=True):
        self.delitem(os.environ, name, raising)

    def syspath_prepend(self, path):
        old = sys.path[:]
        self.undone.append(lambda: sys.path.__setitem__(slice(None), old))
        sys.path.insert(0, str(path))

    def chdir(self, path):
        old = os.getcwd()
        self.undone.append(lambda: os.chdir(old))
        os.chdir(path)

    def undo(self):
        while self.undone:
            self.undone.pop()()


def _put_back(target, name, old):
    delattr(target, name) if old is _ABSENT else setattr(target, name, old)
