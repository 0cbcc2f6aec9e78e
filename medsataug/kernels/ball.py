"""How far voxels are from a mask, up to a few voxels: growing and shrinking by a ball.

Squared distances are whole numbers, and their least is found axis by axis. That costs a few
additions a voxel and axis, whereas a ball of radius 8 has 2109 voxels.

Source: Saito and Toriwaki, Pattern Recognition 27 (1994) 1551, sections 3 and 4.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import kernel


@kernel
def squared_distances(inside, reach, rows, out):
    """(Z, Y, X) uint16 ``out`` = squared distance to the nearest voxel of ``inside``, in voxels.

    Exact up to ``reach`` (at most 100); farther ones are some number above its square. ``rows``
    is a scratch of the same shape. Beyond the border nothing is inside.
    """
    nz, ny, nx = inside.shape
    far = reach + 1
    for z in range(nz):
        for y in range(ny):
            line, away = inside[z, y], far
            for x in range(nx):
                away = 0 if line[x] else min(away + 1, far)
                rows[z, y, x] = away
            away = far
            for x in range(nx - 1, -1, -1):
                away = 0 if line[x] else min(away + 1, far)
                nearest = min(np.int64(rows[z, y, x]), away)
                rows[z, y, x] = nearest * nearest
    for z in range(nz):
        for y in range(ny):
            least = out[z, y]
            least[:] = rows[z, y]
            for k in range(max(y - reach, 0), min(y + reach + 1, ny)):
                _lower(least, rows[z, k], np.uint16((k - y) * (k - y)))
    rows[:] = out
    for z in range(nz):
        for k in range(max(z - reach, 0), min(z + reach + 1, nz)):
            if k == z:
                continue
            for y in range(ny):
                _lower(out[z, y], rows[k, y], np.uint16((k - z) * (k - z)))


@kernel
def _lower(least, other, more):
    """(n,) ``least`` = the lesser of itself and ``other`` + ``more``."""
    for x in range(least.shape[0]):
        least[x] = min(least[x], np.uint16(other[x] + more))
