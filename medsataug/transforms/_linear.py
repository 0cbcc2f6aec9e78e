"""Matrices that rotate, scale, shear, shift or only rearrange what is seen, as pull-back maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import Grid
from medsataug.maps import Affine, SpatialMap, homogeneous

if TYPE_CHECKING:
    from medsataug.transforms.base import State

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


def arranged(
    shape: Sequence[int], order: Sequence[int], backwards: Sequence[int] = ()
) -> SpatialMap:
    """Map whose output axis k is input axis ``order[k]``, mirrored where k is in ``backwards``."""
    n = len(shape)
    linear, offset = np.zeros((n, n)), np.zeros(n)
    for k, source in enumerate(order):
        linear[source, k] = -1 if k in backwards else 1
        offset[source] = shape[source] - 1 if k in backwards else 0
    return SpatialMap(tuple(shape[k] for k in order), (Affine(homogeneous(linear, offset)),))


#: Symmetries of the square: whether the plane's two axes trade places, and which is mirrored then.
SQUARE: dict[str, tuple[bool, bool, bool]] = {
    "e": (False, False, False), "r180": (False, True, True),
    "h": (False, True, False), "v": (False, False, True),
    "t": (True, False, False), "hvt": (True, True, True),
    "r90": (True, True, False), "r270": (True, False, True),
}  # fmt: skip


def square(shape: Sequence[int], first: int, second: int, element: str) -> SpatialMap:
    """Map of one of the `SQUARE` symmetries of the plane of two axes."""
    crossed, *mirrored = SQUARE[element]
    order = list(range(len(shape)))
    if crossed:
        order[first], order[second] = second, first
    return arranged(shape, order, [k for k, m in zip((first, second), mirrored, strict=True) if m])


def alike(state: State, a: int, b: int) -> bool:
    """Whether two axes may trade places without deforming anatomy."""
    size = state.grid.spacing
    return state.geometry == "exact" or bool(np.isclose(size[a], size[b], rtol=1e-3))


def is_thin(shape: Sequence[int]) -> bool:
    """Whether nnU-Net treats a volume slice by slice ("dummy 2D"): longest side > 3 × first."""
    return len(shape) == 3 and max(shape) > 3 * shape[0]
