"""What kernels share that look at neighbours: the border, and voxels without data.

Every such kernel has one signature: ``kernel(source, p, z, y, out)`` fills the box (Z', Y', X)
``out``, whose first row is row ``y`` of slice ``z`` of the whole channel (Z, Y, X) ``source``. It
reads whatever it needs of ``source``, so that a box is the same however the channel is cut.
NaN never spreads: linear kernels run once, and where a result is NaN though its voxel is not,
again on the values with 0 for NaN and on the mask, whose quotient is the weighted mean of the
valid ones (Knutsson and Westin, "Normalized and differential convolution", CVPR 1993).
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import inline, kernel

#: What a linear kernel sums up: values as they are, values with 0 for NaN, or the mask.
AS_IS, ZEROED, MASK = 0, 1, 2
#: Least weight of valid neighbours that a mean is made of; below, a voxel stays as it is.
LEAST = np.float32(1e-6)


@inline
def known(v, what):
    """Return a value as `ZEROED` or `MASK` has it."""
    if v != v:
        return np.float32(0)
    return np.float32(1) if what == MASK else v


@kernel
def mend(source, sums, weights, out):
    """Replace NaN in (n,) ``out`` by ``sums`` / ``weights``; else by ``source``."""
    for i in range(out.shape[0]):
        if out[i] != out[i]:
            mean = sums[i] / weights[i] if weights[i] > LEAST else source[i]
            out[i] = mean if mean == mean and source[i] == source[i] else source[i]
