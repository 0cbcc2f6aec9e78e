"""Gaussian blur, one axis after the other, block by block.

A block of rows of one slice goes through all three axes while it is in cache: along z from the
channel into a slab, along y from the slab into rows, along x from a padded row into the result.
Each is the same sum of shifted stretches of memory, two pairs of taps at a time.
"""

from __future__ import annotations

import math

import numpy as np

from medsataug.kernels.box import reflected
from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.neighbours import AS_IS, ZEROED, known, mend
from medsataug.kernels.pointwise import any_nan

#: Half-width in σ: the tails beyond it have less than 1e-4 of the weight.
TRUNCATE = 3.9
#: Voxels of a block (in the second-level cache) and of a stretch (in the first).
BLOCK, STRETCH = 2**15, 2**11


def reach(sigma: float) -> int:
    """Voxels to either side that a blur of ``sigma`` voxels reaches."""
    return max(0, math.ceil(TRUNCATE * sigma - 0.5))


_reach = inline(reach)


@kernel
def _weights(sigma):
    """Weights at 0, 1, …, `reach`, which together with their mirror image add up to 1."""
    r = _reach(sigma)
    out, total = np.empty(r + 1, np.float32), 1.0
    for k in range(1, r + 1):
        total += 2 * math.exp(-0.5 * (k / sigma) ** 2)
    out[0] = 1 / total
    for k in range(1, r + 1):
        out[k] = math.exp(-0.5 * (k / sigma) ** 2) / total
    return out


@inline
def _first(out, w, m):
    for i in range(out.shape[0]):
        out[i] = w * m[i]


@inline
def _pair(out, w, a, b):
    for i in range(out.shape[0]):
        out[i] = out[i] + w * (a[i] + b[i])


@inline
def _pairs(out, w, a, b, v, c, d):
    for i in range(out.shape[0]):
        out[i] = (out[i] + w * (a[i] + b[i])) + v * (c[i] + d[i])


@inline
def _first_pairs(out, u, m, w, a, b, v, c, d):
    for i in range(out.shape[0]):
        out[i] = (u * m[i] + w * (a[i] + b[i])) + v * (c[i] + d[i])


@kernel
def weigh(flat, at, before, after, weights, out):
    """(n,) ``out`` = w₀ · ``flat`` from ``at`` on + Σ w_k · (from ``before``ₖ on + ``after``ₖ)."""
    r = before.shape[0]
    for start in range(0, out.shape[0], STRETCH):
        into = out[start : start + STRETCH]
        n = into.shape[0]
        middle = flat[at + start : at + start + n]
        k = 0
        if r < 2:
            _first(into, weights[0], middle)
        while k < r:
            p, q = before[k] + start, after[k] + start
            a, b, w = flat[p : p + n], flat[q : q + n], weights[k + 1]
            if k + 1 == r:
                _pair(into, w, a, b)
            else:
                p, q = before[k + 1] + start, after[k + 1] + start
                c, d, v = flat[p : p + n], flat[q : q + n], weights[k + 2]
                if k == 0:
                    _first_pairs(into, weights[0], middle, w, a, b, v, c, d)
                else:
                    _pairs(into, w, a, b, v, c, d)
            k += 2


@kernel
def weigh_known(flat, at, before, after, weights, what, out):
    """`weigh` of what is known: of values with 0 for NaN, or of the mask."""
    for start in range(0, out.shape[0], STRETCH):
        into = out[start : start + STRETCH]
        n = into.shape[0]
        middle = flat[at + start : at + start + n]
        for i in range(n):
            into[i] = weights[0] * known(middle[i], what)
        for k in range(before.shape[0]):
            p, q = before[k] + start, after[k] + start
            a, b, w = flat[p : p + n], flat[q : q + n], weights[k + 1]
            for i in range(n):
                into[i] += w * (known(a[i], what) + known(b[i], what))


@inline
def _mirror(flat, width, low, high, first, stop):
    """Fill rows ``first`` … ``stop`` − 1 of ``flat`` from ``low`` … ``high`` − 1, the image's."""
    for j in range(first, stop):
        at = (low + reflected(j - low, high - low)) * width
        for i in range(width):
            flat[j * width + i] = flat[at + i]


@kernel
def _block(source, z, y, wz, wy, wx, what, slab, rows, line, out):
    """Blur (n, X) rows from ``y`` on of slice ``z`` into ``out``; the rest is flat scratch."""
    nz, ny, nx = source.shape
    count, rz, ry, rx = out.shape[0], wz.shape[0] - 1, wy.shape[0] - 1, wx.shape[0] - 1
    flat, n = source.reshape(-1), out.shape[0] * nx
    taps = np.empty((2, max(rz, ry, rx)), np.int64)
    low, high = max(0, y - ry), min(ny, y + count + ry)
    for k in range(rz):
        taps[0, k] = (reflected(z - 1 - k, nz) * ny + low) * nx
        taps[1, k] = (reflected(z + 1 + k, nz) * ny + low) * nx
    top = low - (y - ry)
    inner, at = slab[top * nx : (top + high - low) * nx], (z * ny + low) * nx
    if what == AS_IS:
        weigh(flat, at, taps[0, :rz], taps[1, :rz], wz, inner)
    else:
        weigh_known(flat, at, taps[0, :rz], taps[1, :rz], wz, what, inner)
    end = top + high - low
    _mirror(slab, nx, top, end, 0, top)
    _mirror(slab, nx, top, end, end, count + 2 * ry)
    for k in range(ry):
        taps[0, k], taps[1, k] = (ry - 1 - k) * nx, (ry + 1 + k) * nx
    weigh(slab, ry * nx, taps[0, :ry], taps[1, :ry], wy, rows[:n])
    for k in range(rx):
        taps[0, k], taps[1, k] = rx - 1 - k, rx + 1 + k
    for j in range(count):
        for i in range(nx):
            line[rx + i] = rows[j * nx + i]
        _mirror(line, 1, rx, rx + nx, 0, rx)
        _mirror(line, 1, rx, rx + nx, rx + nx, nx + 2 * rx)
        weigh(line, rx, taps[0, :rx], taps[1, :rx], wx, out[j])


@kernel
def gaussian(source, p, z, y, out):
    """Blur by ``p`` = σ along z, y, x in voxels; see `medsataug.kernels.neighbours`."""
    nx = source.shape[2]
    wz, wy, wx = _weights(p[0]), _weights(p[1]), _weights(p[2])
    ry = wy.shape[0] - 1
    step = min(out.shape[1], max(1, BLOCK // nx, 4 * ry))
    slab, rows = np.empty((step + 2 * ry) * nx, np.float32), np.empty(step * nx, np.float32)
    line = np.empty(nx + 2 * (wx.shape[0] - 1), np.float32)
    sums, weights = np.empty((step, nx), np.float32), np.empty((step, nx), np.float32)
    for j in range(0, out.shape[1], step):
        n = min(step, out.shape[1] - j)
        for i in range(out.shape[0]):
            into, gaps = out[i, j : j + n], False
            for what in range(3):
                if what == AS_IS or gaps:
                    part = into if what == AS_IS else sums[:n] if what == ZEROED else weights[:n]
                    _block(source, z + i, y + j, wz, wy, wx, what, slab, rows, line, part)
                    gaps = gaps or any_nan(into.reshape(-1))
            if gaps:
                near = source[z + i, y + j : y + j + n].reshape(-1)
                mend(near, sums[:n].reshape(-1), weights[:n].reshape(-1), into.reshape(-1))
