"""Interpolation of interleaved channels: one address serves all bands of a voxel.

Sources are (…, C) with the bands of a voxel side by side, which come through the lerps as one
vector. Results go to planar (C, n) by way of a buffer of 64 voxels, so that stores are runs.
Measured on 8 bands of 512²: 3.2 ms, against 9.9 ms channel by channel (2.1 ms more where the
source must be interleaved first).
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.gather import _outer_2d, _outer_3d, near, pair
from medsataug.kernels.jit import inline, kernel

_RUN = 64
_ONE = np.uint32(1)


@inline
def _lerp(a, b, f):
    return a + f * (b - a)


@kernel
def linear_bands_2d(src, origin, idx, frac, mode, fills, out, first):
    """Interpolate (Y, X, C) ``src``, whose corner is at ``origin``, into (C, N) float32 ``out``.

    The first voxel goes to column ``first``. The same values as
    `gather.linear_2d` of each band: lerps along y, then x.
    """
    bands, n = out.shape[0], idx.shape[1]
    run = np.empty((_RUN, bands), np.float32)
    o0, o1 = np.int32(origin[0]), np.int32(origin[1])
    for start in range(0, n, _RUN):
        count = min(_RUN, n - start)
        gaps = np.int32(0)
        for j in range(count):
            y, x = idx[0, start + j] - o0, idx[1, start + j] - o1
            if pair(y, src.shape[0]) and pair(x, src.shape[1]):
                # Written out: within a helper, integer bands are not loaded as one vector.
                fy, fx = frac[0, start + j], frac[1, start + j]
                y, x = np.uint32(y), np.uint32(x)
                p, q, r, s = src[y, x], src[y, x + _ONE], src[y + _ONE, x], src[y + _ONE, x + _ONE]
                for c in range(bands):
                    a = _lerp(np.float32(p[c]), np.float32(r[c]), fy)
                    b = _lerp(np.float32(q[c]), np.float32(s[c]), fy)
                    run[j, c] = _lerp(a, b, fx)
            elif mode == 0 and not (near(y, src.shape[0]) and near(x, src.shape[1])):
                for c in range(bands):
                    run[j, c] = fills[c]
            else:
                for c in range(bands):
                    run[j, c] = np.float32(np.nan)
        for c in range(bands):
            for j in range(count):
                v = run[j, c]
                out[c, first + start + j] = v
                gaps |= np.int32(v * np.float32(0) != 0)
        if gaps == 0:
            continue
        for j in range(count):
            y, x = idx[0, start + j] - o0, idx[1, start + j] - o1
            if mode == 0 and not (near(y, src.shape[0]) and near(x, src.shape[1])):
                continue
            for c in range(bands):
                if out[c, first + start + j] * np.float32(0) != 0:
                    out[c, first + start + j] = _outer_2d(
                        src[:, :, c], y, x, frac[0, start + j], frac[1, start + j], mode, fills[c]
                    )


@kernel
def linear_bands_3d(src, origin, idx, frac, mode, fills, out, first):
    """`linear_bands_2d` for (Z, Y, X, C) ``src``: lerps along z, then y, then x."""
    bands, n = out.shape[0], idx.shape[1]
    run = np.empty((_RUN, bands), np.float32)
    o0, o1, o2 = np.int32(origin[0]), np.int32(origin[1]), np.int32(origin[2])
    n0, n1, n2 = src.shape[0], src.shape[1], src.shape[2]
    for start in range(0, n, _RUN):
        count = min(_RUN, n - start)
        gaps = np.int32(0)
        for j in range(count):
            at = start + j
            z, y, x = idx[0, at] - o0, idx[1, at] - o1, idx[2, at] - o2
            if pair(z, n0) and pair(y, n1) and pair(x, n2):
                fz, fy, fx = frac[0, at], frac[1, at], frac[2, at]
                z, y, x = np.uint32(z), np.uint32(y), np.uint32(x)
                k, m, i = z + _ONE, y + _ONE, x + _ONE
                s000, s001, s010, s011 = src[z, y, x], src[z, y, i], src[z, m, x], src[z, m, i]
                s100, s101, s110, s111 = src[k, y, x], src[k, y, i], src[k, m, x], src[k, m, i]
                for c in range(bands):
                    a = _lerp(np.float32(s000[c]), np.float32(s100[c]), fz)
                    b = _lerp(np.float32(s001[c]), np.float32(s101[c]), fz)
                    d = _lerp(np.float32(s010[c]), np.float32(s110[c]), fz)
                    e = _lerp(np.float32(s011[c]), np.float32(s111[c]), fz)
                    run[j, c] = _lerp(_lerp(a, d, fy), _lerp(b, e, fy), fx)
            elif mode == 0 and not (near(z, n0) and near(y, n1) and near(x, n2)):
                for c in range(bands):
                    run[j, c] = fills[c]
            else:
                for c in range(bands):
                    run[j, c] = np.float32(np.nan)
        for c in range(bands):
            for j in range(count):
                v = run[j, c]
                out[c, first + start + j] = v
                gaps |= np.int32(v * np.float32(0) != 0)
        if gaps == 0:
            continue
        for j in range(count):
            at = start + j
            z, y, x = idx[0, at] - o0, idx[1, at] - o1, idx[2, at] - o2
            if mode == 0 and not (near(z, n0) and near(y, n1) and near(x, n2)):
                continue
            for c in range(bands):
                if out[c, first + at] * np.float32(0) != 0:
                    out[c, first + at] = _outer_3d(
                        src[:, :, :, c], z, y, x, frac[0, at], frac[1, at], frac[2, at], mode,
                        fills[c],
                    )  # fmt: skip
