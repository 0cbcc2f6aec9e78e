"""Another voxel size."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.errors import ConfigError
from medsataug.maps import Affine, SpatialMap, homogeneous
from medsataug.ranges import PositiveLengthPerAxis
from medsataug.transforms.base import Cases, Draws, State, Step, Transform


class Resample(Transform):
    """Resample to exactly the spacing asked, about the same centre; the shape is rounded up.

    Parameters
    ----------
    spacing : range of lengths, or one for each of x, y, z
        Such as ``"1mm"``; a bare number is in units of the present voxel size. Axes that are
        not named keep theirs.
    """

    cases: ClassVar[Cases] = Cases(zero={"spacing": 1}, full={"spacing": (0.6, 0.8)})

    spacing: PositiveLengthPerAxis

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the spacing."""
        step = state.voxels(self.spacing, draws, "spacing")
        step = np.where(step == 0, 1.0, step)
        near = np.abs(step - 1) < 1e-6  # a spacing read from a float32 header is this exact
        step[near] = 1.0
        shape = np.asarray(state.grid.shape)
        size = np.maximum(np.ceil(shape / step - 1e-6).astype(int), 1)
        if size.prod() > 2**34:
            raise ConfigError(f"Resample.spacing: it would make an image of {size.tolist()} voxels")
        if np.all(step == 1):
            return ()
        matrix = homogeneous(np.diag(step), (shape - 1) / 2 - step * (size - 1) / 2)
        return (SpatialMap(tuple(size.tolist()), (Affine(matrix),), regrids=True),)
