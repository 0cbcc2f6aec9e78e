"""Sub-positions of shrinking maps, and the mean over them.

Source: the shrinking rule of the design: the mean over ceil(s) evenly spaced sub-positions along
each output axis (a box filter, Gonzalez and Woods, section 4.5).
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import kernel


@kernel
def sub_positions(first, nx, factors, pos):
    """Output positions of a block in the order of its voxels, those of one voxel together.

    ``first`` is the block's first index, ``factors`` (N,) how many lie evenly spaced within a
    voxel along each axis, ``pos`` (N, rows · nx · product of factors).
    """
    n = pos.shape[0]
    owner = 1
    for k in range(n):
        owner *= factors[k]
    for j in range(pos.shape[1]):
        voxel, part = j // owner, j % owner
        for k in range(n - 1, -1, -1):
            sub = part % factors[k]
            part //= factors[k]
            at = first[k]
            if k == n - 1:
                at += voxel % nx
            elif k == n - 2:
                at += voxel // nx
            pos[k, j] = at + (sub + 0.5) / factors[k] - 0.5


@kernel
def mean_of(fine, owner, out):
    """Mean of each ``owner`` values; NaN where fewer than half are numbers."""
    for q in range(out.shape[0]):
        total, count = 0.0, 0
        for p in range(owner):
            v = fine[q * owner + p]
            if v == v:
                total += v
                count += 1
        out[q] = np.float32(total / count if 2 * count >= owner else np.nan)
