"""Messages between a trainer and its sampler processes: a JSON table and arrays, over a socket.

Every wait has a deadline. Nothing is unpickled, so a message can carry no code; both sides prove
that they know the same key before anything else is read (HMAC-SHA256 over a random challenge).
What is sent is not encrypted: across hosts, use a network that you trust.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

_HEAD = struct.Struct("<Q")
_LONGEST_TABLE = 1 << 30
_CHALLENGE = 32
_ACCEPTED, _REFUSED = b"\1", b"\0"


class ChannelClosed(Exception):
    """The other side is gone: it ended, was killed, or closed the channel."""


class ChannelTimeout(Exception):
    """The other side did not answer, or did not read, in time."""


class ChannelRefused(Exception):
    """The two sides do not know the same key."""


class Channel:
    """A connected socket whose other end knows the key."""

    def __init__(self, connected: socket.socket, key: bytes, *, timeout_s: float, server: bool):
        self._socket = connected
        connected.settimeout(timeout_s)
        # The client proves itself first: a server tells nothing to whom it does not know.
        for prove in (not server, server):
            if prove:
                self._prove(key, b"server" if server else b"client")
            else:
                self._examine(key, b"client" if server else b"server")

    def _prove(self, key: bytes, side: bytes) -> None:
        self._write(_proof(key, bytes(self._read(_CHALLENGE)), side))
        if bytes(self._read(1)) != _ACCEPTED:
            self.close()
            raise ChannelRefused

    def _examine(self, key: bytes, other: bytes) -> None:
        challenge = secrets.token_bytes(_CHALLENGE)
        self._write(challenge)
        known = hmac.compare_digest(bytes(self._read(_CHALLENGE)), _proof(key, challenge, other))
        self._write(_ACCEPTED if known else _REFUSED)
        if not known:
            self.close()
            raise ChannelRefused

    def send(
        self,
        table: dict[str, Any],
        arrays: Sequence[np.ndarray | memoryview] = (),
        *,
        timeout_s: float,
    ) -> None:
        """Send a message; each wait for the other side to read is at most ``timeout_s``.

        Raises:
            ChannelClosed, ChannelTimeout: the other side is gone, or does not read.

        """
        self._socket.settimeout(timeout_s)
        kinds = [
            (a.dtype.str, a.shape) if isinstance(a, np.ndarray) else ("|u1", [a.nbytes])
            for a in arrays
        ]
        text = json.dumps([table, kinds]).encode()
        self._write(_HEAD.pack(len(text)) + text)
        for array in arrays:
            if isinstance(array, np.ndarray):
                array = memoryview(np.ascontiguousarray(array)).cast("B") if array.size else b""
            self._write(array)

    def receive(self, *, timeout_s: float | None) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return the next message; None waits as long as the other side lives.

        Raises:
            ChannelClosed, ChannelTimeout: the other side is gone, or silent.

        """
        self._socket.settimeout(timeout_s)
        (length,) = _HEAD.unpack(self._read(_HEAD.size))
        if length > _LONGEST_TABLE:
            raise ChannelClosed(f"a message of {length} bytes: not from a sampler")
        table, kinds = json.loads(bytes(self._read(length)))
        return table, [self._array(np.dtype(dtype), shape) for dtype, shape in kinds]

    @property
    def other_side_left(self) -> bool:
        """Whether a side that has nothing to say now has closed the channel."""
        try:
            self._socket.settimeout(0)
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Close; the other side's next wait ends with ChannelClosed."""
        self._socket.close()

    def _array(self, dtype: np.dtype, shape: Sequence[int]) -> np.ndarray:
        data = self._read(dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
        return np.frombuffer(data, dtype).reshape(shape)

    def _read(self, count: int) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view.nbytes:
            try:
                got = self._socket.recv_into(view)
            except TimeoutError:
                raise ChannelTimeout from None
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if not got:
                raise ChannelClosed("end of stream")
            view = view[got:]
        return data

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise ChannelTimeout from None
        except OSError as error:
            raise ChannelClosed(str(error)) from None


def _proof(key: bytes, challenge: bytes, side: bytes) -> bytes:
    return hmac.new(key, side + challenge, "sha256").digest()
