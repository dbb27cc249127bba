"""Engines in processes of their own, on this host or another, seen from the trainer."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entropy_mech.errors import UserError, bad_value
from entropy_mech.sampling.channel import Channel, ChannelClosed, ChannelRefused, ChannelTimeout
from entropy_mech.sampling.engine import EngineSettings, Sampled, SamplerError, at_once
from entropy_mech.sampling.weights import bytes_of, dtype_name, on_host

# -- Processes of engines ------------------------------------------------------------------------

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
                [sys.executable, "-m", "entropy_mech.sampling.serve", "--socket", self.address],
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


# -- Remote engines ------------------------------------------------------------------------------

# An engine keeps the deadline itself and says what it did not finish; this much later, the
# trainer stops waiting for it.
_GRACE_S = 5.0
_HANDSHAKE_S = 30.0
_RETRY_S = 0.05


class RemoteEngine:
    """An engine behind a socket (``sampling.engine.Engine``).

    Raises:
        SamplerError: it did not start in ``timeout_s``, or ended while it started.

    """

    def __init__(
        self, name: str, address: str | tuple[str, int], process: EngineProcess | None = None
    ):
        self.name, self._address, self._process = name, address, process
        self._channel: Channel | None = None
        self._end = "is not started"
        self.policy_version: int | None = None

    def start(self, settings: EngineSettings, key: bytes, *, timeout_s: float) -> None:
        """Connect, and wait until the model is loaded."""
        deadline = time.monotonic() + timeout_s
        while self._channel is None:
            try:
                self._channel = _connect(self._address, key)
            except (OSError, ChannelClosed, ChannelTimeout) as error:
                if self._process is not None and self._process.over:
                    raise self._lost("starting", str(error)) from None
                if time.monotonic() > deadline:
                    raise SamplerError(
                        f"{self.name}: no connection to {self._address} after {timeout_s:g} s "
                        f"({error}); is `python -m entropy_mech.sampling.serve` running there?"
                    ) from None
                time.sleep(_RETRY_S)
            except ChannelRefused:
                raise SamplerError(
                    f"{self.name}: {self._address} has another key; set {KEY_VARIABLE} alike on "
                    "both hosts"
                ) from None
        left = max(deadline - time.monotonic(), 1.0)
        answer, _ = self._ask({"op": "start", "settings": settings.table()}, (), left, "starting")
        self.name = f"{self.name} ({answer['process']})"

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        max_new_tokens: int,
        timeout_s: float,
    ) -> Sampled:
        """Sample a response a prompt."""
        ask = {"op": "sample", "temperature": temperature, "max_new_tokens": max_new_tokens}
        arrays = (
            np.array([token for prompt in prompts for token in prompt], dtype=np.int64),
            np.array([len(prompt) for prompt in prompts], dtype=np.int64),
            np.array(seeds, dtype=np.int64),
        )
        _, (tokens, logp, lengths, finished) = self._ask(ask, arrays, timeout_s, "sampling")
        return Sampled(tokens, logp, lengths, finished, self.policy_version)

    def logprobs(self, tokens: Sequence[int], *, timeout_s: float) -> np.ndarray:
        """Return the log-probability at temperature 1 of each token but the first."""
        asked = (np.array(tokens, dtype=np.int64),)
        _, (logp,) = self._ask({"op": "logprobs"}, asked, timeout_s, "log-probabilities")
        return logp

    def load_file(self, path: Path, *, timeout_s: float) -> None:
        """Take new weights from a file that the engine's host sees too."""
        self._ask({"op": "load_file", "path": str(path)}, (), timeout_s, "taking weights")

    def open_weights(self, policy_version: int, *, timeout_s: float) -> None:
        """Announce weights; tensors follow, then ``load_sent``."""
        self._tell({"op": "open_weights", "policy_version": policy_version}, (), timeout_s)

    def send_tensor(self, name: str, host: Tensor, *, timeout_s: float) -> None:
        """Send one tensor; an error there is told by ``load_sent``."""
        table = {"op": "tensor", "name": name, "dtype": dtype_name(host.dtype),
                 "shape": list(host.shape)}  # fmt: skip
        self._tell(table, (bytes_of(host),), timeout_s)

    def load_sent(self, *, timeout_s: float) -> None:
        """Take the weights that were sent."""
        self._ask({"op": "load_sent"}, (), timeout_s, "taking weights")

    def close(self) -> None:
        """End the engine's process, or leave it waiting for another trainer if it is not ours."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.end()
        self._channel, self.policy_version, self._end = None, None, "is closed"

    def _tell(self, table: dict[str, Any], arrays: Sequence, timeout_s: float) -> None:
        if self._channel is None:
            raise SamplerError(f"{self.name}: {self._end}")
        try:
            self._channel.send(table, arrays, timeout_s=timeout_s)
        except ChannelTimeout:
            raise self._silent(table["op"], timeout_s) from None
        except ChannelClosed as error:
            raise self._lost(table["op"], str(error)) from None

    def _ask(self, table: dict[str, Any], arrays: Sequence, timeout_s: float, what: str):
        """Return the answer's table and arrays; the engine's own errors are raised here."""
        self._tell({**table, "timeout_s": timeout_s}, arrays, timeout_s)
        try:
            answer, results = self._channel.receive(timeout_s=timeout_s + _GRACE_S)
        except ChannelTimeout:
            raise self._silent(what, timeout_s + _GRACE_S) from None
        except ChannelClosed as error:
            raise self._lost(what, str(error)) from None
        self.policy_version = answer["policy_version"]
        if "error" in answer:
            raise SamplerError(answer["error"])
        return answer, results

    def _silent(self, what: str, timeout_s: float) -> SamplerError:
        # An answer that comes later must not be taken for the answer to the next question.
        return self._given_up(f"silent for {timeout_s:g} s while {what}; it is given up")

    def _lost(self, what: str, reason: str) -> SamplerError:
        how = self._process.how_it_ended() if self._process else f"its connection broke: {reason}"
        return self._given_up(f"lost while {what}: {how}")

    def _given_up(self, why: str) -> SamplerError:
        if self._channel is not None:
            self._channel.close()
        self._channel, self.policy_version, self._end = None, None, why
        return SamplerError(f"{self.name}: {why}")


def remote_engines(
    settings: EngineSettings,
    *,
    engines: int,
    devices: Sequence[int],
    hosts: Sequence[str],
    timeout_s: float,
) -> list[RemoteEngine]:
    """Start ``engines`` on this host, or meet those that ``hosts`` already serve; all at once.

    Raises:
        UserError: a host is not ``host:port``, or there is no key.
        SamplerError: one of them does not start; the others are ended again.

    """
    if hosts:
        key = server_key()
        made = [
            RemoteEngine(f"engine {i} at {host}", split_host(host)) for i, host in enumerate(hosts)
        ]
    else:
        key, made = secrets.token_bytes(32), []
        for i in range(engines):
            process = EngineProcess(
                key,
                visible_devices(devices, i, settings.tensor_parallel),
                threads=max(1, (os.cpu_count() or 1) // engines),
            )
            made.append(RemoteEngine(f"engine {i}", process.address, process))
    try:
        at_once(made, lambda _, engine: engine.start(settings, key, timeout_s=timeout_s))
    except BaseException:
        for engine in made:
            engine.close()
        raise
    return made


def stream_weights(
    engines: Sequence[RemoteEngine],
    weights: Iterable[tuple[str, Tensor]],
    *,
    dtype: torch.dtype,
    policy_version: int,
    timeout_s: float,
) -> None:
    """Send each tensor to every engine over its connection, then let all of them load."""
    for engine in engines:
        engine.open_weights(policy_version, timeout_s=timeout_s)
    for name, tensor in weights:
        host = on_host(tensor, dtype)
        for engine in engines:
            engine.send_tensor(name, host, timeout_s=timeout_s)
    at_once(engines, lambda _, engine: engine.load_sent(timeout_s=timeout_s))


def server_key() -> bytes:
    """Return the key that trainer and servers of different hosts share.

    Raises:
        UserError: the environment has none, or it is not hexadecimal.

    """
    text = os.environ.get(KEY_VARIABLE, "")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < 16:
        raise UserError(
            f"{KEY_VARIABLE}: engines of other hosts need a key of 32 or more hexadecimal digits, "
            "the same on every host; make one with `openssl rand -hex 32`"
        )
    return key


def split_host(text: str) -> tuple[str, int]:
    """Return host and port.

    >>> split_host("node7:8200")
    ('node7', 8200)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise bad_value("sampler.hosts", text, "write host:port")
    return host, int(port)


def _connect(address: str | tuple[str, int], key: bytes) -> Channel:
    if isinstance(address, str):
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(_HANDSHAKE_S)
        connected.connect(address)
    else:
        connected = socket.create_connection(address, timeout=_HANDSHAKE_S)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Channel(connected, key, timeout_s=_HANDSHAKE_S, server=False)
