"""Control lattices of elastic deformations: their layout, their peak, their limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import Grid
from medsataug.maps import Displacement, basis_matrix

Vector = NDArray[np.float64]
#: Largest control displacement that cannot fold, in lattice spacings: 1 over these, by dimension.
#: Source: Choi and Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions",
#: Graphical Models 62 (2000), theorems 1 and 2.
FOLD_FREE = {2: 2.046392675, 3: 2.479472335}


def layout(shape: tuple[int, ...], spacing_vox: Vector) -> tuple[tuple[int, ...], Vector, Vector]:
    """Cells, origin and spacing (voxels) of a lattice that spans a frame edge to edge.

    The spacing is the asked one rounded so that a whole number of cells fits.
    """
    n = np.asarray(shape, dtype=np.float64)
    cells = np.maximum(np.rint(n / np.maximum(spacing_vox, 2.0)), 1).astype(int)
    return tuple(cells.tolist()), np.full(len(shape), -0.5), n / cells


def unit_m(grid: Grid) -> Vector:
    """(N,) voxel sizes in metres, or ones where sizes are unknown."""
    size = grid.spacing_m
    return np.ones(grid.ndim) if size is None else size


def peak(controls: NDArray[np.float64], size: Vector, fine: int = 8) -> float:
    """Largest |D| (Euclidean, after scaling axis k by ``size[k]``) of (N, …) controls.

    Searched at the knots and cell centres, then ``fine`` times finer around the largest: within
    .5 % of a dense search (tests/transforms/test_elastic.py).
    """
    coarse = 2
    squares = _squares(controls, size, coarse)
    at = np.unravel_index(int(np.argmax(squares)), squares.shape)
    best = float(squares[at])
    parts = []
    for k, i in enumerate(at):
        cells = controls.shape[k + 1] - 3
        cell = int(np.clip((i - 1) // coarse, 0, max(cells - 2, 0)))
        parts.append(slice(cell, cell + min(cells, 2) + 3))
    near = controls[(slice(None), *parts)]
    return float(np.sqrt(max(best, float(_squares(near, size, fine).max()))))


def _squares(controls: NDArray[np.float64], size: Vector, per_cell: int) -> NDArray[np.float64]:
    field = controls * size.reshape(-1, *[1] * (controls.ndim - 1))
    for k in range(1, controls.ndim):
        matrix = basis_matrix(controls.shape[k] - 3, per_cell)
        field = np.moveaxis(np.tensordot(field, matrix, (k, 1)), -1, k)
    return np.asarray(np.einsum("i...,i...->...", field, field))


def displacement(
    controls: NDArray[np.float64], origin: Vector, spacing: Vector
) -> Displacement:
    """Return the map part of (N, …) controls in voxels."""
    return Displacement(np.ascontiguousarray(controls, dtype=np.float32), origin, spacing)
