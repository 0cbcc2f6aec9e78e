"""Where a block's source lies in memory, and a small copy of it where borders or masks matter.

Positions of a block of output lie close together, in a box of the source. It is read where it is,
wherever that can be; else it is packed first: copied into a small buffer as float32, with what
lies beyond the border and NaN where there is no data. The kernels that interpolate know neither.

Memory is a flat array and ``strides`` of (channel, z, y, x), counted in elements; a plane has
one z. Borders: 0 constant (a fill), 1 edge, 2 reflect (half-sample symmetric).
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel
from medsataug.kernels.vectors import RUN, move

CONSTANT, EDGE, REFLECT = 0, 1, 2


@kernel
def addresses(idx, low, high, strides, at):
    """Distance in memory of each (N, n) index from that of ``low`` (N): (n,) int32 ``at``.

    Indices are kept within ``low`` … ``high``.
    """
    for k in range(idx.shape[0]):
        line, least, most = idx[k], np.int32(low[k]), np.int32(high[k])
        step = np.int32(strides[k])
        for j in range(at.shape[0]):
            before = at[j] if k else np.int32(0)
            at[j] = before + (min(max(line[j], least), most) - least) * step


@inline
def reflected(i, n):
    """Index in 0 … n − 1 of any index: half-sample symmetric, (d c b a | a b c d | d c b a)."""
    i = i % (2 * n)
    return i if i < n else 2 * n - 1 - i


@inline
def border(i, n, mode):
    """Index in 0 … n − 1 that stands for ``i``, or −1 for the fill."""
    if 0 <= i < n:
        return i
    if mode == 0:
        return -1
    if mode == 1:
        return 0 if i < 0 else n - 1
    return reflected(i, n)


@inline
def _inside(low, size, n):
    """First and last of ``size`` indices from ``low`` on that lie in 0 … n − 1."""
    first = min(max(-low, 0), size)
    return first, max(min(n - low, size), first)


@inline
def _row(src, at, along, box, to, n):
    """Copy a stretch of a source row."""
    if along == 1 and n >= RUN:
        for start in range(0, n, RUN):
            x = min(start, n - RUN)
            move(src, at + x, box, to + x)
    else:
        for x in range(n):
            box[to + x] = src[at + x * along]


@kernel
def pack(src, strides, shape, channels, low, size, mode, fills, box):
    """Copy a box of an image, or of labels, into flat (channels, z, y, x) ``box``.

    Parameters
    ----------
    shape : (z, y, x) of the image
    channels : (n,) int64
        Channels to take, whose ``fills`` stand beyond a constant border.
    low, size : (z, y, x)
        First voxel, which may lie outside, and number of voxels along each axis.
    """
    nx, along = size[2], strides[3]
    first, last = _inside(low[2], nx, shape[2])
    to = 0
    for c in range(channels.shape[0]):
        fill = fills[channels[c]]
        for z in range(low[0], low[0] + size[0]):
            k = border(z, shape[0], mode)
            for y in range(low[1], low[1] + size[1]):
                m = border(y, shape[1], mode)
                base = channels[c] * strides[0] + k * strides[1] + m * strides[2]
                known = k >= 0 and m >= 0
                if known:
                    at = base + (low[2] + first) * along
                    _row(src, at, along, box, to + first, last - first)
                before, after = (first, last) if known else (nx, nx)
                for beyond in range(before + nx - after):
                    x = beyond if beyond < before else beyond - before + after
                    i = border(low[2] + x, shape[2], mode) if known else -1
                    box[to + x] = src[base + i * along] if i >= 0 else fill
                to += nx


@kernel
def blank(valid, strides, shape, channels, low, size, mode, box):
    """Set NaN in a packed ``box`` where ``valid``, a mask laid out like `pack`'s image, is 0."""
    nz, ny, nx = size
    first, last = _inside(low[2], nx, shape[2])
    for c in range(channels.shape[0]):
        for r in range(nz * ny):
            k = border(low[0] + r // ny, shape[0], mode)
            m = border(low[1] + r % ny, shape[1], mode)
            if k < 0 or m < 0:
                continue
            base = channels[c] * strides[0] + k * strides[1] + m * strides[2]
            row = box[(c * nz * ny + r) * nx : (c * nz * ny + r + 1) * nx]
            if strides[3] == 1:
                inner = row[first:last]
                known = valid[base + low[2] + first : base + low[2] + last]
                for x in range(inner.shape[0]):
                    inner[x] = inner[x] if known[x] else np.float32(np.nan)
            else:
                for x in range(first, last):
                    if valid[base + (low[2] + x) * strides[3]] == 0:
                        row[x] = np.nan
            for beyond in range(first + nx - last):
                x = beyond if beyond < first else beyond - first + last
                i = border(low[2] + x, shape[2], mode)
                if i >= 0 and valid[base + i * strides[3]] == 0:
                    row[x] = np.nan
