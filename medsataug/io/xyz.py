"""Affines of volume files, in x-y-z order, and grids, in array order.

A file with one slice is a 2D image in a 3D world: its grid has a (4, 3) affine. How thick the
slice is fits nowhere in such a grid and travels beside it, as a signed number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import MM, RAS_MM, Grid

Matrix = NDArray[np.float64]


def grid_of_xyz(sizes: Sequence[int], affine: Matrix) -> Grid:
    """Grid of ``sizes`` (X, Y, Z) voxels placed by a (4, 4) ``affine`` to RAS millimetres."""
    columns = [1, 0, 3] if sizes[2] == 1 else [2, 1, 0, 3]
    shape = sizes[1::-1] if sizes[2] == 1 else sizes[::-1]
    return Grid(tuple(shape), affine[:, columns], RAS_MM, (1e-3,) * 3)


def plain_grid(sizes: Sequence[int], spacing_mm: Sequence[float] | None) -> Grid:
    """Grid of ``sizes`` (X, Y, Z) voxels whose orientation nobody states."""
    n = 2 if sizes[2] == 1 else 3
    spacing = None if spacing_mm is None else spacing_mm[:n][::-1]
    return Grid.regular(tuple(sizes[:n][::-1]), spacing)


def slice_mm(affine: Matrix) -> float:
    """Signed thickness: how far one step in z goes along the cross product of x and y."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return float(affine[:3, 2] @ normal / np.linalg.norm(normal))


def xyz_of_grid(grid: Grid, thickness_mm: float = 1.0) -> Matrix | None:
    """(4, 4) affine of ``grid`` from (x, y, z) indices; None where it is not placed in RAS."""
    if grid.world != RAS_MM:
        return None
    if grid.ndim == 3:
        return np.asarray(grid.affine[:, [2, 1, 0, 3]])
    x, y = grid.affine[:3, 1], grid.affine[:3, 0]
    normal = np.cross(x, y)
    step = np.append(normal / np.linalg.norm(normal) * thickness_mm, 0)
    return np.column_stack([grid.affine[:, 1], grid.affine[:, 0], step, grid.affine[:, 2]])


def spacing_xyz_mm(grid: Grid, thickness_mm: float = 1.0) -> list[float]:
    """Voxel sizes (x, y, z) in millimetres; 1 where they are unknown."""
    sizes = grid.spacing if grid.world == MM else grid.spacing_m
    if sizes is None:
        return [1.0, 1.0, 1.0]
    if grid.world != MM:
        sizes = sizes * 1e3
    return [float(s) for s in sizes[::-1]] + [abs(thickness_mm)] * (3 - grid.ndim)


def corners_apart(sizes: Sequence[int], first: Matrix, second: Matrix) -> float:
    """Largest distance between two (4, 4) affines at the corners of a volume, in voxels."""
    ends = [(0, n - 1) for n in sizes]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    away = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    voxel = np.linalg.norm(first[:3, :3], axis=0).min()
    return float(np.linalg.norm(away, axis=1).max() / voxel)


def placeable(affine: Matrix) -> bool:
    """Whether ``affine`` is finite and can be inverted."""
    linear = affine[:3, :3]
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(linear, axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(linear / lengths)) > 1e-6)
