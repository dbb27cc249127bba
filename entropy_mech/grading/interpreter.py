"""What another interpreter needs in order to start: its path, its folders, its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def interpreter() -> str:
    """The path of this Python, to start another with."""
    if not sys.executable:
        raise ValueError("sys.executable is empty: this process does not know its own interpreter")
    return sys.executable


def library_folders() -> list[str]:
    """The folders of ``LD_LIBRARY_PATH`` that an interpreter may need, as on a cluster's modules.

    Those that hold shared libraries; none with the user's home, the current folder or temporary
    files below it, since programs will be able to read them.
    """
    names = (("HOME", "/"), ("PWD", "/"), ("TMPDIR", "/tmp"))
    private = [os.environ.get(name, default) for name, default in names]
    return [
        folder
        for folder in dict.fromkeys(os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
        if os.path.isabs(folder)
        and not any(Path(p).resolve().is_relative_to(os.path.realpath(folder)) for p in private)
        and any(Path(folder).glob("*.so*"))
    ]


def own_environment() -> dict[str, str]:
    """What the interpreter itself may need in order to start: its libraries, its home."""
    own = {"LD_LIBRARY_PATH": ":".join(library_folders())}
    own["PYTHONHOME"] = os.environ.get("PYTHONHOME", "")
    return {name: value for name, value in own.items() if value}


def readable_paths(also: str) -> list[str]:
    """The folders that an interpreter reads: its own, its libraries', and one more."""
    wanted = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, also}
    wanted |= {
        str(Path(path).parent) for path in (sys.executable, os.path.realpath(sys.executable))
    }
    wanted |= {os.path.realpath(path) for path in wanted}
    return outermost(wanted | set(library_folders()))


def outermost(paths: set[str]) -> list[str]:
    """Without the paths that lie in another one.

    >>> outermost({"/a/b", "/a", "/ab"})
    ['/a', '/ab']
    """
    kept: list[str] = []
    for path in sorted(paths, key=lambda p: (len(p), p)):
        if not any(path == k or path.startswith(k.rstrip("/") + "/") for k in kept):
            kept.append(path)
    return kept
