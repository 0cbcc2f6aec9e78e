"""One resampling: image, label and validity through one and the same positions.

Positions come block by block and serve all channels and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import threads
from medsataug.arrays import as_float, kernel_source, native, plane_of
from medsataug.blocks import Block, Positions
from medsataug.interleaved import Interleaved
from medsataug.kernels import gather, positions, vote
from medsataug.maps import SpatialMap
from medsataug.roles import BORDERS, Roles
from medsataug.types import Array

_LINEAR = {2: gather.linear_2d, 3: gather.linear_3d}
_CUBIC = {2: gather.cubic_2d, 3: gather.cubic_3d}
_MASKED = {2: gather.masked_2d, 3: gather.masked_3d}
_VOTE = {2: vote.vote_2d, 3: vote.vote_3d}
_NEAREST = {2: vote.nearest_2d, 3: vote.nearest_3d}


def resample_image(
    spatial: SpatialMap,
    image: Array,
    valid: NDArray[np.bool_] | None,
    label: Array | None,
    fills: NDArray[np.float32],
    label_fill: int,
    roles: Roles,
    as_given: bool = False,
) -> tuple[NDArray[np.float32], Array | None, bool]:
    """Carry image and label through ``spatial``.

    Parameters
    ----------
    image : (C, [Z,] Y, X) array
    valid : bool array of one or C channels, or None
    label : (L, [Z,] Y, X) integer array, or None
    fills : (C,) float32
        Value beyond the border; NaN is nodata.
    as_given : bool
        Whether interleaved memory gives interleaved memory; else the result is C-contiguous.

    Returns
    -------
    image : (C, *out_shape) float32, NaN where there is no data
    label : (L, *out_shape) of the label's dtype, or None
    whole : bool
        Whether it is known already that the image has no NaN.
    """
    positions_of = Positions(spatial, image.shape[1:], roles.antialias)
    moving = range(len(image)) if spatial.channels is None else spatial.channels
    jobs: list[Callable[[Block], None]]
    together = Interleaved.of(spatial, image, valid, fills, roles)
    if together is not None:
        planar = not as_given or positions_of.owner > 1
        out = together.output(spatial.out_shape, planar=planar)
        jobs = [together.fill]
    else:
        out = np.empty((len(image), *spatial.out_shape), np.float32)
        for c in set(range(len(image))) - set(moving):
            out[c] = as_float(image[c], plane_of(valid, c))
        jobs = [_channel_job(image[c], valid, c, fills[c], roles, out[c]) for c in moving]
    new_label = label
    if label is not None and spatial.channels is None:
        new_label = np.empty((len(label), *spatial.out_shape), label.dtype)
        own = [_label_job(x, label_fill, roles, y) for x, y in zip(label, new_label, strict=True)]
        if roles.label_interpolation == "nearest" and positions_of.owner > 1:
            # A nearest label knows no average: it has positions of its own, one a voxel.
            _carry(Positions(spatial, image.shape[1:], False), own)
        else:
            jobs += own
    _carry(positions_of, jobs)
    return out, new_label, together is not None and not together.nan


def _carry(positions_of: Positions, jobs: Sequence[Callable[[Block], None]]) -> None:
    """Run every job on every block."""

    def work(at: tuple[int, int, int]) -> None:
        block = positions_of.block(*at)
        for job in jobs:
            job(block)

    threads.run(work, positions_of.blocks)


def _channel_job(
    channel: Array, valid: Array | None, number: int, fill: Any, roles: Roles, out: Array
) -> Callable[[Block], None]:
    plane = plane_of(valid, number)
    mask = None if plane is None else native(plane)
    sampled, flat = _sampler(channel, mask, np.float32(fill), roles), out.reshape(-1)

    def job(block: Block) -> None:
        into = flat[block.start : block.stop]
        if block.owner == 1:
            sampled(block, into)
            return
        fine = np.empty(len(into) * block.owner, np.float32)
        sampled(block, fine)
        positions.mean_of(fine, block.owner, into)

    return job


def _sampler(
    channel: Array, mask: Array | None, fill: np.float32, roles: Roles
) -> Callable[[Block, Array], None]:
    """Return what fills an array with one channel's values at a block's positions."""
    ndim, border = channel.ndim, BORDERS[roles.border]
    if roles.interpolation == "nearest":
        whole = as_float(channel, mask)  # an integer source could not say NaN
        return lambda b, into: _NEAREST[ndim](whole, b.idx, b.frac, border, fill, into)
    if mask is None or roles.interpolation == "cubic":
        kernel = (_CUBIC if roles.interpolation == "cubic" else _LINEAR)[ndim]
        src = kernel_source(channel) if mask is None else as_float(channel, mask)
        return lambda b, into: kernel(
            src, b.idx, b.frac, b.nx * b.owner, b.inside, border, fill, into
        )
    src, nan = kernel_source(channel, mask), np.float32(np.nan)
    data = np.float32(0.0 if np.isnan(fill) else 1.0)  # whether the border counts as data

    def masked(b: Block, into: Array) -> None:
        weight = np.empty(len(into), np.float32)
        _MASKED[ndim](src, mask, b.idx, b.frac, b.nx * b.owner, border, fill, data, into, weight)
        np.copyto(into, nan, where=weight < 0.5)

    return masked


def _label_job(label: Array, fill: int, roles: Roles, out: Array) -> Callable[[Block], None]:
    src, ndim, border = native(label), label.ndim, BORDERS[roles.border]
    flat, filled = out.reshape(-1), src.dtype.type(fill)

    def job(block: Block) -> None:
        into = flat[block.start : block.stop]
        if roles.label_interpolation == "nearest":
            _NEAREST[ndim](src, block.idx, block.frac, border, filled, into)
        else:
            where = (block.idx, block.frac, block.nx, block.inside)
            _VOTE[ndim](src, *where, border, filled, block.owner, into)

    return job
