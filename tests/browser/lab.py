"""`make lab` in a copy of the project, so that nothing is written into the sources."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "out" / "browser"
_START_S = 180


def copy_of_project(folder: Path) -> Path:
    """Copy what `make lab` needs; the environment is the one that runs the tests."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("notebooks", "reproduce"):
        left = shutil.ignore_patterns(".ipynb_checkpoints")
        shutil.copytree(ROOT / name, folder / name, ignore=left)
    (folder / ".venv").mkdir()
    for name in ("bin", "share"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    (folder / ".venv" / ".ready").touch()  # so that make installs nothing
    return folder


@contextlib.contextmanager
def lab(project: Path, home: Path) -> Iterator[str]:
    """Run `make lab` there without a browser; yields the address that it would open.

    JupyterLab's own folders lie in ``home``: no setting of whoever runs the tests comes in, and
    none goes out. Its words are in ``home/lab.log``.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    words = f"--no-browser --port={port} --ServerApp.port_retries=0"
    words += f" --IdentityProvider.token={token}"
    log = home / "lab.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            ["make", "lab", f"LAB={words}"], cwd=project, env=_environment(project, home),
            stdout=written, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/api", process, log)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/00_start_here.ipynb?token={token}"
    finally:
        _end(process)


def _environment(project: Path, home: Path) -> dict[str, str]:
    from_outside = ("MAKE", "MFLAGS", "JUPYTER", "JPY_", "ENTROPY_MECH_", "MPLBACKEND")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(from_outside)}
    folders = {
        f"{name}_DIR": str(home / name.lower())
        for name in (
            "JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "JUPYTERLAB_SETTINGS",
            "JUPYTERLAB_WORKSPACES",
        )
    }  # fmt: skip
    project_of_its_own = {"ENTROPY_MECH_PROJECT": str(project), "IPYTHONDIR": str(home / "ipython")}
    return kept | folders | project_of_its_own


def _wait_until_it_answers(address: str, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except URLError:
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab does not answer:\n{log.read_text()}")


def _end(process: subprocess.Popen) -> None:
    """End make and JupyterLab, which ends its kernels; the runs end by themselves."""
    until = time.monotonic() + _START_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < until:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
