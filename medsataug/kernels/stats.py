"""Sums, extremes and class counts over fixed blocks.

A block's sums are float64; `medsataug.facts` adds blocks with `math.fsum`, which is exact. The
result therefore depends neither on threads nor on their order.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import bits_float, float_bits, inline, kernel, reduction


@inline
def _ordered(v):
    """int32 that rises with a float32: unlike floats, integers are compared in vectors."""
    bits = np.int32(float_bits(v))
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@inline
def _float(ordered):
    return bits_float(np.uint32(ordered ^ ((ordered >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@reduction
def moments(x, keep, shift, out):
    """Count, sum and sum of squares of ``x − shift``, least and greatest, of (n,) ``x``.

    Where ``keep`` (n,) is 0, and at NaN and infinities, a voxel does not count. ``out`` is (5,)
    float64; the extremes are rounded to float32.
    """
    most = np.int32(0x7F800000)  # infinity
    count, total, squares = np.int64(0), 0.0, 0.0
    low, high = most, np.int32(~most)
    for i in range(x.shape[0]):
        v = np.float64(x[i])
        good = (keep[i] != 0) & (v - v == 0)
        d = v - shift if good else 0.0
        count += np.int64(good)
        total += d
        squares += d * d
        rank = _ordered(np.float32(x[i]))
        low = min(low, rank if good else most)
        high = max(high, rank if good else np.int32(~most))
    out[0], out[1], out[2], out[3], out[4] = count, total, squares, _float(low), _float(high)


@kernel
def count_small(x, out):
    """Add the counts of (n,) unsigned ``x`` to ``out`` (256 or 65536,)."""
    for i in range(x.shape[0]):
        out[x[i]] += 1


@inline
def _hash(i):
    """Upper half of i · 2⁶⁴ / golden ratio: evenly spread, in step with no row length."""
    return (np.uint64(i) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)


@kernel
def thin(x, keep, origin, width, row, below, out):
    """Collect the finite, kept values whose position hashes ``below`` a limit; returns how many.

    Voxel i of (n,) ``x`` lies at ``origin`` + (i // ``width``) · ``row`` + i % ``width`` of the
    whole image, so that tiles pick what the whole would.
    """
    count = 0
    for i in range(x.shape[0]):
        at = origin + (i // width) * row + i % width
        v = np.float32(x[i])
        if keep[i] and v - v == 0 and _hash(at) < below:
            out[count] = v
            count += 1
    return count


@inline
def _ordinal(pick, every, total):
    return min(pick * every + np.int64(_hash(pick) % np.uint64(every)), total - 1)


@kernel
def locate(x, value, every, total, seen, picked, out):
    """Positions of one in ``every`` of the ``total`` voxels equal to ``value``, evenly spread.

    ``seen`` and ``picked`` count those of earlier blocks; returns both, with this block's.
    """
    target = _ordinal(picked, every, total)
    for i in range(x.shape[0]):
        if x[i] == value:
            if seen == target and picked < out.shape[0]:
                out[picked] = i
                picked += 1
                target = _ordinal(picked, every, total)
            seen += 1
    return seen, picked
