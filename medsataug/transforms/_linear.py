"""Matrices that rotate, scale, shear and shift what is seen, as pull-back maps about the centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import Grid
from medsataug.maps import Affine, SpatialMap, homogeneous

Frame = Literal["physical", "index"]
Linear = NDArray[np.float64]


def rotation(radians: Sequence[float], ndim: int) -> Linear:
    """(N, N) rotation in array order by angles about (z, y, x); 2D takes the first.

    Positive turns follow the right-hand rule about the increasing axis in x, y, z: about z, what
    lies along +x moves towards +y. R = Rz · Ry · Rx.
    """
    (sz, cz), (sy, cy), (sx, cx) = (_exact(math.sin(a), math.cos(a)) for a in radians)
    if ndim == 2:
        return np.array([[cz, sz], [-sz, cz]])
    return np.array(
        [
            [cy * cx, cy * sx, -sy],
            [sz * sy * cx - cz * sx, sz * sy * sx + cz * cx, sz * cy],
            [cz * sy * cx + sz * sx, cz * sy * sx - sz * cx, cz * cy],
        ]
    )


def _exact(*values: float) -> tuple[float, ...]:
    """Values with rounding noise about 0 set to 0, so that quarter turns only move voxels."""
    return tuple(v if abs(v) > 1e-15 else 0.0 for v in values)


def shown(grid: Grid, back: Linear, frame: Frame, shift_vox: Linear | None = None) -> SpatialMap:
    """Map under which the content moves about the centre, then by ``shift_vox``.

    ``back`` (N, N) is the inverse of the content's motion, in the given frame: in ``"physical"``
    lengths are true, so that a rotation is rigid whatever the voxel size; in ``"index"`` voxels
    count as cubes.
    """
    if frame == "physical":
        basis = grid.frame
        diagonal = basis.diagonal()
        if np.count_nonzero(basis) == len(basis):
            back = back * (diagonal / diagonal[:, None])
        else:
            back = np.asarray(np.linalg.solve(basis, back @ basis))
    centre = (np.array(grid.shape) - 1) / 2
    offset = centre - back @ centre
    if shift_vox is not None:
        offset -= back @ shift_vox
    return SpatialMap(grid.shape, (Affine(homogeneous(back, offset)),))
