"""Sums, extremes and class counts over fixed blocks.

A block's sums are float64; `medsataug.facts` adds blocks with `math.fsum`, which is exact. The
result therefore depends neither on threads nor on their order.
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import kernel


@kernel
def moments(x, keep, shift, out):
    """Count, sum and sum of squares of ``x − shift``, least and greatest, of (n,) ``x``.

    Where ``keep`` (n,) is 0, and at NaN, a voxel does not count. ``out`` is (5,) float64.
    """
    count, total, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for i in range(x.shape[0]):
        v = np.float64(x[i])
        if keep[i] and v == v:
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


@kernel
def locate(x, value, every, offset, start, out):
    """Flat positions of every ``every``-th voxel equal to ``value``, from the ``offset``-th.

    ``start`` is how many have been seen before; returns how many are seen and fills ``out``
    in order, as the numbers of the picks say.
    """
    seen = start
    for i in range(x.shape[0]):
        if x[i] == value:
            if seen >= offset and (seen - offset) % every == 0:
                pick = (seen - offset) // every
                if pick < out.shape[0]:
                    out[pick] = i
            seen += 1
    return seen
