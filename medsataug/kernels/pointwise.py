"""Pointwise kernels that several transforms share.

Every pointwise kernel has one signature: ``kernel(x, p, first, key)`` changes (n,) float32 ``x``
in place. ``p`` holds float64 parameters, ``first`` the number of the slice's first voxel in its
step's frame (channel included; `NOWHERE` for values that have no place, such as quantiles) and
``key`` keys noise. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel

#: Number of the first voxel where there is no voxel.
NOWHERE = -1


@kernel
def scale_shift(x, p, first, key):
    """Gain ``p[0]``, then bias ``p[1]``."""
    gain, bias = np.float32(p[0]), np.float32(p[1])
    for i in range(x.shape[0]):
        x[i] = x[i] * gain + bias


@kernel
def stretch(x, p, first, key):
    """Factor ``p[0]`` about ``p[1]``, kept within ``p[2]`` … ``p[3]``."""
    factor, centre = np.float32(p[0]), np.float32(p[1])
    low, high = np.float32(p[2]), np.float32(p[3])
    for i in range(x.shape[0]):
        v = (x[i] - centre) * factor + centre
        v = low if v < low else v
        x[i] = high if v > high else v


@kernel
def scale_shift_limit(x, p, first, key):
    """Gain ``p[0]``, then bias ``p[1]``, kept within ``p[2]`` … ``p[3]``."""
    gain, bias = np.float32(p[0]), np.float32(p[1])
    low, high = np.float32(p[2]), np.float32(p[3])
    for i in range(x.shape[0]):
        v = x[i] * gain + bias
        v = low if v < low else v
        x[i] = high if v > high else v


@kernel
def limit(x, p, first, key):
    """Keep within ``p[0]`` … ``p[1]``."""
    low, high = np.float32(p[0]), np.float32(p[1])
    for i in range(x.shape[0]):
        v = x[i]
        v = low if v < low else v
        x[i] = high if v > high else v


@inline
def any_nan(x):
    """Whether NaN is among (n,) ``x``; an OR of truth values is four times an OR of integers."""
    found = False
    for i in range(x.shape[0]):
        found = found | (x[i] != x[i])
    return found


@kernel
def has_nan(x):
    """`any_nan`, to be called from Python."""
    return any_nan(x)


@kernel
def round_to(x, low, high, nan, out):
    """Round (n,) ``x`` half to even into the integers ``low`` … ``high``; NaN becomes ``nan``."""
    for i in range(x.shape[0]):
        v = np.rint(x[i])
        v = low if v < low else v
        v = high if v > high else v
        out[i] = nan if v != v else v


@kernel
def mix_channels(x, gain, bias, out):
    """(C', n) ``out`` = (C', C) ``gain`` · (C, n) ``x`` + ``bias``, summed in float64.

    What has no weight does not count: its NaN does not spread.
    """
    for i in range(x.shape[1]):
        for a in range(out.shape[0]):
            total = bias[a]
            for b in range(x.shape[0]):
                if gain[a, b] != 0:
                    total += gain[a, b] * x[b, i]
            out[a, i] = np.float32(total)
