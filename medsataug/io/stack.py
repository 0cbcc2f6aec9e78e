"""Several files as the channels of one image, without reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.io.base import Loaded
from medsataug.types import Array, LazyImage, Window


class StackedImage:
    """Channels of several images on one grid; at least one of them is read piece by piece."""

    def __init__(self, parts: Sequence[Loaded]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0].grid.shape
        self.shape: tuple[int, ...] = (sum(p.image.shape[0] for p in self.parts), *first)
        self.dtype: np.dtype[Any] = np.result_type(*(p.image.dtype for p in self.parts))

    def read(self, window: Window) -> Array:
        """(C, *window) values."""
        read = [
            p.image.read(window) if isinstance(p.image, LazyImage) else p.image[:, *window]
            for p in self.parts
        ]
        return np.concatenate(read).astype(self.dtype, copy=False)

    def read_valid(self, window: Window) -> NDArray[np.bool_] | None:
        """(C, *window) True where there is data, or None where all of it is."""
        found = []
        for part in self.parts:
            if isinstance(part.image, LazyImage):
                found.append(part.image.read_valid(window))
            else:
                found.append(None if part.valid is None else part.valid[:, *window])
        if all(valid is None for valid in found):
            return None
        sizes = [len(range(*s.indices(n))) for s, n in zip(window, self.shape[1:], strict=True)]
        return joined_valid(found, [p.image.shape[0] for p in self.parts], sizes)

    @property
    def digest(self) -> str:
        """BLAKE2b-64 of the parts' content."""
        state = hashlib.blake2b(digest_size=8)
        for part in self.parts:
            if isinstance(part.image, LazyImage):
                state.update(str(getattr(part.image, "digest", "")).encode())
            else:
                state.update(np.ascontiguousarray(part.image).data)
        return state.hexdigest()


def joined_valid(
    parts: Sequence[NDArray[np.bool_] | None], channels: Sequence[int], shape: Sequence[int]
) -> NDArray[np.bool_] | None:
    """(sum of channels, *shape) from masks of one plane, of every channel, or None (all valid)."""
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [
            np.broadcast_to(np.ones((1, *shape), bool) if part is None else part, (count, *shape))
            for part, count in zip(parts, channels, strict=True)
        ]
    )


def joined(parts: Sequence[Loaded]) -> tuple[Array | LazyImage, NDArray[np.bool_] | None]:
    """Image and validity of all parts' channels."""
    if len(parts) == 1:
        return parts[0].image, parts[0].valid
    if any(isinstance(p.image, LazyImage) for p in parts):
        return StackedImage(parts), None
    arrays = [np.asarray(p.image) for p in parts]
    valid = joined_valid([p.valid for p in parts], list(map(len, arrays)), parts[0].grid.shape)
    return np.concatenate(arrays), valid
