"""``python -m entropy_mech.sampling.serve``: holds one vLLM engine and answers a trainer.

Started by the trainer for engines of its own host. For other hosts, start it there by hand, with
the same ``ENTROPY_MECH_SAMPLER_KEY`` as the trainer, and name it in ``sampler.hosts``. It serves
one trainer at a time, and starts afresh for the next one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from entropy_mech.errors import UserError
from entropy_mech.sampling.channel import Channel, ChannelClosed, ChannelRefused, ChannelTimeout
from entropy_mech.sampling.engine import EngineSettings, naming, this_process
from entropy_mech.sampling.remote import server_key
from entropy_mech.sampling.vllm_engine import VLLMEngine
from entropy_mech.sampling.weights import SHARED_MEMORY, WeightWriter

_HANDSHAKE_S = 30.0
_ANSWER_S = 600.0


class Server:
    """Answers one trainer's questions with one engine."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self._engine: VLLMEngine | None = None
        self._writer: WeightWriter | None = None
        self._problem: str | None = None

    def run(self) -> None:
        """Answer until the trainer closes the channel or is gone."""
        with contextlib.suppress(ChannelClosed):
            while True:
                table, arrays = self._channel.receive(timeout_s=None)
                self._answer(table, arrays)
        if self._writer is not None:
            self._writer.discard()  # the trainer was lost in the middle of a sync
        if self._engine is not None:
            self._engine.close()

    def _answer(self, table: dict[str, Any], arrays: list[np.ndarray]) -> None:
        operation: Callable = getattr(self, f"_on_{table['op']}")
        told_later = table["op"] in ("open_weights", "tensor")
        try:
            with naming(self._name, table["op"]):
                answer, results = operation(table, arrays) or ({}, ())
        except UserError as error:
            answer, results = {"error": str(error)}, ()
        if told_later:
            self._problem = self._problem or answer.get("error")
            return
        version = self._engine.policy_version if self._engine else None
        self._channel.send({**answer, "policy_version": version}, results, timeout_s=_ANSWER_S)

    @property
    def _name(self) -> str:
        return self._engine.name if self._engine else f"sampler server ({this_process()})"

    def _on_start(self, table, arrays):
        self._engine = VLLMEngine(EngineSettings(**table["settings"]), name="engine")
        return {"process": this_process()}, ()

    def _on_sample(self, table, arrays):
        flat, lengths, seeds = arrays
        ends = np.cumsum(lengths)
        out = self._engine.sample(
            [flat[end - n : end].tolist() for end, n in zip(ends, lengths, strict=True)],
            seeds.tolist(),
            temperature=table["temperature"],
            max_new_tokens=table["max_new_tokens"],
            timeout_s=table["timeout_s"],
            stop=lambda: self._channel.other_side_left,
        )
        return {}, (out.tokens, out.logp, out.lengths, out.finished)

    def _on_logprobs(self, table, arrays):
        return {}, (self._engine.logprobs(arrays[0].tolist(), timeout_s=table["timeout_s"]),)

    def _on_load_file(self, table, arrays):
        self._engine.load_file(Path(table["path"]), timeout_s=table["timeout_s"])

    def _on_open_weights(self, table, arrays):
        self._problem = None
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
        path = place / f"entropy-mech-{os.getpid()}.weights"
        self._writer = WeightWriter(path, policy_version=table["policy_version"])

    def _on_tensor(self, table, arrays):
        if self._problem is None:
            kind = getattr(torch, table["dtype"])
            self._writer.add(table["name"], kind, table["shape"], memoryview(arrays[0]))

    def _on_load_sent(self, table, arrays):
        if self._problem is not None:
            raise UserError(self._problem)
        path = self._writer.finish()
        try:
            self._engine.load_file(path, timeout_s=table["timeout_s"])
        finally:
            path.unlink(missing_ok=True)


def main() -> int:
    """Listen; serve a trainer; end, or start afresh for the next one."""
    parser = argparse.ArgumentParser(
        prog="python -m entropy_mech.sampling.serve",
        description="Hold a vLLM engine and answer a trainer of another process or host.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8200, help="port to listen at (8200)")
    parser.add_argument("--socket", help="a path to listen at instead, for one trainer only")
    parser.add_argument("--once", action="store_true", help="end after the first trainer")
    arguments = parser.parse_args()
    try:
        key = server_key()
        listener = _listen(arguments)
        channel = _accept(listener, key)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    listener.close()
    Server(channel).run()
    if arguments.socket or arguments.once:
        # The engine is ended and nothing is to be saved; taking the interpreter down with all
        # that vLLM imported would keep the trainer waiting for seconds.
        os._exit(0)
    # vLLM keeps memory and process groups until a process ends, so the next trainer gets a new one.
    module = "entropy_mech.sampling.serve"
    os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


def _listen(arguments: argparse.Namespace) -> socket.socket:
    if arguments.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(arguments.socket)
        listener.listen(1)
        return listener
    listener = socket.create_server((arguments.host, arguments.port), backlog=1)
    print(f"waiting for a trainer at {arguments.host}:{arguments.port}", flush=True)
    return listener


def _accept(listener: socket.socket, key: bytes) -> Channel:
    """Return the first connection whose other side knows the key."""
    while True:
        connected, _ = listener.accept()
        with contextlib.suppress(ChannelRefused, ChannelClosed, ChannelTimeout):
            return Channel(connected, key, timeout_s=_HANDSHAKE_S, server=True)
        connected.close()


if __name__ == "__main__":
    sys.exit(main())
