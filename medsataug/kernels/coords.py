"""From output index to input position: block by block, never a dense field.

Positions are computed from absolute indices in float64 and split into the integer below and a
float32 fraction (float32 alone resolves .002 voxel at index 20 000). A block is a box of output
voxels: its first index ``start`` and its ``size``. ``idx`` and ``frac`` are (N, voxels);
``extent`` (N, 2) receives the least and greatest integer of each axis. Positions are kept
within ``limits`` (N, 2): so far outside, everything is border.

Every inner loop runs over slices from 0, and loads what it needs into locals first: LLVM then
proves that nothing overlaps or wraps around, and vectorises it (3.5 times faster at 128³).
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel


@inline
def _split_row(base, step, x0, bend, limits, idx, frac, extent):
    """Split ``base + step · x + bend`` for the x of a row from ``x0`` on; widen ``extent`` by it.

    NaN (a perspective's horizon) counts as far outside.
    """
    least, most = limits[0], limits[1]
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for x in range(idx.shape[0]):
        p = base + step * (x0 + x) + bend[x]
        p = min(max(p, least), most) if p == p else least
        f = np.floor(p)
        i = np.int32(f)
        idx[x] = i
        frac[x] = np.float32(p - f)
        low = min(low, i)
        high = max(high, i)
    extent[0] = min(extent[0], low)
    extent[1] = max(extent[1], high)


@inline
def _nothing_yet(extent):
    extent[:, 0] = np.int32(0x7FFFFFFF)
    extent[:, 1] = np.int32(-0x80000000)


@kernel
def affine_3d(m, start, size, limits, idx, frac, extent):
    """Positions ``m @ (z, y, x, 1)``; ``m`` is (3, 4) float64."""
    nx = size[2]
    straight = np.zeros(nx)
    _nothing_yet(extent)
    for r in range(size[0] * size[1]):
        z, y = start[0] + r // size[1], start[1] + r % size[1]
        at, end = r * nx, (r + 1) * nx
        for k in range(3):
            base = m[k, 0] * z + m[k, 1] * y + m[k, 3]
            rows = idx[k, at:end], frac[k, at:end]
            _split_row(base, m[k, 2], start[2], straight, limits[k], *rows, extent[k])


@kernel
def affine_2d(m, start, size, limits, idx, frac, extent):
    """Positions ``m @ (y, x, 1)``; ``m`` is (2, 3) float64."""
    nx = size[1]
    straight = np.zeros(nx)
    _nothing_yet(extent)
    for r in range(size[0]):
        at, end = r * nx, (r + 1) * nx
        for k in range(2):
            base = m[k, 0] * (start[0] + r) + m[k, 2]
            rows = idx[k, at:end], frac[k, at:end]
            _split_row(base, m[k, 1], start[1], straight, limits[k], *rows, extent[k])


@inline
def basis(u, cells):
    """Cell of lattice coordinate ``u`` and its four cubic B-spline weights.

    Beyond the lattice the displacement continues as at its edge.
    """
    i = min(max(np.floor(u), 0.0), cells - 1.0)
    t = min(max(u - i, 0.0), 1.0)
    s = 1.0 - t
    return np.int64(i), (
        s * s * s / 6,
        (3 * t - 6) * t * t / 6 + 2 / 3,
        (3 * s - 6) * s * s / 6 + 2 / 3,
        t * t * t / 6,
    )


@inline
def _cells(scale, offset, x0, cells, cell, stop, t):
    """Lattice cell of every x of a row, where its stretch of one cell stops, and t = u − cell.

    Returns the first control that the row needs, and one past the last.
    """
    nx = cell.shape[0]
    for x in range(nx):
        u = scale * (x0 + x) + offset
        i = min(max(np.floor(u), 0.0), cells - 1.0)
        cell[x] = np.int64(i)
        t[x] = min(max(u - i, 0.0), 1.0)
    stop[nx - 1] = nx
    for x in range(nx - 2, -1, -1):
        stop[x] = stop[x + 1] if cell[x] == cell[x + 1] else x + 1
    return min(cell[0], cell[nx - 1]), max(cell[0], cell[nx - 1]) + 4


@inline
def _polynomial(e, k, i):
    """Coefficients of the spline within cell ``i``, a cubic in t = u − i."""
    e0, e1, e2, e3 = e[k, i], e[k, i + 1], e[k, i + 2], e[k, i + 3]
    return (
        (e0 + 4 * e1 + e2) / 6,
        (e2 - e0) / 2,
        (e0 - 2 * e1 + e2) / 2,
        (-e0 + 3 * e1 - 3 * e2 + e3) / 6,
    )


@kernel
def lattice_3d(c, scale, offset, m, linear, start, size, limits, idx, frac, extent):
    """Positions ``m @ i + linear @ D(i)`` where the lattice is aligned with the rows.

    ``c`` (3, n0, n1, n2) float32 holds control displacements, ``scale`` and ``offset`` map an
    output index to the lattice coordinate of each axis. The lattice is contracted over z once
    a plane and over y once a row; along the row it is one cubic polynomial a cell, which
    vectorises (measured: 1.2 ns a voxel and axis against 22 ns for 64 taps).
    """
    ny, nx, n1, n2 = size[1], size[2], c.shape[2], c.shape[3]
    cell, stop, t = np.empty(nx, np.int64), np.empty(nx, np.int64), np.empty(nx)
    first, last = _cells(scale[2], offset[2], start[2], n2 - 3, cell, stop, t)
    ends = scale[1] * start[1] + offset[1], scale[1] * (start[1] + ny - 1) + offset[1]
    top, bottom = basis(min(ends[0], ends[1]), n1 - 3)[0], basis(max(ends[0], ends[1]), n1 - 3)[0]
    plane = np.zeros((3, n1, n2))
    row, e, bend = np.empty((3, n2)), np.empty((3, n2)), np.empty((3, nx))
    _nothing_yet(extent)
    for r in range(size[0] * ny):
        z, y = start[0] + r // ny, start[1] + r % ny
        if r % ny == 0:
            i0, w = basis(scale[0] * z + offset[0], c.shape[1] - 3)
            for d in range(3):
                for b in range(top, bottom + 4):
                    for j in range(first, last):
                        plane[d, b, j] = (
                            w[0] * c[d, i0, b, j]
                            + w[1] * c[d, i0 + 1, b, j]
                            + w[2] * c[d, i0 + 2, b, j]
                            + w[3] * c[d, i0 + 3, b, j]
                        )
        i1, w = basis(scale[1] * y + offset[1], n1 - 3)
        for d in range(3):
            for j in range(first, last):
                row[d, j] = (
                    w[0] * plane[d, i1, j]
                    + w[1] * plane[d, i1 + 1, j]
                    + w[2] * plane[d, i1 + 2, j]
                    + w[3] * plane[d, i1 + 3, j]
                )
        for k in range(3):
            for j in range(first, last):
                e[k, j] = (
                    linear[k, 0] * row[0, j] + linear[k, 1] * row[1, j] + linear[k, 2] * row[2, j]
                )
        x = 0
        while x < nx:
            end = stop[x]
            p0, p1, p2, p3 = _polynomial(e, 0, cell[x])
            q0, q1, q2, q3 = _polynomial(e, 1, cell[x])
            r0, r1, r2, r3 = _polynomial(e, 2, cell[x])
            ts, bend0, bend1, bend2 = t[x:end], bend[0, x:end], bend[1, x:end], bend[2, x:end]
            for v in range(end - x):
                s = ts[v]
                bend0[v] = p0 + s * (p1 + s * (p2 + s * p3))
                bend1[v] = q0 + s * (q1 + s * (q2 + s * q3))
                bend2[v] = r0 + s * (r1 + s * (r2 + s * r3))
            x = end
        at, end = r * nx, (r + 1) * nx
        for k in range(3):
            base = m[k, 0] * z + m[k, 1] * y + m[k, 3]
            rows = idx[k, at:end], frac[k, at:end]
            _split_row(base, m[k, 2], start[2], bend[k], limits[k], *rows, extent[k])


@kernel
def lattice_2d(c, scale, offset, m, linear, start, size, limits, idx, frac, extent):
    """`lattice_3d` for (2, n0, n1) controls."""
    nx, n1 = size[1], c.shape[2]
    cell, stop, t = np.empty(nx, np.int64), np.empty(nx, np.int64), np.empty(nx)
    first, last = _cells(scale[1], offset[1], start[1], n1 - 3, cell, stop, t)
    row, e, bend = np.empty((2, n1)), np.empty((2, n1)), np.empty((2, nx))
    _nothing_yet(extent)
    for r in range(size[0]):
        y = start[0] + r
        i0, w = basis(scale[0] * y + offset[0], c.shape[1] - 3)
        for d in range(2):
            for j in range(first, last):
                row[d, j] = (
                    w[0] * c[d, i0, j]
                    + w[1] * c[d, i0 + 1, j]
                    + w[2] * c[d, i0 + 2, j]
                    + w[3] * c[d, i0 + 3, j]
                )
        for k in range(2):
            for j in range(first, last):
                e[k, j] = linear[k, 0] * row[0, j] + linear[k, 1] * row[1, j]
        x = 0
        while x < nx:
            end = stop[x]
            p0, p1, p2, p3 = _polynomial(e, 0, cell[x])
            q0, q1, q2, q3 = _polynomial(e, 1, cell[x])
            ts, bend0, bend1 = t[x:end], bend[0, x:end], bend[1, x:end]
            for v in range(end - x):
                s = ts[v]
                bend0[v] = p0 + s * (p1 + s * (p2 + s * p3))
                bend1[v] = q0 + s * (q1 + s * (q2 + s * q3))
            x = end
        at, end = r * nx, (r + 1) * nx
        for k in range(2):
            base = m[k, 0] * y + m[k, 2]
            rows = idx[k, at:end], frac[k, at:end]
            _split_row(base, m[k, 1], start[1], bend[k], limits[k], *rows, extent[k])


@inline
def _add_scaled(row, factor, other):
    for j in range(row.shape[0]):
        row[j] += factor * other[j]


@kernel
def transform(m, pos):
    """Map (N, n) positions in place by the (N + 1, N + 1) matrix ``m``, perspective included.

    What lies on a perspective's horizon or behind it becomes NaN.
    """
    n = pos.shape[0]
    before = pos.copy()
    for k in range(n):
        pos[k] = m[k, n]
        for d in range(n):
            _add_scaled(pos[k], m[k, d], before[d])
    perspective = m[n, n] != 1
    for d in range(n):
        perspective |= m[n, d] != 0
    if perspective:
        w = np.full(pos.shape[1], m[n, n])
        for d in range(n):
            _add_scaled(w, m[n, d], before[d])
        for k in range(n):
            for j in range(w.shape[0]):
                pos[k, j] = pos[k, j] / w[j] if w[j] > 0 else np.nan


@inline
def _contract(line, at, w):
    """Sum of the four neighbours from ``at`` on; an unsigned index needs no test for wrapping."""
    one = np.uint64(1)
    return (
        w[0] * line[at]
        + w[1] * line[at + one]
        + w[2] * line[at + one + one]
        + w[3] * line[at + one + one + one]
    )


@kernel
def displace_3d(c, origin, spacing, pos):
    """Add the spline displacement to (3, n) positions: all 64 taps, any direction of rows."""
    n0, n1, n2 = c.shape[1] - 3, c.shape[2] - 3, c.shape[3] - 3
    flat = c.reshape((3, c.shape[1] * c.shape[2] * c.shape[3])).astype(np.float64)
    z, y, x = flat[0], flat[1], flat[2]
    for j in range(pos.shape[1]):
        i0, w0 = basis((pos[0, j] - origin[0]) / spacing[0], n0)
        i1, w1 = basis((pos[1, j] - origin[1]) / spacing[1], n1)
        i2, w2 = basis((pos[2, j] - origin[2]) / spacing[2], n2)
        dz, dy, dx = 0.0, 0.0, 0.0
        for a in range(4):
            for b in range(4):
                w = w0[a] * w1[b]
                at = np.uint64(((i0 + a) * c.shape[2] + i1 + b) * c.shape[3] + i2)
                dz += w * _contract(z, at, w2)
                dy += w * _contract(y, at, w2)
                dx += w * _contract(x, at, w2)
        pos[0, j] += dz
        pos[1, j] += dy
        pos[2, j] += dx


@kernel
def displace_2d(c, origin, spacing, pos):
    """Add the spline displacement to (2, n) positions: all 16 taps."""
    n0, n1 = c.shape[1] - 3, c.shape[2] - 3
    flat = c.reshape((2, c.shape[1] * c.shape[2])).astype(np.float64)
    y, x = flat[0], flat[1]
    for j in range(pos.shape[1]):
        i0, w0 = basis((pos[0, j] - origin[0]) / spacing[0], n0)
        i1, w1 = basis((pos[1, j] - origin[1]) / spacing[1], n1)
        dy, dx = 0.0, 0.0
        for a in range(4):
            at = np.uint64((i0 + a) * c.shape[2] + i1)
            dy += w0[a] * _contract(y, at, w1)
            dx += w0[a] * _contract(x, at, w1)
        pos[0, j] += dy
        pos[1, j] += dx


@kernel
def split(pos, limits, idx, frac, extent):
    """Split (N, n) positions into integers and fractions."""
    _nothing_yet(extent)
    for k in range(pos.shape[0]):
        _split_row(0.0, 0.0, 0, pos[k], limits[k], idx[k], frac[k], extent[k])
