"""To a coarser grid and back, without the coarse array.

Block by block: the rows of a coarse slice are brought to full width, then rows between them are
interpolated; a coarse slice so made serves all fine slices between it and the next. Only two are
kept: coarse slice k lies in slot k mod 2, beside k − 1 or k + 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.neighbours import AS_IS, MASK, ZEROED, known, mend
from medsataug.kernels.pointwise import any_nan

#: Voxels of a block of rows: two coarse slices of it stay in the second-level cache.
BLOCK = 2**15


@lru_cache(maxsize=64)
def axis(n: int, m: int, mean: bool) -> tuple[Any, ...]:
    """One axis of ``n`` voxels by way of ``m``.

    Returns
    -------
    pair : (2, n) uint32 array
        The coarse voxels on either side of a fine one.
    share : (n,) float32 array
        Of the second one, by linear interpolation.
    start : (m,) uint32 array
        First fine voxel of each coarse one's cell.
    weights : (k, m) float32 array
        Of the fine voxels of a cell: what they share with it, or 1 for the one at its centre.
    first : (2, n) uint32 array
        ``start`` of ``pair``: the fine voxels that stand for the coarse ones.
    """
    centre = np.maximum((np.arange(n) + 0.5) * (m / n) - 0.5, 0)
    left = np.minimum(np.floor(centre).astype(np.int64), m - 1)
    share = (centre - left).astype(np.float32)
    # What has no share is not read either: NaN and Inf stay away.
    pair = np.stack([left, np.where(share > 0, np.minimum(left + 1, m - 1), left)])
    if not mean or m == n:
        # The voxel at the centre of the cell, in float32 as torch's 'nearest-exact' has it.
        ratio = np.float32(n) / np.float32(m)
        start = np.floor((np.arange(m, dtype=np.float32) + np.float32(0.5)) * ratio)
        weights = np.ones((1, m))
    else:
        edges = np.arange(m + 1) * n / m
        start = np.floor(edges[:-1])
        fine = start + np.arange(int(np.ceil(n / m)) + 1)[:, None]
        inside = np.minimum(fine + 1, edges[1:]) - np.maximum(fine, edges[:-1])
        weights = np.where(inside > 1e-9, inside, 0)
        weights /= weights.sum(axis=0)
    start = np.minimum(start, n - 1).astype(np.uint32)
    return pair.astype(np.uint32), share, start, weights.astype(np.float32), start[pair]


@inline
def _lerp(a, b, share, out):
    rest = np.float32(1) - share
    for i in range(out.shape[0]):
        out[i] = rest * a[i] + share * b[i]


@inline
def _widen(row, pair, share, out):
    """Linear interpolation of a coarse row."""
    left, right = pair[0], pair[1]
    for i in range(out.shape[0]):
        a, b = row[left[i]], row[right[i]]
        out[i] = (np.float32(1) - share[i]) * a + share[i] * b


@inline
def _add(row, w, what, out):
    if what == AS_IS:
        for i in range(row.shape[0]):
            out[i] += w * row[i]
    else:
        for i in range(row.shape[0]):
            out[i] += w * known(row[i], what)


@inline
def _gather_add(row, start, offset, weights, out):
    for i in range(out.shape[0]):
        out[i] += weights[i] * row[start[i] + offset]


@inline
def _cells(source, k, j, az, ay, ax, what, row, coarse):
    """Coarse row ``j`` of coarse slice ``k``: means over cells, or the voxels at their centres.

    ``row`` (X + k) is scratch whose end, beyond the border, has weight 0.
    """
    row[:] = 0
    for c in range(az[3].shape[0]):
        for b in range(ay[3].shape[0]):
            w = az[3][c, k] * ay[3][b, j]
            if w > 0:
                _add(source[az[2][k] + c, ay[2][j] + b], w, what, row)
    coarse[:] = 0
    for a in range(ax[3].shape[0]):
        _gather_add(row, ax[2], np.uint32(a), ax[3][a], coarse)


@kernel
def _slice(source, az, ay, ax, k, y, what, rows, row, coarse, out):
    """Fill (n, X) ``out`` with what coarse slice ``k`` has from fine row ``y`` on.

    ``rows`` (n + 1, X), ``row`` and ``coarse`` are scratch.
    """
    single = az[3].shape[0] * ay[3].shape[0] * ax[3].shape[0] == 1 and what == AS_IS
    low, high = ay[0][0, y], ay[0][1, y + out.shape[0] - 1]
    for j in range(low, high + 1):
        if single:
            _widen(source[az[2][k], ay[2][j]], ax[4], ax[1], rows[j - low])
        else:
            _cells(source, k, j, az, ay, ax, what, row, coarse)
            _widen(coarse, ax[0], ax[1], rows[j - low])
    for r in range(out.shape[0]):
        a, b = ay[0][0, y + r], ay[0][1, y + r]
        _lerp(rows[a - low], rows[b - low], ay[1][y + r], out[r])


@kernel
def _box(source, az, ay, ax, z, y, out):
    """Fill ``out`` block by block; where NaN came in, again from what is known."""
    nx = source.shape[2]
    step = min(out.shape[1], max(1, BLOCK // nx))
    slots, rows = np.empty((2, step, nx), np.float32), np.empty((step + 1, nx), np.float32)
    row, coarse = np.empty(nx + ax[3].shape[0], np.float32), np.empty(ax[2].shape[0], np.float32)
    other = np.empty((step, nx), np.float32)
    sums, weights = np.empty((step, nx), np.float32), np.empty((step, nx), np.float32)
    for j in range(0, out.shape[1], step):
        n, first = min(step, out.shape[1] - j), y + j
        inside, gaps = np.full(2, -1), np.zeros(2, np.bool_)
        for i in range(out.shape[0]):
            into = out[i, j : j + n]
            a, b, share = az[0][0, z + i], az[0][1, z + i], az[1][z + i]
            if a == b:  # an image, or a slice that is left as it is
                _slice(source, az, ay, ax, a, first, AS_IS, rows, row, coarse, into)
                gap = any_nan(into.reshape(-1))
            else:
                for k in (a, b):
                    if inside[k % 2] != k:
                        slot = slots[k % 2, :n]
                        _slice(source, az, ay, ax, k, first, AS_IS, rows, row, coarse, slot)
                        inside[k % 2], gaps[k % 2] = k, any_nan(slot.reshape(-1))
                one, two = slots[a % 2, :n].reshape(-1), slots[b % 2, :n].reshape(-1)
                _lerp(one, two, share, into.reshape(-1))
                gap = gaps[0] or gaps[1]
            if gap:
                for what, part in ((ZEROED, sums), (MASK, weights)):
                    _slice(source, az, ay, ax, a, first, what, rows, row, coarse, part[:n])
                    _slice(source, az, ay, ax, b, first, what, rows, row, coarse, other[:n])
                    flat = part[:n].reshape(-1)
                    _lerp(flat, other[:n].reshape(-1), share, flat)
                near = source[z + i, first : first + n].reshape(-1)
                mend(near, sums[:n].reshape(-1), weights[:n].reshape(-1), into.reshape(-1))


def coarsen(source: Any, p: Any, z: int, y: int, out: Any) -> None:
    """Go down to ``p[:3]`` voxels along z, y, x and back; by means of cells where ``p[3]``."""
    sizes = (int(m) for m in p[:3])
    tables = (axis(n, m, bool(p[3])) for n, m in zip(source.shape, sizes, strict=True))
    _box(source, *tables, z, y, out)
