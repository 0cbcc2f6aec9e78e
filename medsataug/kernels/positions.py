"""Sub-positions of shrinking maps.

Source: the shrinking rule of the design: the mean over ceil(s) evenly spaced sub-positions along
each output axis (a box filter, Gonzalez and Woods, section 4.5).
"""

from __future__ import annotations

from medsataug.kernels.jit import kernel


@kernel
def sub_positions(start, size, factors, pos):
    """Output positions of a block in the order of its voxels, those of one voxel together.

    ``start`` and ``size`` (N,) say which voxels, ``factors`` (N,) how many positions lie evenly
    spaced within a voxel along each axis; ``pos`` is (N, voxels · product of factors).
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
            at = start[k] + voxel % size[k]
            voxel //= size[k]
            pos[k, j] = at + (sub + 0.5) / factors[k] - 0.5
