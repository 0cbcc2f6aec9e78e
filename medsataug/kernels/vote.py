"""Labels at positions: the argmax of the linearly interpolated one-hot, or the nearest label.

The vote looks at the 4 or 8 corner labels only, so its cost does not depend on the number of
classes. Weights within ``TIE`` of each other are a tie, which the smallest label wins: a
mirrored image then votes the same although its sums round differently.

``owner`` says how many sub-positions make one output voxel (1 unless the map shrinks): the
one-hots of all of them are summed before the argmax.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.gather import border
from medsataug.kernels.jit import inline, kernel

TIE = np.float32(1e-6)


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
def _winner(seen, sums, count, total):
    best, weight = seen[0], sums[0]
    for s in range(1, count):
        close = abs(sums[s] - weight) <= TIE * total
        if (close and seen[s] < best) or (not close and sums[s] > weight):
            best = seen[s]
            weight = max(sums[s], weight) if close else sums[s]
    return best


@kernel
def vote_3d(src, idx, frac, nx, inside, mode, fill, owner, out):
    """Vote (Z, Y, X) integer ``src`` into ``out`` (rows · nx / owner,)."""
    seen = np.empty(8 * owner, src.dtype)
    sums = np.empty(8 * owner, np.float32)
    for q in range(out.shape[0]):
        if owner == 1 and inside[q // nx]:
            z, y, x = np.uint32(idx[0, q]), np.uint32(idx[1, q]), np.uint32(idx[2, q])
            first = src[z, y, x]
            if (
                (src[z, y, x + 1] == first)
                & (src[z, y + 1, x] == first)
                & (src[z, y + 1, x + 1] == first)
                & (src[z + 1, y, x] == first)
                & (src[z + 1, y, x + 1] == first)
                & (src[z + 1, y + 1, x] == first)
                & (src[z + 1, y + 1, x + 1] == first)
            ):
                out[q] = first
                continue
        count = 0
        for p in range(owner):
            j = q * owner + p
            for a in range(2):
                wz = frac[0, j] if a else np.float32(1) - frac[0, j]
                k = border(idx[0, j] + a, src.shape[0], mode)
                for b in range(2):
                    wy = wz * (frac[1, j] if b else np.float32(1) - frac[1, j])
                    m = border(idx[1, j] + b, src.shape[1], mode)
                    for c in range(2):
                        w = wy * (frac[2, j] if c else np.float32(1) - frac[2, j])
                        i = border(idx[2, j] + c, src.shape[2], mode)
                        v = fill if (i < 0 or m < 0 or k < 0) else src[k, m, i]
                        if w > 0:
                            count = _add(v, w, seen, sums, count)
        out[q] = _winner(seen, sums, count, np.float32(owner))


@kernel
def vote_2d(src, idx, frac, nx, inside, mode, fill, owner, out):
    """`vote_3d` for (Y, X) ``src``."""
    seen = np.empty(4 * owner, src.dtype)
    sums = np.empty(4 * owner, np.float32)
    for q in range(out.shape[0]):
        if owner == 1 and inside[q // nx]:
            y, x = np.uint32(idx[0, q]), np.uint32(idx[1, q])
            first = src[y, x]
            if (
                (src[y, x + 1] == first)
                & (src[y + 1, x] == first)
                & (src[y + 1, x + 1] == first)
            ):
                out[q] = first
                continue
        count = 0
        for p in range(owner):
            j = q * owner + p
            for b in range(2):
                wy = frac[0, j] if b else np.float32(1) - frac[0, j]
                m = border(idx[0, j] + b, src.shape[0], mode)
                for c in range(2):
                    w = wy * (frac[1, j] if c else np.float32(1) - frac[1, j])
                    i = border(idx[1, j] + c, src.shape[1], mode)
                    v = fill if (i < 0 or m < 0) else src[m, i]
                    if w > 0:
                        count = _add(v, w, seen, sums, count)
        out[q] = _winner(seen, sums, count, np.float32(owner))


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
