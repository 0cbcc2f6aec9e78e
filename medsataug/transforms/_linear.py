"""Matrices that rotate, scale, shear and shift what is seen, as pull-back maps about the centre."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import Grid
from medsataug.maps import Affine, SpatialMap, about, homogeneous

Frame = Literal["physical", "index"]
Linear = NDArray[np.float64]


def frame_of(grid: Grid, frame: Frame) -> Linear:
    """(N, N) map from index steps to an orthonormal frame along the array's axes.

    ``physical``: lengths are true, so that a rotation there is rigid whatever the voxel size.
    The frame is the orthonormal polar factor of the affine with unit columns; for axes at right
    angles it is diagonal. ``index``: voxels count as cubes.
    """
    if frame == "index":
        return np.eye(grid.ndim)
    physical = grid.physical
    lengths = np.linalg.norm(physical, axis=0)
    u, _, vt = np.linalg.svd(physical / lengths, full_matrices=False)
    local = (u @ vt).T @ physical
    # The scale of the frame cancels; near 1 its numbers stay readable.
    local = local / lengths.min()
    off = local - np.diag(np.diag(local))
    return np.diag(np.diag(local)) if np.abs(off).max() < 1e-9 * np.abs(local).max() else local


def rotation(radians: NDArray[np.float64]) -> Linear:
    """(N, N) rotation in array order; N = 2 takes one angle (z), N = 3 takes (z, y, x).

    Positive turns follow the right-hand rule about the increasing axis in x, y, z: about z, what
    lies along +x moves towards +y. R = Rz · Ry · Rx.
    """
    n = 2 if len(radians) == 1 else 3
    total = np.eye(n)
    # About (z, y, x) the turn takes one axis (counted from the last) towards the next.
    for angle, (start, towards) in zip(radians, ((1, 2), (3, 1), (2, 3)), strict=False):
        r = np.eye(n)
        c, s = np.cos(angle), np.sin(angle)
        a, b = n - start, n - towards
        r[a, a], r[b, b], r[b, a], r[a, b] = c, c, s, -s
        total = total @ r
    return total


def shown(grid: Grid, content: Linear, frame: Frame, shift_vox: Linear | None = None) -> SpatialMap:
    """Map under which the content moves by ``content``, about the centre, then by ``shift_vox``.

    ``content`` is (N, N) in the given frame.
    """
    basis = frame_of(grid, frame)
    src_from_dst = np.linalg.solve(basis, np.linalg.solve(content, basis))
    centre = (np.asarray(grid.shape) - 1) / 2
    matrix = about(centre, clean(src_from_dst))
    if shift_vox is not None:
        matrix = matrix @ homogeneous(np.eye(grid.ndim), -shift_vox)
    return SpatialMap(grid.shape, (Affine(matrix),))


def clean(linear: Linear) -> Linear:
    """Set what is only rounding to what it stands for: 0 and ±1 become exact."""
    near = np.round(linear)
    return np.where((np.abs(linear - near) < 1e-12) & (np.abs(near) <= 1), near, linear)


def moves(linear: Linear) -> bool:
    """Whether a content matrix does anything."""
    return not np.array_equal(linear, np.eye(len(linear)))
