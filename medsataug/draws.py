"""The only place where chance is: a keyed stream of numbers for each transform.

Philox4x32-10 (`medsataug.kernels.random`) is keyed by BLAKE2b-64 of the canonical (seed, sample
id, index, the transform's key or its name and occurrence). Nothing a transform draws moves the
numbers of another. Conversions from integers to floats are written out here, since those of
libraries may change.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.kernels.random import philox_words
from medsataug.ranges import Range

_BATCH = 16


def stream_key(*parts: Any) -> int:
    """64-bit key of a stream: BLAKE2b-64 of the parts, as text between unit separators."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Draws:
    """Numbers of one transform; what was drawn by name is kept in `log`.

    Parameters
    ----------
    parts : tuple
        What the stream is keyed by.
    """

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.log: dict[str, str] = {}
        self._key = np.uint64(stream_key(*parts))
        self._words: list[int] = []
        self._block = 0

    def child(self, name: str) -> Draws:
        """Return a stream of its own, for a transform within this one."""
        return Draws(*self.parts[:-1], f"{self.parts[-1]}/{name}")

    def keyed(self, key: str) -> Draws:
        """Return the stream of a transform with a key of its own, wherever it stands."""
        return Draws(*self.parts[:-1], key)

    def words(self, count: int) -> NDArray[np.uint32]:
        """(count,) 32-bit words that no other call gets."""
        out = np.empty(count, np.uint32)
        philox_words(self._key, self._block, out)
        self._block += -(-count // 4)
        return out

    def uniform(self) -> float:
        """One number in [0, 1), of 53 bits."""
        if not self._words:
            self._words = self.words(_BATCH).tolist()
        a, b = self._words.pop(0), self._words.pop(0)
        return ((a >> 5) * 67108864 + (b >> 6)) / 9007199254740992

    def uniforms(self, *shape: int) -> NDArray[np.float64]:
        """Numbers in (−1, 1) of 32 bits, exact in float64."""
        words = self.words(int(np.prod(shape)))
        return ((words.astype(np.float64) + 0.5) * 2.0**-31 - 1.0).reshape(shape)

    def key(self) -> int:
        """Key for noise by voxel number."""
        if not self._words:
            self._words = self.words(_BATCH).tolist()
        a, b = self._words.pop(0), self._words.pop(0)
        return a << 32 | b

    def below(self, count: int) -> int:
        """Whole number in 0 … count − 1."""
        return min(int(self.uniform() * count), count - 1)

    def draw(self, name: str, given: Range) -> float:
        """Draw from a range, and note it under ``name``."""
        value = given.at(self.uniform())
        self.note(name, value, given.unit)
        return value

    def note(self, name: str, value: Any, unit: str = "") -> None:
        """Say what was drawn, for `Plan.explain`, records and captions."""
        if isinstance(value, float):
            value = f"{value:.4g}{unit}"
        self.log[name] = f"{self.log[name]}, {value}" if name in self.log else str(value)


def shuffled(count: int, *key: Any) -> list[int]:
    """Return the numbers below ``count`` in an order drawn by ``key``."""
    order: list[int] = np.argsort(Draws(*key).uniforms(count), kind="stable").tolist()
    return order
