"""The bubblewrap command: name spaces of its own, and a system made of the few folders needed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

BOX = "/box"  # the one writable folder inside
SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_STREAMS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
            "stderr": "/proc/self/fd/2"}  # fmt: skip


def command(reads: list[str]) -> list[str]:
    """The bwrap command. Root needs no user name space, only the right to become someone else."""
    words = [shutil.which("bwrap") or "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    words += ["--unshare-uts", "--unshare-cgroup-try", "--as-pid-1"]
    if os.getuid() == 0:
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user"]
    made = {"/", "/usr"}
    for path in SYSTEM_PATHS:
        if os.path.exists(path):
            words += [*_folders(path, made), "--ro-bind", path, path]
    for path in reads:
        if path != "/usr" and not path.startswith("/usr/"):
            words += [*_folders(path, made), "--ro-bind", path, path]
    words += ["--proc", "/proc", "--perms", "0755", "--dir", "/dev"]
    for device in DEVICES:
        words += ["--dev-bind", device, device]
    for name, target in _STREAMS.items():
        words += ["--symlink", target, f"/dev/{name}"]
    if _bwrap_knows("--size"):
        words += ["--size", str(256 << 20)]
    words += ["--perms", "1777", "--tmpfs", BOX, "--symlink", BOX, "/dev/shm"]
    if "/tmp" not in made:  # else the interpreter itself lies there
        words += ["--symlink", BOX, "/tmp"]
    return [*words, "--remount-ro", "/", "--chdir", BOX]


def _folders(path: str, made: set[str]) -> list[str]:
    """Create the folders above a path, readable by all (bwrap would close them to others)."""
    arguments = []
    for folder in reversed(Path(path).parents):
        if str(folder) not in made:
            made.add(str(folder))
            arguments += ["--perms", "0755", "--dir", str(folder)]
    return arguments


@functools.cache
def _bwrap_knows(option: str) -> bool:
    run = subprocess.run(["bwrap", "--help"], capture_output=True, text=True, timeout=10)
    return option in run.stdout
