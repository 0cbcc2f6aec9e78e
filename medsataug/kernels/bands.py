"""Interpolation of interleaved channels: one address serves all bands of a voxel.

Sources are (…, C) with the bands of a voxel side by side, which come through the lerps as one
vector. Measured on 8 bands of 512²: 2.0 ms, and 1.2 ms more into planar output, against 9.9 ms
channel by channel. Voxels at the border and beside NaN are mended in a second loop: the first
one vectorises only while it stays this plain.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.gather import _lerp, _outer_2d, _outer_3d, near, pair
from medsataug.kernels.jit import inline, kernel

_ONE = np.uint32(1)


@inline
def _has_gaps(flat):
    """Whether a value is no finite number; an OR of integers vectorises, a float sum does not."""
    gaps = np.int32(0)
    for i in range(flat.shape[0]):
        gaps |= np.int32(flat[i] * np.float32(0) != 0)
    return gaps != 0


@kernel
def linear_bands_2d(src, idx, frac, mode, fills, floats, out):
    """Interpolate (Y, X, C) ``src`` into (n, C) float32 ``out``.

    The same values as `gather.linear_2d` of each band: lerps along y, then x. ``floats`` says
    that the source may hold NaN. Returns whether NaN is among the values.
    """
    n0, n1, bands = src.shape
    edge, nan = False, False
    for j in range(out.shape[0]):
        y, x = idx[0, j], idx[1, j]
        into = out[j]
        if pair(y, n0) and pair(x, n1):
            fy, fx = frac[0, j], frac[1, j]
            v, u = np.uint32(y), np.uint32(x)
            p, q, r, s = src[v, u], src[v, u + _ONE], src[v + _ONE, u], src[v + _ONE, u + _ONE]
            for c in range(bands):
                a = _lerp(np.float32(p[c]), np.float32(r[c]), fy)
                b = _lerp(np.float32(q[c]), np.float32(s[c]), fy)
                into[c] = _lerp(a, b, fx)
        else:
            edge = True
            for c in range(bands):
                into[c] = 0
    gaps = floats and _has_gaps(out.reshape(-1))
    if not (edge or gaps):
        return False
    for j in range(out.shape[0]):
        y, x = idx[0, j], idx[1, j]
        inside = pair(y, n0) and pair(x, n1)
        if inside and not gaps:
            continue
        far = mode == 0 and not (near(y, n0) and near(x, n1))
        for c in range(bands):
            if far:
                out[j, c] = fills[c]
            elif not inside or out[j, c] * np.float32(0) != 0:
                fy, fx = frac[0, j], frac[1, j]
                out[j, c] = _outer_2d(src[:, :, c], y, x, fy, fx, mode, fills[c])
            nan |= out[j, c] != out[j, c]
    return nan


@kernel
def linear_bands_3d(src, idx, frac, mode, fills, floats, out):
    """`linear_bands_2d` for (Z, Y, X, C) ``src``: lerps along z, then y, then x."""
    n0, n1, n2, bands = src.shape
    edge, nan = False, False
    for j in range(out.shape[0]):
        z, y, x = idx[0, j], idx[1, j], idx[2, j]
        into = out[j]
        if pair(z, n0) and pair(y, n1) and pair(x, n2):
            fz, fy, fx = frac[0, j], frac[1, j], frac[2, j]
            w, v, u = np.uint32(z), np.uint32(y), np.uint32(x)
            k, m, i = w + _ONE, v + _ONE, u + _ONE
            s000, s001, s010, s011 = src[w, v, u], src[w, v, i], src[w, m, u], src[w, m, i]
            s100, s101, s110, s111 = src[k, v, u], src[k, v, i], src[k, m, u], src[k, m, i]
            for c in range(bands):
                a = _lerp(np.float32(s000[c]), np.float32(s100[c]), fz)
                b = _lerp(np.float32(s001[c]), np.float32(s101[c]), fz)
                d = _lerp(np.float32(s010[c]), np.float32(s110[c]), fz)
                e = _lerp(np.float32(s011[c]), np.float32(s111[c]), fz)
                into[c] = _lerp(_lerp(a, d, fy), _lerp(b, e, fy), fx)
        else:
            edge = True
            for c in range(bands):
                into[c] = 0
    gaps = floats and _has_gaps(out.reshape(-1))
    if not (edge or gaps):
        return False
    for j in range(out.shape[0]):
        z, y, x = idx[0, j], idx[1, j], idx[2, j]
        inside = pair(z, n0) and pair(y, n1) and pair(x, n2)
        if inside and not gaps:
            continue
        far = mode == 0 and not (near(z, n0) and near(y, n1) and near(x, n2))
        for c in range(bands):
            if far:
                out[j, c] = fills[c]
            elif not inside or out[j, c] * np.float32(0) != 0:
                fz, fy, fx = frac[0, j], frac[1, j], frac[2, j]
                out[j, c] = _outer_3d(src[:, :, :, c], z, y, x, fz, fy, fx, mode, fills[c])
            nan |= out[j, c] != out[j, c]
    return nan


@kernel
def spread(run, first, out):
    """Move (n, C) ``run`` to columns ``first`` and on of (C, N) ``out``, 64 voxels at a time."""
    n, bands = run.shape
    for start in range(0, n, 64):
        stop = min(start + 64, n)
        for c in range(bands):
            plane = out[c]
            for j in range(start, stop):
                plane[first + j] = run[j, c]
