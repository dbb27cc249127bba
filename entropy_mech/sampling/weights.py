"""Weights in one file, so that another process reads them without a copy in between.

The file is the tensors' bytes, each at a multiple of 64, then a table of contents (JSON), then
the table's length and a magic word. The table comes last, so that weights can be written as they
are gathered; a file without the magic word at its end was never finished, and is refused.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from entropy_mech.errors import UserError, cannot_write

_MAGIC = b"EMWEIGHT"
_TAIL = struct.Struct("<Q8s")
_ALIGNMENT = 64
SHARED_MEMORY = Path("/dev/shm")


class WeightWriter:
    """Writes tensors one after the other; the file has its name only once it is complete."""

    def __init__(self, path: Path, *, policy_version: int):
        self.path, self.policy_version = path, policy_version
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        self._file: BinaryIO = open(self._unfinished, "wb")  # noqa: SIM115 (closed by finish)
        self._entries: list[tuple[str, str, list[int], int, int]] = []

    def add(self, name: str, dtype: torch.dtype, shape: Iterable[int], data: memoryview) -> None:
        """Append one tensor's bytes (row-major).

        Raises:
            UserError: the file's place is full.

        """
        try:
            start = self._file.tell()
            gap = -start % _ALIGNMENT
            self._file.write(bytes(gap))
            self._file.write(data)
        except OSError as error:
            self.discard()
            raise self._full(error) from None
        self._entries.append((name, dtype_name(dtype), list(shape), start + gap, len(data)))

    def finish(self) -> Path:
        """Write the table of contents and give the file its name."""
        table = {"policy_version": self.policy_version, "tensors": self._entries}
        text = json.dumps(table).encode()
        try:
            self._file.write(text + _TAIL.pack(len(text), _MAGIC))
            self._file.close()
            os.replace(self._unfinished, self.path)
        except OSError as error:
            self.discard()
            raise self._full(error) from None
        return self.path

    def discard(self) -> None:
        """Remove what was written."""
        try:
            self._file.close()
        except OSError:  # closing writes what is buffered, and the disk is still full
            pass
        finally:
            self._unfinished.unlink(missing_ok=True)

    def _full(self, error: OSError) -> Exception:
        if error.errno == errno.ENOSPC:
            written = sum(entry[-1] for entry in self._entries) / 2**30
            return UserError(
                f"sampler.sync_transport: {self.path.parent} is full after {written:.1f} GiB of "
                "weights; give it room for the whole model (docker: --shm-size), or "
                'sync_transport = "disk" or "connection"'
            )
        return cannot_write(self.path.parent, error) or error


def write_weights(
    path: Path,
    weights: Iterable[tuple[str, Tensor]],
    *,
    dtype: torch.dtype,
    policy_version: int,
) -> Path:
    """Write all tensors, floating-point ones as ``dtype``; at any time one of them is on the host.

    Raises:
        UserError: the file's place is full.

    """
    writer = WeightWriter(path, policy_version=policy_version)
    try:
        for name, tensor in weights:
            host = on_host(tensor, dtype)
            writer.add(name, host.dtype, host.shape, bytes_of(host))
        return writer.finish()
    except BaseException:
        writer.discard()
        raise


class WeightFile:
    """A finished file, mapped into memory; its tensors are views that live as long as it is open.

    Raises:
        UserError: the file is not complete.

    """

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _TAIL.size:
                raise UserError(f"{path}: is no complete file of weights; sync again")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        length, magic = _TAIL.unpack(self._map[size - _TAIL.size :])
        if magic != _MAGIC:
            raise UserError(f"{path}: is no complete file of weights; sync again")
        table = json.loads(self._map[size - _TAIL.size - length : size - _TAIL.size])
        self.policy_version: int = table["policy_version"]
        self._entries = table["tensors"]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, dtype, shape, start, length in self._entries:
            kind = getattr(torch, dtype)
            count = length // kind.itemsize
            flat = torch.frombuffer(self._map, dtype=kind, count=count, offset=start)
            yield name, flat.view(shape)


def on_host(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor contiguous in host memory, as ``dtype`` if it is of floating point."""
    kind = dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(device="cpu", dtype=kind).contiguous()


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a contiguous tensor in host memory, without a copy."""
    return memoryview(tensor.flatten().view(torch.uint8).numpy())


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name under ``torch``.

    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")
