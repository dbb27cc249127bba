"""Messages between processes: four bytes of length, then JSON.

JSON and never pickle: what comes out of an untrusted process must stay data.
"""

from __future__ import annotations

import json
import os

MAX_FRAME_BYTES = 256 << 20
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class FrameError(Exception):
    """The other side sent something that is no message."""


def _read_exactly(fd: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def pack(message: object) -> bytes:
    """The bytes of a message; NaN and infinities survive, lone surrogates too."""
    body = _ENCODER.encode(message).encode()
    return len(body).to_bytes(4, "big") + body


def unpack(body: bytes) -> object:
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a message: {error}") from error


def send(fd: int, message: object) -> None:
    data = memoryview(pack(message))
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int) -> object | None:
    """The next message, or None once the other side is gone."""
    head = _read_exactly(fd, 4)
    if head is None:
        return None
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    body = _read_exactly(fd, length)
    return None if body is None else unpack(body)
