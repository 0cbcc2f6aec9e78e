"""Labels at positions: the argmax of the linearly interpolated one-hot, or the nearest label.

The vote looks at the 4 or 8 corner labels only, so its cost does not depend on the number of
classes. Fractions are rounded to 2⁻¹⁸ voxel and votes counted in integers: sums are exact, the
order of adding cannot matter, and a mirrored image votes the same. The smallest label wins a
tie.

``owner`` says how many sub-positions make one output voxel (1 unless the map shrinks): the
one-hots of all of them are summed before the argmax.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.gather import border, near, pair
from medsataug.kernels.jit import inline, kernel

_ONE = np.uint32(1)


@inline
def _unit(owner):
    """Votes along one axis; the cube of it times ``owner`` stays within int64."""
    if owner > 1 << 20:
        return np.int64(1 << 10)
    return np.int64(1 << 18) if owner <= 256 else np.int64(1 << 14)


@inline
def _upper(f, unit):
    """Votes of the upper neighbour: the fraction in units, so that f and 1 − f sum to one."""
    return np.int64(np.rint(np.float64(f) * unit))


@inline
def _add(label, weight, seen, sums, count):
    for s in range(count):
        if seen[s] == label:
            sums[s] += weight
            return count
    seen[count] = label
    sums[count] = weight
    return count + 1


@inline
def _winner(seen, sums, count):
    best, weight = seen[0], sums[0]
    for s in range(1, count):
        if sums[s] > weight or (sums[s] == weight and seen[s] < best):
            best, weight = seen[s], sums[s]
    return best


@inline
def _one_label_3d(src, z, y, x):
    z, y, x = np.uint32(z), np.uint32(y), np.uint32(x)
    k, j, i = z + _ONE, y + _ONE, x + _ONE
    first = src[z, y, x]
    return (
        (src[z, y, i] == first)
        & (src[z, j, x] == first)
        & (src[z, j, i] == first)
        & (src[k, y, x] == first)
        & (src[k, y, i] == first)
        & (src[k, j, x] == first)
        & (src[k, j, i] == first)
    )


@kernel
def vote_3d(src, idx, frac, nx, inside, mode, fill, owner, out):
    """Vote (Z, Y, X) integer ``src`` into ``out`` (rows · nx / owner,).

    Where all eight corners bear one label, which is nearly everywhere, nothing is counted.
    """
    n0, n1, n2 = src.shape
    seen = np.empty(8 * owner, src.dtype)
    sums = np.empty(8 * owner, np.int64)
    unit = _unit(owner)
    for q in range(out.shape[0]):
        if owner == 1:
            z, y, x = idx[0, q], idx[1, q], idx[2, q]
            if pair(z, n0) and pair(y, n1) and pair(x, n2):
                if _one_label_3d(src, z, y, x):
                    out[q] = src[z, y, x]
                    continue
            elif mode == 0 and not (near(z, n0) and near(y, n1) and near(x, n2)):
                out[q] = fill
                continue
        count = 0
        for j in range(q * owner, (q + 1) * owner):
            fz, fy, fx = (
                _upper(frac[0, j], unit),
                _upper(frac[1, j], unit),
                _upper(frac[2, j], unit),
            )
            for a in range(2):
                wz = fz if a else unit - fz
                k = border(idx[0, j] + a, n0, mode)
                for b in range(2):
                    wy = wz * (fy if b else unit - fy)
                    m = border(idx[1, j] + b, n1, mode)
                    for c in range(2):
                        w = wy * (fx if c else unit - fx)
                        i = border(idx[2, j] + c, n2, mode)
                        v = fill if (i < 0 or m < 0 or k < 0) else src[k, m, i]
                        if w > 0:
                            count = _add(v, w, seen, sums, count)
        out[q] = _winner(seen, sums, count)


@inline
def _of_four(a, b, c, d, wa, wb, wc, wd):
    """Label with most votes of four corners, the smallest of equals; without any memory."""
    zero = np.int64(0)
    ab, ac, ad, bc, bd, cd = a == b, a == c, a == d, b == c, b == d, c == d
    best, most = a, wa + (wb if ab else zero) + (wc if ac else zero) + (wd if ad else zero)
    votes = wb + (wa if ab else zero) + (wc if bc else zero) + (wd if bd else zero)
    if votes > most or (votes == most and b < best):
        best, most = b, votes
    votes = wc + (wa if ac else zero) + (wb if bc else zero) + (wd if cd else zero)
    if votes > most or (votes == most and c < best):
        best, most = c, votes
    votes = wd + (wa if ad else zero) + (wb if bd else zero) + (wc if cd else zero)
    if votes > most or (votes == most and d < best):
        best = d
    return best


@kernel
def vote_2d(src, idx, frac, nx, inside, mode, fill, owner, out):
    """`vote_3d` for (Y, X) ``src``."""
    n0, n1 = src.shape
    seen = np.empty(4 * owner, src.dtype)
    sums = np.empty(4 * owner, np.int64)
    unit = _unit(owner)
    for q in range(out.shape[0]):
        if owner == 1:
            y, x = idx[0, q], idx[1, q]
            if pair(y, n0) and pair(x, n1):
                y, x = np.uint32(y), np.uint32(x)
                a, b = src[y, x], src[y, x + _ONE]
                c, d = src[y + _ONE, x], src[y + _ONE, x + _ONE]
                if (a == b) & (a == c) & (a == d):
                    out[q] = a
                    continue
                fy, fx = _upper(frac[0, q], unit), _upper(frac[1, q], unit)
                gy, gx = unit - fy, unit - fx
                out[q] = _of_four(a, b, c, d, gy * gx, gy * fx, fy * gx, fy * fx)
                continue
            elif mode == 0 and not (near(y, n0) and near(x, n1)):
                out[q] = fill
                continue
        count = 0
        for j in range(q * owner, (q + 1) * owner):
            fy, fx = _upper(frac[0, j], unit), _upper(frac[1, j], unit)
            for b in range(2):
                wy = fy if b else unit - fy
                m = border(idx[0, j] + b, n0, mode)
                for c in range(2):
                    w = wy * (fx if c else unit - fx)
                    i = border(idx[1, j] + c, n1, mode)
                    v = fill if (i < 0 or m < 0) else src[m, i]
                    if w > 0:
                        count = _add(v, w, seen, sums, count)
        out[q] = _winner(seen, sums, count)


@kernel
def nearest_3d(src, idx, frac, mode, fill, out):
    """Nearest voxel of (Z, Y, X) ``src``; halves go up."""
    h = np.float32(0.5)
    for j in range(out.shape[0]):
        k = border(idx[0, j] + (1 if frac[0, j] >= h else 0), src.shape[0], mode)
        m = border(idx[1, j] + (1 if frac[1, j] >= h else 0), src.shape[1], mode)
        i = border(idx[2, j] + (1 if frac[2, j] >= h else 0), src.shape[2], mode)
        out[j] = fill if (i < 0 or m < 0 or k < 0) else src[k, m, i]


@kernel
def nearest_2d(src, idx, frac, mode, fill, out):
    """Nearest pixel of (Y, X) ``src``; halves go up."""
    h = np.float32(0.5)
    for j in range(out.shape[0]):
        m = border(idx[0, j] + (1 if frac[0, j] >= h else 0), src.shape[0], mode)
        i = border(idx[1, j] + (1 if frac[1, j] >= h else 0), src.shape[1], mode)
        out[j] = fill if (i < 0 or m < 0) else src[m, i]
