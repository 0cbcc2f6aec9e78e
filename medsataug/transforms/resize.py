"""Another number of voxels over the same extent."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.errors import ConfigError
from medsataug.maps import Affine, SpatialMap, homogeneous
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, sizes


class Resize(Transform):
    """Resample to a given shape; the outer extent stays, the voxel size changes.

    Parameters
    ----------
    size : int or list of int
        Voxels along (z, y, x).
    """

    cases: ClassVar[Cases] = Cases(None, {"size": 11}, why="another shape")

    size: int | tuple[int, ...]

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        shape = np.asarray(state.grid.shape)
        size = sizes(self.size, state.ndim, "Resize.size")
        if min(size) < 1:
            raise ConfigError(f"Resize.size: {list(size)}; 1 or more expected")
        if size == state.grid.shape:
            return ()
        step = shape / np.asarray(size)
        # Corners stay where they are: edge at −½ in both.
        matrix = homogeneous(np.diag(step), step / 2 - 0.5)
        return (SpatialMap(size, (Affine(matrix),), regrids=True),)
