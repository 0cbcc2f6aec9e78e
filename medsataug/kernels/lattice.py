"""The greatest displacement of a control lattice, and its inverse at single points.

Source: tensor-product cubic B-splines, Rueckert et al., IEEE TMI 18 (1999), equation 2.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.coords import basis, displace_2d, displace_3d
from medsataug.kernels.jit import inline, kernel


@inline
def _reach(row):
    """Greatest square of (N, n) ``row``: the spline lies in its convex hull and stays below."""
    most = 0.0
    for k in range(row.shape[1]):
        square = 0.0
        for d in range(row.shape[0]):
            square += row[d, k] * row[d, k]
        most = max(most, square)
    return most


@kernel
def peak_3d(c, size, uz, uy, ux, out):
    """Greatest Σ (size · D)² of (3, …) controls over lattice coordinates uz × uy × ux.

    ``out`` (4,) takes it and the lattice coordinates where it is. Rows that cannot reach what is
    known already are passed over, which are nearly all.
    """
    n1, n2 = c.shape[2], c.shape[3]
    cells, along = np.empty(ux.shape[0], np.int64), np.empty((ux.shape[0], 4))
    for e in range(ux.shape[0]):
        cells[e], (along[e, 0], along[e, 1], along[e, 2], along[e, 3]) = basis(ux[e], n2 - 3)
    plane, row = np.empty((3, n1, n2)), np.empty((3, n2))
    best = -1.0
    for a in range(uz.shape[0]):
        i0, w = basis(uz[a], c.shape[1] - 3)
        for d in range(3):
            for j in range(n1):
                for k in range(n2):
                    plane[d, j, k] = (
                        w[0] * c[d, i0, j, k]
                        + w[1] * c[d, i0 + 1, j, k]
                        + w[2] * c[d, i0 + 2, j, k]
                        + w[3] * c[d, i0 + 3, j, k]
                    ) * size[d]
        for b in range(uy.shape[0]):
            i1, w = basis(uy[b], n1 - 3)
            for d in range(3):
                for k in range(n2):
                    row[d, k] = (
                        w[0] * plane[d, i1, k]
                        + w[1] * plane[d, i1 + 1, k]
                        + w[2] * plane[d, i1 + 2, k]
                        + w[3] * plane[d, i1 + 3, k]
                    )
            if _reach(row) <= best:
                continue
            for e in range(ux.shape[0]):
                i2 = cells[e]
                square = 0.0
                for d in range(3):
                    v = (
                        along[e, 0] * row[d, i2]
                        + along[e, 1] * row[d, i2 + 1]
                        + along[e, 2] * row[d, i2 + 2]
                        + along[e, 3] * row[d, i2 + 3]
                    )
                    square += v * v
                if square > best:
                    best = square
                    out[1], out[2], out[3] = uz[a], uy[b], ux[e]
    out[0] = best


@kernel
def peak_2d(c, size, uy, ux, out):
    """`peak_3d` for (2, …) controls; ``out`` is (3,)."""
    n1 = c.shape[2]
    row = np.empty((2, n1))
    best = -1.0
    for b in range(uy.shape[0]):
        i0, w = basis(uy[b], c.shape[1] - 3)
        for d in range(2):
            for k in range(n1):
                row[d, k] = (
                    w[0] * c[d, i0, k]
                    + w[1] * c[d, i0 + 1, k]
                    + w[2] * c[d, i0 + 2, k]
                    + w[3] * c[d, i0 + 3, k]
                ) * size[d]
        if _reach(row) <= best:
            continue
        for e in range(ux.shape[0]):
            i1, w = basis(ux[e], n1 - 3)
            square = 0.0
            for d in range(2):
                v = (
                    w[0] * row[d, i1]
                    + w[1] * row[d, i1 + 1]
                    + w[2] * row[d, i1 + 2]
                    + w[3] * row[d, i1 + 3]
                )
                square += v * v
            if square > best:
                best = square
                out[1], out[2] = uy[b], ux[e]
    out[0] = best


@kernel
def contract_3d(c, origin, spacing, target, rounds, x):
    """Iterate x ← target − D(x) on (3, n) positions; converges where nothing folds."""
    moved = np.empty_like(x)
    for _ in range(rounds):
        moved[:] = x
        displace_3d(c, origin, spacing, moved)
        x[:] = target - (moved - x)


@kernel
def contract_2d(c, origin, spacing, target, rounds, x):
    """`contract_3d` for (2, n) positions."""
    moved = np.empty_like(x)
    for _ in range(rounds):
        moved[:] = x
        displace_2d(c, origin, spacing, moved)
        x[:] = target - (moved - x)
