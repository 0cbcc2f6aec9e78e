"""Positions that need something from beyond the border, one by one.

A block that crosses a border is gathered as if it did not, from addresses kept within the image;
the voxels whose taps lie beyond are then done anew here. Memory and its ``strides`` are those of
`box`, positions (``idx``, ``frac``) those of `coords`, and ``which`` numbers the voxels concerned.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.box import border
from medsataug.kernels.gather import between_four, lerp, place, weighed
from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.vote import ballot, unit_of, winner


@kernel
def beyond(idx, shape, which):
    """Write the numbers of positions that need a voxel outside ``shape`` (N); return how many."""
    last = len(shape) - 1
    count = 0
    for j in range(idx.shape[1]):
        which[count] = j
        inside = (0 <= idx[last, j] < shape[last] - 1) & (
            0 <= idx[last - 1, j] < shape[last - 1] - 1
        )
        if last == 2:
            inside &= 0 <= idx[0, j] < shape[0] - 1
        count += 0 if inside else 1
    return count


@inline
def _is_far(idx, j, shape, mode):
    """Whether a constant border is all that a position sees."""
    far = False
    for k in range(idx.shape[0]):
        i = idx[k, j]
        far |= not (-1 <= i < shape[len(shape) - idx.shape[0] + k])
    return far and mode == 0


@inline
def _corners(src, base, strides, shape, idx, j, mode, fill, out):
    """Fill ``out`` (8,) with the corners of a position: x first, then y, then z."""
    axes = idx.shape[0]
    for a in range(axes - 1):
        k = border(idx[0, j] + a, shape[0], mode) if axes == 3 else 0
        for b in range(2):
            m = border(idx[axes - 2, j] + b, shape[1], mode)
            for c in range(2):
                i = border(idx[axes - 1, j] + c, shape[2], mode)
                at = base + k * strides[1] + m * strides[2] + i * strides[3]
                out[4 * a + 2 * b + c] = fill if (i < 0 or m < 0 or k < 0) else src[at]


@inline
def _mean(v, axes, fz, fy, fx):
    """Lerps between the corners ``v``, in the order of `vectors`."""
    a, b, c, d = v[0], v[1], v[2], v[3]
    if axes == 3:
        a, b = lerp(a, v[4], fz), lerp(b, v[5], fz)
        c, d = lerp(c, v[6], fz), lerp(d, v[7], fz)
    return between_four(a, b, c, d, fy, fx)


@kernel
def linear(src, strides, shape, channels, idx, frac, which, mode, fills, nx, out, to, rows):
    """Linear interpolation with a border; ``out``, ``to`` and ``rows`` are those of `gather`.

    Returns whether NaN is among the values.
    """
    corner, nan = np.zeros(8, np.float32), False
    axes = idx.shape[0]
    for q in range(which.shape[0]):
        j = which[q]
        o = place(j // nx, 0, rows) + (j % nx) * rows[3]
        if _is_far(idx, j, shape, mode):
            for c in range(channels.shape[0]):
                out[o + to[c]] = fills[channels[c]]
                nan |= np.isnan(fills[channels[c]])
            continue
        fz, fy, fx = frac[0, j], frac[axes - 2, j], frac[axes - 1, j]
        for c in range(channels.shape[0]):
            base, fill = channels[c] * strides[0], fills[channels[c]]
            _corners(src, base, strides, shape, idx, j, mode, fill, corner)
            v = _mean(corner, axes, fz, fy, fx)
            if v * np.float32(0) != 0:
                v = weighed(corner, 0, 4, 2, 1, frac, j)
                nan |= v != v
            out[o + to[c]] = v
    return nan


@kernel
def vote(src, strides, shape, idx, frac, which, mode, fill, out):
    """Argmax of the interpolated one-hot with a border, as in `vote.vote_3d`; flat ``out``."""
    corner, seen, sums = np.empty(8, src.dtype), np.empty(8, src.dtype), np.empty(8, np.int64)
    unit = unit_of(1)
    for q in range(which.shape[0]):
        j = which[q]
        if _is_far(idx, j, shape, mode):
            out[j] = fill
            continue
        _corners(src, 0, strides, shape, idx, j, mode, fill, corner)
        count = ballot(corner, 0, (4, 2, 1), frac, j, unit, seen, sums, 0)
        out[j] = winner(seen, sums, count)
