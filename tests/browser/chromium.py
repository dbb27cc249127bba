"""The Chromium that notebooks are opened in: where it is, and how one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Return a Chromium that starts: the system's, else Playwright's own, else None."""
    for name in _NAMES:
        path = shutil.which(name)
        if path is not None and _starts(path):  # Ubuntu's is a script that asks for a snap
            return path
    return _of_playwright()


def install() -> None:
    """Install one where there is none: the distribution's as root of a Debian, else Playwright's.

    Raises ``subprocess.CalledProcessError`` if Playwright cannot fetch one either.
    """
    if find() is not None:
        return
    if os.getuid() == 0 and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        bare = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        subprocess.run([*bare, "chromium"], check=False)
    if find() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


def _starts(path: str) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _of_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        path = driver.chromium.executable_path
    return path if Path(path).is_file() and _starts(path) else None


if __name__ == "__main__":
    install()
