"""Sums, extremes and class counts over fixed blocks.

A block's sums are float64; `medsataug.facts` adds blocks with `math.fsum`, which is exact. The
result therefore depends neither on threads nor on their order.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel


@kernel
def moments(x, keep, shift, out):
    """Count, sum and sum of squares of ``x − shift``, least and greatest, of (n,) ``x``.

    Where ``keep`` (n,) is 0, and at NaN and infinities, a voxel does not count. ``out`` is (5,)
    float64.
    """
    count, total, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for i in range(x.shape[0]):
        v = np.float64(x[i])
        if keep[i] and v - v == 0:
            d = v - shift
            count += 1
            total += d
            squares += d * d
            low = min(low, v)
            high = max(high, v)
    out[0], out[1], out[2], out[3], out[4] = count, total, squares, low, high


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
