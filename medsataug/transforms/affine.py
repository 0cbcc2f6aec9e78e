"""Scaling, shearing, turning and shifting in one."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medsataug.errors import ConfigError
from medsataug.maps import Affine as Matrix
from medsataug.maps import SpatialMap
from medsataug.ranges import Degrees, DegreesPerAxis, LengthPerAxis, PositivePerAxis, Range
from medsataug.transforms.base import Cases, Draws, State, Step, Transform
from medsataug.transforms.rotate import Rotate
from medsataug.transforms.scale import Scale
from medsataug.transforms.shear import Shear
from medsataug.transforms.translate import Translate


class Affine(Transform):
    """Scale, shear, rotate, then translate the content; or apply one given matrix.

    All parts are measured in the frame that the image has before.

    Parameters
    ----------
    scale, shear, degrees, offset : ranges
        As in `Scale`, `Shear`, `Rotate` and `Translate`.
    matrix : (N, N + 1) or (N + 1, N + 1) list, optional
        Fixed pull-back matrix, output index → input index in array order (voxel centres), in
        place of the rest.
    frame : {"physical", "index"}
        As in `Rotate`.

    Source: homogeneous coordinates, Foley et al., Computer Graphics (1996), section 5.3.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"scale": 1, "shear": 0, "degrees": 0, "offset": 0},
        full={"scale": (1.2, 1.3), "shear": 5, "degrees": 20, "offset": 2},
    )

    scale: PositivePerAxis = Range.of(1)
    shear: Degrees = Range.of(0)
    degrees: DegreesPerAxis = Range.of(0)
    offset: LengthPerAxis = Range.of(0)
    matrix: tuple[tuple[float, ...], ...] | None = None
    frame: Literal["physical", "index"] = "physical"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw each part; the plan multiplies their matrices."""
        if self.matrix is not None:
            n = state.ndim
            given = np.array(self.matrix, dtype=np.float64)
            if given.shape not in ((n, n + 1), (n + 1, n + 1)):
                raise ConfigError(
                    f"Affine.matrix: {given.shape[0]} rows of {given.shape[1]}; a {n}D image "
                    f"needs {n} or {n + 1} rows of {n + 1}"
                )
            whole = np.eye(n + 1)
            whole[: len(given)] = given
            if abs(np.linalg.det(whole)) < 1e-12:
                raise ConfigError("Affine.matrix: it cannot be inverted")
            depth = whole[n, :n] @ (np.array(state.grid.shape) - 1) / 2 + whole[n, n]
            if depth == 0:
                raise ConfigError("Affine.matrix: its horizon crosses the centre of the image")
            whole /= depth  # what is in view is where the homogeneous coordinate is positive
            return (SpatialMap(state.grid.shape, (Matrix(whole),)),)
        parts: tuple[Transform, ...] = (
            Scale(factor=self.scale),
            Shear(degrees=self.shear, frame=self.frame),
            Rotate(degrees=self.degrees, frame=self.frame),
            Translate(offset=self.offset),
        )
        return tuple(step for part in parts for step in part.sample(draws, state))
