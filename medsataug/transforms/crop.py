"""Cutting out."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.errors import ConfigError
from medsataug.maps import Affine, SpatialMap, homogeneous
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, sizes


def window(shape: tuple[int, ...], start: tuple[int, ...]) -> SpatialMap:
    """Map of a part of ``shape`` that begins at ``start``; it may reach beyond the frame."""
    matrix = homogeneous(np.eye(len(shape)), np.asarray(start, dtype=np.float64))
    return SpatialMap(shape, (Affine(matrix),), regrids=True)


class Crop(Transform):
    """Keep a box of the image, in the middle or from a given corner.

    Parameters
    ----------
    size : int or list of int
        Voxels along (z, y, x).
    start : list of int, optional
        First voxel kept, along (z, y, x); by default the box is centred.
    """

    cases: ClassVar[Cases] = Cases(None, {"size": 8}, why="a box smaller than the image")

    size: int | tuple[int, ...]
    start: tuple[int, ...] | None = None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        shape = state.grid.shape
        size = sizes(self.size, state.ndim, "Crop.size")
        start = self.start or tuple((n - s) // 2 for n, s in zip(shape, size, strict=True))
        start = sizes(start, state.ndim, "Crop.start")
        if any(s < 1 or a < 0 or a + s > n for a, s, n in zip(start, size, shape, strict=True)):
            raise ConfigError(
                f"Crop: size {list(size)} from {list(start)} does not lie in the image of "
                f"{list(shape)}; make it smaller, or use Patch or Pad, which fill"
            )
        return () if size == shape else (window(size, start),)
