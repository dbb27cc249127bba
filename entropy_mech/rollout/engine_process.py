"""The processes of engines on this host."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

KEY_VARIABLE = "ENTROPY_MECH_SAMPLER_KEY"
# What the trainer's launcher says of the trainer's own process group.
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class EngineProcess:
    """A server process of this host, in a session of its own, with its log in a private folder."""

    def __init__(self, key: bytes, devices: Sequence[str], *, threads: int):
        self.folder = Path(tempfile.mkdtemp(prefix="entropy-mech-"))
        self.address = str(self.folder / "socket")
        environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHER}
        environment[KEY_VARIABLE] = key.hex()
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        with open(self.folder / "log", "wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "entropy_mech.rollout.serve", "--socket", self.address],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def over(self) -> bool:
        return self._popen.poll() is not None

    def how_it_ended(self) -> str:
        """Return the signal or exit code, and the last line it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=2.0)  # the socket closes a moment before the process is over
        code = self._popen.returncode
        if code is None:
            return "it closed its connection"
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        written = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        last = f" (last words: {written[-1].strip()[:300]})" if written else ""
        return f"it ended with exit code {code}{last}"

    def end(self) -> None:
        """Let it go when its connection has closed; kill it, and what it started, if it stays."""
        try:
            self._popen.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


def visible_devices(devices: Sequence[int], engine: int, each: int) -> list[str]:
    """Return CUDA_VISIBLE_DEVICES of one engine, in the numbering of this process's own."""
    seen = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    chosen = devices[engine * each : (engine + 1) * each]
    if not devices:
        if not torch.cuda.is_available():
            return []
        chosen = range(engine * each, (engine + 1) * each)
    return [seen[d] if seen else str(d) for d in chosen]
