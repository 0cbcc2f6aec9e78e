"""Linear interpolation where a voxel's channels lie side by side: several with one instruction.

Same signature and values as `gather`'s kernels. Channels lie one after the other in memory, both
of the source and of the output. Eight or four are taken at once, the last of them overlapping
those before; of two or three, what is read and written too far belongs to the next voxel, whose
turn comes after.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.gather import between_four, has_gaps, lerp, mend, place
from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.vectors import LANES, bilinear_4, bilinear_8, trilinear_4, trilinear_8


@inline
def _finish(src, first, at, frac, steps, j0, run, bands, out, o):
    """Mend a row where it met NaN, and move it to its place; return whether NaN is left."""
    nan, line = False, run[: run.shape[0] - LANES]
    if has_gaps(line):
        nan = mend(src, first, at, frac, steps, j0, bands, line)
    row = out[o : o + line.shape[0]]
    for i in range(row.shape[0]):
        row[i] = line[i]
    return nan


@inline
def _tap(src, o):
    return np.float32(src[o])


@inline
def _edge(src, o, dy, dx, fy, fx):
    """One channel between four pixels, which reads nothing else."""
    a, b = _tap(src, o), _tap(src, o + dx)
    return between_four(a, b, _tap(src, o + dy), _tap(src, o + dy + dx), fy, fx)


@inline
def _edge_3d(src, o, dz, dy, dx, fz, fy, fx):
    a = lerp(_tap(src, o), _tap(src, o + dz), fz)
    b = lerp(_tap(src, o + dx), _tap(src, o + dx + dz), fz)
    c = lerp(_tap(src, o + dy), _tap(src, o + dy + dz), fz)
    d = lerp(_tap(src, o + dy + dx), _tap(src, o + dy + dx + dz), fz)
    return between_four(a, b, c, d, fy, fx)


@kernel
def linear_bands_3d(src, first, at, frac, steps, nx, out, to, strides):
    """`gather.linear_3d` of all channels of a voxel."""
    dz, dy, dx = steps
    bands, start = first.shape[0], first[0]
    last = src.shape[0] - dz - dy - dx - max(bands, LANES)
    run, nan = np.zeros(nx * bands + LANES, np.float32), False
    for row in range(at.shape[0] // nx):
        j0 = row * nx
        for x in range(nx):
            j, i, o = j0 + x, start + at[j0 + x], x * bands
            fz, fy, fx = frac[0, j], frac[1, j], frac[2, j]
            if i > last:
                for c in range(bands):
                    run[o + c] = _edge_3d(src, i + c, dz, dy, dx, fz, fy, fx)
                continue
            if bands >= 2 * LANES:
                for g in range(0, bands, 2 * LANES):
                    c = min(g, bands - 2 * LANES)
                    trilinear_8(src, i + c, dz, dy, dx, fz, fy, fx, run, o + c)
            else:
                for g in range(0, bands, LANES):
                    c = max(min(g, bands - LANES), 0)
                    trilinear_4(src, i + c, dz, dy, dx, fz, fy, fx, run, o + c)
        o = place(row, to[0], strides)
        nan |= _finish(src, start, at, frac, steps, j0, run, bands, out, o)
    return nan


@kernel
def linear_bands_2d(src, first, at, frac, steps, nx, out, to, strides):
    """`linear_bands_3d` in a plane."""
    _, dy, dx = steps
    bands, start = first.shape[0], first[0]
    last = src.shape[0] - dy - dx - max(bands, LANES)
    run, nan = np.zeros(nx * bands + LANES, np.float32), False
    for row in range(at.shape[0] // nx):
        j0 = row * nx
        for x in range(nx):
            j, i, o = j0 + x, start + at[j0 + x], x * bands
            fy, fx = frac[0, j], frac[1, j]
            if i > last:
                for c in range(bands):
                    run[o + c] = _edge(src, i + c, dy, dx, fy, fx)
                continue
            if bands >= 2 * LANES:
                for g in range(0, bands, 2 * LANES):
                    c = min(g, bands - 2 * LANES)
                    bilinear_8(src, i + c, dy, dx, fy, fx, run, o + c)
            else:
                for g in range(0, bands, LANES):
                    c = max(min(g, bands - LANES), 0)
                    bilinear_4(src, i + c, dy, dx, fy, fx, run, o + c)
        o = place(row, to[0], strides)
        nan |= _finish(src, start, at, frac, steps, j0, run, bands, out, o)
    return nan
