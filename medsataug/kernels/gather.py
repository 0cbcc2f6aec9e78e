"""From positions to values: linear and cubic interpolation of one channel.

Borders: 0 constant (blends as if padded by ``fill``), 1 edge, 2 reflect (half-sample
symmetric). A voxel whose taps all lie inside takes the short way; so does one whose taps are
all valid. The lerps run along z, then y, then x: neighbours in x then go through the first
ones in pairs.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel, paired_kernel

CONSTANT, EDGE, REFLECT = 0, 1, 2
_ONE, _TWO, _THREE = np.uint32(1), np.uint32(2), np.uint32(3)


@inline
def border(i, n, mode):
    """Index in 0 … n − 1 that stands for ``i``, or −1 for the fill."""
    if 0 <= i < n:
        return i
    if mode == 0:
        return -1
    if mode == 1:
        return 0 if i < 0 else n - 1
    i = i % (2 * n)
    return i if i < n else 2 * n - 1 - i


@inline
def _lerp(a, b, f):
    return a + f * (b - a)


@inline
def pair(i, n):
    """Whether ``i`` and ``i + 1`` both lie in 0 … n − 1."""
    return 0 <= i < n - 1


@inline
def near(i, n):
    """Whether ``i`` or ``i + 1`` lies in 0 … n − 1."""
    return -1 <= i < n


@inline
def _inner_3d(src, z, y, x, fz, fy, fx):
    """Eight taps inside; the unsigned index needs no test for wrapping."""
    z, y, x = np.uint32(z), np.uint32(y), np.uint32(x)
    k, j, i = z + _ONE, y + _ONE, x + _ONE
    a = _lerp(np.float32(src[z, y, x]), np.float32(src[k, y, x]), fz)
    b = _lerp(np.float32(src[z, y, i]), np.float32(src[k, y, i]), fz)
    c = _lerp(np.float32(src[z, j, x]), np.float32(src[k, j, x]), fz)
    d = _lerp(np.float32(src[z, j, i]), np.float32(src[k, j, i]), fz)
    return _lerp(_lerp(a, c, fy), _lerp(b, d, fy), fx)


@inline
def _outer_3d(src, z, y, x, fz, fy, fx, mode, fill):
    """Any position; taps that are NaN or weigh nothing are left out."""
    total, weight = np.float32(0), np.float32(0)
    for a in range(2):
        wz = fz if a else np.float32(1) - fz
        k = border(z + a, src.shape[0], mode)
        for b in range(2):
            wy = wz * (fy if b else np.float32(1) - fy)
            j = border(y + b, src.shape[1], mode)
            for c in range(2):
                w = wy * (fx if c else np.float32(1) - fx)
                i = border(x + c, src.shape[2], mode)
                v = fill if (i < 0 or j < 0 or k < 0) else np.float32(src[k, j, i])
                if w > 0 and v == v:
                    total += w * v
                    weight += w
    return total / weight if weight >= np.float32(0.5) else np.float32(np.nan)


@paired_kernel
def linear_3d(src, idx, frac, nx, inside, mode, fill, out):
    """Interpolate (Z, Y, X) ``src`` into (rows · nx,) float32 ``out``."""
    finite = np.float32(0)
    for r in range(inside.shape[0]):
        safe = inside[r] != 0
        for j in range(r * nx, (r + 1) * nx):
            z, y, x = idx[0, j], idx[1, j], idx[2, j]
            v = np.float32(np.nan)
            if safe or (pair(z, src.shape[0]) and pair(y, src.shape[1]) and pair(x, src.shape[2])):
                v = _inner_3d(src, z, y, x, frac[0, j], frac[1, j], frac[2, j])
            out[j] = v
            finite += v * np.float32(0)
    if finite == finite:
        return
    for j in range(out.shape[0]):
        if out[j] * np.float32(0) != 0:
            z, y, x = idx[0, j], idx[1, j], idx[2, j]
            if mode == 0 and not (
                near(z, src.shape[0]) and near(y, src.shape[1]) and near(x, src.shape[2])
            ):
                out[j] = fill
                continue
            out[j] = _outer_3d(src, z, y, x, frac[0, j], frac[1, j], frac[2, j], mode, fill)


@inline
def _inner_2d(src, y, x, fy, fx):
    y, x = np.uint32(y), np.uint32(x)
    j, i = y + _ONE, x + _ONE
    a = _lerp(np.float32(src[y, x]), np.float32(src[j, x]), fy)
    b = _lerp(np.float32(src[y, i]), np.float32(src[j, i]), fy)
    return _lerp(a, b, fx)


@inline
def _outer_2d(src, y, x, fy, fx, mode, fill):
    total, weight = np.float32(0), np.float32(0)
    for b in range(2):
        wy = fy if b else np.float32(1) - fy
        j = border(y + b, src.shape[0], mode)
        for c in range(2):
            w = wy * (fx if c else np.float32(1) - fx)
            i = border(x + c, src.shape[1], mode)
            v = fill if (i < 0 or j < 0) else np.float32(src[j, i])
            if w > 0 and v == v:
                total += w * v
                weight += w
    return total / weight if weight >= np.float32(0.5) else np.float32(np.nan)


@paired_kernel
def linear_2d(src, idx, frac, nx, inside, mode, fill, out):
    """Interpolate (Y, X) ``src`` into (rows · nx,) float32 ``out``."""
    finite = np.float32(0)
    for r in range(inside.shape[0]):
        safe = inside[r] != 0
        for j in range(r * nx, (r + 1) * nx):
            y, x = idx[0, j], idx[1, j]
            v = np.float32(np.nan)
            if safe or (pair(y, src.shape[0]) and pair(x, src.shape[1])):
                v = _inner_2d(src, y, x, frac[0, j], frac[1, j])
            out[j] = v
            finite += v * np.float32(0)
    if finite == finite:
        return
    for j in range(out.shape[0]):
        if out[j] * np.float32(0) != 0:
            y, x = idx[0, j], idx[1, j]
            if mode == 0 and not (near(y, src.shape[0]) and near(x, src.shape[1])):
                out[j] = fill
                continue
            out[j] = _outer_2d(src, y, x, frac[0, j], frac[1, j], mode, fill)


@inline
def _masked_3d(src, valid, z, y, x, fz, fy, fx, mode, fill, fill_weight):
    total, weight = np.float32(0), np.float32(0)
    for a in range(2):
        wz = fz if a else np.float32(1) - fz
        k = border(z + a, src.shape[0], mode)
        for b in range(2):
            wy = wz * (fy if b else np.float32(1) - fy)
            j = border(y + b, src.shape[1], mode)
            for c in range(2):
                w = wy * (fx if c else np.float32(1) - fx)
                i = border(x + c, src.shape[2], mode)
                if i < 0 or j < 0 or k < 0:
                    w *= fill_weight
                    v = fill
                else:
                    if not valid[k, j, i]:
                        continue
                    v = np.float32(src[k, j, i])
                if w > 0 and v == v:
                    total += w * v
                    weight += w
    return total, weight


@inline
def _all_valid_3d(valid, z, y, x):
    z, y, x = np.uint32(z), np.uint32(y), np.uint32(x)
    k, j, i = z + _ONE, y + _ONE, x + _ONE
    return (
        (valid[z, y, x] & valid[z, y, i])
        & (valid[z, j, x] & valid[z, j, i])
        & (valid[k, y, x] & valid[k, y, i])
        & (valid[k, j, x] & valid[k, j, i])
    )


@kernel
def masked_3d(src, valid, idx, frac, nx, mode, fill, fill_weight, out, weight_out):
    """Interpolate valid voxels only: Σ w v m / Σ w m, and Σ w m into ``weight_out``.

    ``fill_weight`` is 1 where the border counts as data, 0 where it is nodata.
    """
    n0, n1, n2 = src.shape
    for j in range(out.shape[0]):
        z, y, x = idx[0, j], idx[1, j], idx[2, j]
        fz, fy, fx = frac[0, j], frac[1, j], frac[2, j]
        if pair(z, n0) and pair(y, n1) and pair(x, n2) and _all_valid_3d(valid, z, y, x):
            v = _inner_3d(src, z, y, x, fz, fy, fx)
            if v * np.float32(0) == 0:
                out[j] = v
                weight_out[j] = np.float32(1)
                continue
        total, weight = _masked_3d(src, valid, z, y, x, fz, fy, fx, mode, fill, fill_weight)
        out[j] = total / weight if weight >= np.float32(0.5) else fill
        weight_out[j] = weight


@inline
def _masked_2d(src, valid, y, x, fy, fx, mode, fill, fill_weight):
    total, weight = np.float32(0), np.float32(0)
    for b in range(2):
        wy = fy if b else np.float32(1) - fy
        j = border(y + b, src.shape[0], mode)
        for c in range(2):
            w = wy * (fx if c else np.float32(1) - fx)
            i = border(x + c, src.shape[1], mode)
            if i < 0 or j < 0:
                w *= fill_weight
                v = fill
            else:
                if not valid[j, i]:
                    continue
                v = np.float32(src[j, i])
            if w > 0 and v == v:
                total += w * v
                weight += w
    return total, weight


@inline
def _all_valid_2d(valid, y, x):
    y, x = np.uint32(y), np.uint32(x)
    j, i = y + _ONE, x + _ONE
    return (valid[y, x] & valid[y, i]) & (valid[j, x] & valid[j, i])


@kernel
def masked_2d(src, valid, idx, frac, nx, mode, fill, fill_weight, out, weight_out):
    """`masked_3d` for (Y, X) ``src``."""
    n0, n1 = src.shape
    for j in range(out.shape[0]):
        y, x = idx[0, j], idx[1, j]
        fy, fx = frac[0, j], frac[1, j]
        if pair(y, n0) and pair(x, n1) and _all_valid_2d(valid, y, x):
            v = _inner_2d(src, y, x, fy, fx)
            if v * np.float32(0) == 0:
                out[j] = v
                weight_out[j] = np.float32(1)
                continue
        total, weight = _masked_2d(src, valid, y, x, fy, fx, mode, fill, fill_weight)
        out[j] = total / weight if weight >= np.float32(0.5) else fill
        weight_out[j] = weight


@inline
def _keys(f, w):
    """Weights of Keys' kernel with a = −1/2 (Keys 1981, equation 15) for fraction ``f``."""
    h = np.float32(0.5)
    w[0] = ((-h * f + np.float32(1)) * f - h) * f
    w[1] = (np.float32(1.5) * f - np.float32(2.5)) * f * f + np.float32(1)
    w[2] = ((-np.float32(1.5) * f + np.float32(2)) * f + h) * f
    w[3] = (h * f - h) * f * f


@inline
def _four(i, n):
    """Whether ``i − 1`` … ``i + 2`` all lie in 0 … n − 1."""
    return 1 <= i < n - 2


@inline
def _cubic_inner_3d(src, z, y, x, wz, wy, wx):
    z, y, x = np.uint32(z - 1), np.uint32(y - 1), np.uint32(x - 1)
    w0, w1, w2, w3 = wx[0], wx[1], wx[2], wx[3]
    total, low, high = np.float32(0), np.float32(np.inf), np.float32(-np.inf)
    for a in range(4):
        k = z + np.uint32(a)
        for b in range(4):
            m = y + np.uint32(b)
            v0, v1 = np.float32(src[k, m, x]), np.float32(src[k, m, x + _ONE])
            v2, v3 = np.float32(src[k, m, x + _TWO]), np.float32(src[k, m, x + _THREE])
            total += wz[a] * wy[b] * (w0 * v0 + w1 * v1 + w2 * v2 + w3 * v3)
            low = min(low, min(min(v0, v1), min(v2, v3)))
            high = max(high, max(max(v0, v1), max(v2, v3)))
    return total, low, high


@inline
def _cubic_outer_3d(src, z, y, x, wz, wy, wx, mode, fill):
    total, low, high = np.float32(0), np.float32(np.inf), np.float32(-np.inf)
    for a in range(4):
        k = border(z + a - 1, src.shape[0], mode)
        for b in range(4):
            m = border(y + b - 1, src.shape[1], mode)
            line = np.float32(0)
            for c in range(4):
                i = border(x + c - 1, src.shape[2], mode)
                v = fill if (i < 0 or m < 0 or k < 0) else np.float32(src[k, m, i])
                line += wx[c] * v
                low = min(low, v)
                high = max(high, v)
            total += wz[a] * wy[b] * line
    return total, low, high


@kernel
def cubic_3d(src, idx, frac, nx, inside, mode, fill, out):
    """Keys cubic, clamped to the range of its taps; linear where a tap is not finite."""
    n0, n1, n2 = src.shape
    wz, wy, wx = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for j in range(out.shape[0]):
        z, y, x = idx[0, j], idx[1, j], idx[2, j]
        _keys(frac[0, j], wz)
        _keys(frac[1, j], wy)
        _keys(frac[2, j], wx)
        if _four(z, n0) and _four(y, n1) and _four(x, n2):
            total, low, high = _cubic_inner_3d(src, z, y, x, wz, wy, wx)
        else:
            total, low, high = _cubic_outer_3d(src, z, y, x, wz, wy, wx, mode, fill)
        if total * np.float32(0) == 0:
            out[j] = min(max(total, low), high)
        else:
            out[j] = _outer_3d(src, z, y, x, frac[0, j], frac[1, j], frac[2, j], mode, fill)


@inline
def _cubic_inner_2d(src, y, x, wy, wx):
    y, x = np.uint32(y - 1), np.uint32(x - 1)
    w0, w1, w2, w3 = wx[0], wx[1], wx[2], wx[3]
    total, low, high = np.float32(0), np.float32(np.inf), np.float32(-np.inf)
    for b in range(4):
        m = y + np.uint32(b)
        v0, v1 = np.float32(src[m, x]), np.float32(src[m, x + _ONE])
        v2, v3 = np.float32(src[m, x + _TWO]), np.float32(src[m, x + _THREE])
        total += wy[b] * (w0 * v0 + w1 * v1 + w2 * v2 + w3 * v3)
        low = min(low, min(min(v0, v1), min(v2, v3)))
        high = max(high, max(max(v0, v1), max(v2, v3)))
    return total, low, high


@inline
def _cubic_outer_2d(src, y, x, wy, wx, mode, fill):
    total, low, high = np.float32(0), np.float32(np.inf), np.float32(-np.inf)
    for b in range(4):
        m = border(y + b - 1, src.shape[0], mode)
        line = np.float32(0)
        for c in range(4):
            i = border(x + c - 1, src.shape[1], mode)
            v = fill if (i < 0 or m < 0) else np.float32(src[m, i])
            line += wx[c] * v
            low = min(low, v)
            high = max(high, v)
        total += wy[b] * line
    return total, low, high


@kernel
def cubic_2d(src, idx, frac, nx, inside, mode, fill, out):
    """`cubic_3d` for (Y, X) ``src``."""
    n0, n1 = src.shape
    wy, wx = np.empty(4, np.float32), np.empty(4, np.float32)
    for j in range(out.shape[0]):
        y, x = idx[0, j], idx[1, j]
        _keys(frac[0, j], wy)
        _keys(frac[1, j], wx)
        if _four(y, n0) and _four(x, n1):
            total, low, high = _cubic_inner_2d(src, y, x, wy, wx)
        else:
            total, low, high = _cubic_outer_2d(src, y, x, wy, wx, mode, fill)
        if total * np.float32(0) == 0:
            out[j] = min(max(total, low), high)
        else:
            out[j] = _outer_2d(src, y, x, frac[0, j], frac[1, j], mode, fill)
