"""From positions to values: linear and cubic interpolation of one channel.

Borders: 0 constant (blends as if padded by ``fill``), 1 edge, 2 reflect (half-sample
symmetric). Rows that lie wholly inside take a loop without tests.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel

CONSTANT, EDGE, REFLECT = 0, 1, 2


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
def _inner_3d(src, z, y, x, fz, fy, fx):
    c00 = _lerp(np.float32(src[z, y, x]), np.float32(src[z, y, x + 1]), fx)
    c01 = _lerp(np.float32(src[z, y + 1, x]), np.float32(src[z, y + 1, x + 1]), fx)
    c10 = _lerp(np.float32(src[z + 1, y, x]), np.float32(src[z + 1, y, x + 1]), fx)
    c11 = _lerp(np.float32(src[z + 1, y + 1, x]), np.float32(src[z + 1, y + 1, x + 1]), fx)
    return _lerp(_lerp(c00, c01, fy), _lerp(c10, c11, fy), fz)


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


@kernel
def linear_3d(src, idx, frac, nx, inside, mode, fill, out):
    """Interpolate (Z, Y, X) ``src`` into (rows · nx,) float32 ``out``."""
    for r in range(inside.shape[0]):
        start, stop = r * nx, (r + 1) * nx
        if inside[r]:
            nan = np.float32(0)
            for j in range(start, stop):
                z, y, x = np.uint32(idx[0, j]), np.uint32(idx[1, j]), np.uint32(idx[2, j])
                v = _inner_3d(src, z, y, x, frac[0, j], frac[1, j], frac[2, j])
                out[j] = v
                nan += v * np.float32(0)
            if nan == nan:
                continue
        for j in range(start, stop):
            out[j] = _outer_3d(
                src, idx[0, j], idx[1, j], idx[2, j], frac[0, j], frac[1, j], frac[2, j], mode, fill
            )


@inline
def _inner_2d(src, y, x, fy, fx):
    c0 = _lerp(np.float32(src[y, x]), np.float32(src[y, x + 1]), fx)
    c1 = _lerp(np.float32(src[y + 1, x]), np.float32(src[y + 1, x + 1]), fx)
    return _lerp(c0, c1, fy)


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


@kernel
def linear_2d(src, idx, frac, nx, inside, mode, fill, out):
    """Interpolate (Y, X) ``src`` into (rows · nx,) float32 ``out``."""
    for r in range(inside.shape[0]):
        start, stop = r * nx, (r + 1) * nx
        if inside[r]:
            nan = np.float32(0)
            for j in range(start, stop):
                y, x = np.uint32(idx[0, j]), np.uint32(idx[1, j])
                v = _inner_2d(src, y, x, frac[0, j], frac[1, j])
                out[j] = v
                nan += v * np.float32(0)
            if nan == nan:
                continue
        for j in range(start, stop):
            out[j] = _outer_2d(src, idx[0, j], idx[1, j], frac[0, j], frac[1, j], mode, fill)


@kernel
def masked_3d(src, valid, idx, frac, nx, mode, fill, fill_weight, out, weight_out):
    """Interpolate valid voxels only: Σ w v m / Σ w m, and Σ w m into ``weight_out``.

    ``fill_weight`` is 1 where the border counts as data, 0 where it is nodata.
    """
    for j in range(out.shape[0]):
        total, weight = np.float32(0), np.float32(0)
        for a in range(2):
            wz = frac[0, j] if a else np.float32(1) - frac[0, j]
            k = border(idx[0, j] + a, src.shape[0], mode)
            for b in range(2):
                wy = wz * (frac[1, j] if b else np.float32(1) - frac[1, j])
                m = border(idx[1, j] + b, src.shape[1], mode)
                for c in range(2):
                    w = wy * (frac[2, j] if c else np.float32(1) - frac[2, j])
                    i = border(idx[2, j] + c, src.shape[2], mode)
                    if i < 0 or m < 0 or k < 0:
                        w *= fill_weight
                        v = fill
                    else:
                        v = np.float32(src[k, m, i])
                        if not valid[k, m, i]:
                            continue
                    if w > 0 and v == v:
                        total += w * v
                        weight += w
        out[j] = total / weight if weight >= np.float32(0.5) else fill
        weight_out[j] = weight


@kernel
def masked_2d(src, valid, idx, frac, nx, mode, fill, fill_weight, out, weight_out):
    """`masked_3d` for (Y, X) ``src``."""
    for j in range(out.shape[0]):
        total, weight = np.float32(0), np.float32(0)
        for b in range(2):
            wy = frac[0, j] if b else np.float32(1) - frac[0, j]
            m = border(idx[0, j] + b, src.shape[0], mode)
            for c in range(2):
                w = wy * (frac[1, j] if c else np.float32(1) - frac[1, j])
                i = border(idx[1, j] + c, src.shape[1], mode)
                if i < 0 or m < 0:
                    w *= fill_weight
                    v = fill
                else:
                    v = np.float32(src[m, i])
                    if not valid[m, i]:
                        continue
                if w > 0 and v == v:
                    total += w * v
                    weight += w
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


@kernel
def cubic_3d(src, idx, frac, nx, inside, mode, fill, out):
    """Keys cubic, clamped to the range of its taps; linear where a tap is NaN."""
    wz, wy, wx = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for j in range(out.shape[0]):
        z, y, x = idx[0, j], idx[1, j], idx[2, j]
        _keys(frac[0, j], wz)
        _keys(frac[1, j], wy)
        _keys(frac[2, j], wx)
        total = np.float32(0)
        low, high = np.float32(np.inf), np.float32(-np.inf)
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
        if total == total:
            out[j] = min(max(total, low), high)
        else:
            out[j] = _outer_3d(src, z, y, x, frac[0, j], frac[1, j], frac[2, j], mode, fill)


@kernel
def cubic_2d(src, idx, frac, nx, inside, mode, fill, out):
    """`cubic_3d` for (Y, X) ``src``."""
    wy, wx = np.empty(4, np.float32), np.empty(4, np.float32)
    for j in range(out.shape[0]):
        y, x = idx[0, j], idx[1, j]
        _keys(frac[0, j], wy)
        _keys(frac[1, j], wx)
        total = np.float32(0)
        low, high = np.float32(np.inf), np.float32(-np.inf)
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
        if total == total:
            out[j] = min(max(total, low), high)
        else:
            out[j] = _outer_2d(src, y, x, frac[0, j], frac[1, j], mode, fill)
