"""Control lattices of elastic deformations: their layout, their peak, their limit."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import Grid
from medsataug.kernels.lattice import peak_2d, peak_3d
from medsataug.maps import Displacement

Vector = NDArray[np.float64]
#: Largest control displacement that cannot fold, in lattice spacings: 1 over these, by dimension.
#: Source: Choi and Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions",
#: Graphical Models 62 (2000), theorems 1 and 2.
FOLD_FREE = {2: 2.046392675, 3: 2.479472335}


def layout(shape: tuple[int, ...], spacing_vox: Vector) -> tuple[tuple[int, ...], Vector, Vector]:
    """Cells, origin and spacing (voxels) of a lattice that spans a frame edge to edge.

    The spacing is at least the asked one: widened so that a whole number of cells fits, or
    reaching beyond a frame smaller than one cell. What it allows thus never depends on the frame.
    """
    n = np.array(shape, dtype=np.float64)
    cells = np.maximum(np.floor(n / spacing_vox + 1e-9), 1)
    spacing = np.maximum(n / cells, spacing_vox)
    origin = (n - 1 - cells * spacing) / 2
    return tuple(int(c) for c in cells), origin, spacing


def unit_m(grid: Grid) -> Vector:
    """(N,) voxel sizes in metres, or ones where sizes are unknown."""
    size = grid.spacing_m
    return np.ones(grid.ndim) if size is None else size


def peak(controls: NDArray[np.float64], size: Vector, overhang: Vector) -> float:
    """Largest |D| (Euclidean, after scaling axis k by ``size[k]``) of (N, …) controls.

    Searched some times a cell, then 4 times finer around the largest: within 2 % of a
    dense search (tests/transforms/test_elastic.py). ``overhang`` (N,) is the part of the lattice,
    in cells, that lies beyond the frame at each end and does not count.
    """
    n = len(controls)
    search, out = (peak_2d if n == 2 else peak_3d), np.empty(n + 1)
    cells = [m - 3 for m in controls.shape[1:]]
    over = overhang.tolist()
    per_cell = _PER_CELL[n]
    grid = (knots(c, o, per_cell) for c, o in zip(cells, over, strict=True))
    search(controls, size, *grid, out)
    best = out[0]
    near = [at + _AROUND / per_cell for at in out[1:].tolist()]
    inside = (np.clip(u, o, c - o) for u, c, o in zip(near, cells, over, strict=True))
    search(controls, size, *inside, out)
    return math.sqrt(max(best, out[0]))


#: Points a cell where the peak is looked for first: fewer miss it by 3 % now and then.
_PER_CELL = {2: 4, 3: 3}
_AROUND = np.linspace(-1, 1, 9)


@lru_cache(maxsize=64)
def knots(cells: int, overhang: float, per_cell: int) -> Vector:
    """Lattice coordinates in the frame, ``per_cell`` in every cell."""
    return np.clip(np.arange(per_cell * cells + 1) / per_cell, overhang, cells - overhang)


def displacement(controls: NDArray[np.float64], origin: Vector, spacing: Vector) -> Displacement:
    """Return the map part of (N, …) controls in voxels."""
    return Displacement(np.ascontiguousarray(controls, dtype=np.float32), origin, spacing)
