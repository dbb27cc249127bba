"""Random numbers as pure functions of what they are for.

Nothing here keeps a state: a draw is named by (seed, step, prompt, sample, position), so it
does not depend on the order or the company in which it is asked for, and a resumed run needs
no saved generator. The mixing function is SplitMix64 (Steele, Lea and Flood, 2014).
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of the 64-bit words, each bit of which moves half."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def stream_key(purpose: str, *parts: ArrayLike) -> NDArray[np.uint64]:
    """Return 64-bit keys, one for each element of the broadcast integer ``parts``.

    ``purpose`` keeps streams of different uses apart ("sampling", "order", ...).

    >>> a = stream_key("sampling", 1, 7, [3, 4], 0)
    >>> bool(a[0] == stream_key("sampling", 1, 7, 3, 0)), bool(a[0] == a[1])
    (True, False)
    """
    with np.errstate(over="ignore"):
        key = _mix(np.asarray(zlib.crc32(purpose.encode()), dtype=np.uint64) + _GOLDEN)
        for part in parts:
            word = np.asarray(part).astype(np.int64).astype(np.uint64)
            key = _mix(key * np.uint64(3) + _mix(word + _GOLDEN) + _GOLDEN)
    return key


def uniforms(keys: ArrayLike, position: ArrayLike = 0) -> NDArray[np.float64]:
    """Return numbers in [0, 1), 53 bits each, for keys x position (broadcast)."""
    with np.errstate(over="ignore"):
        counter = (np.asarray(position).astype(np.uint64) + np.uint64(1)) * _GOLDEN
        words = _mix(np.asarray(keys, dtype=np.uint64) + counter)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def generator(purpose: str, *parts: int) -> np.random.Generator:
    """Return a fresh NumPy generator whose whole stream is named by its arguments."""
    return np.random.Generator(np.random.PCG64(int(stream_key(purpose, *parts))))
