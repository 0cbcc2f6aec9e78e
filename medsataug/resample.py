"""One resampling: image, label and validity through one and the same positions.

Positions come block by block and serve all channels and labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import threads
from medsataug.blocks import Block, Positions
from medsataug.errors import ConfigError
from medsataug.facts import native
from medsataug.kernels import bands, gather, positions, vote
from medsataug.maps import SpatialMap, input_box
from medsataug.roles import Roles
from medsataug.types import Array

#: Bands from which a raster is interleaved before it is resampled.
MANY = 4
#: Voxels around a window that interpolation may need: two for cubic, one for rounding.
MARGIN = 3
BORDERS = {"constant": gather.CONSTANT, "edge": gather.EDGE, "reflect": gather.REFLECT}
#: Source types the kernels read as they are.
NATIVE = ("float32", "uint8", "int16", "uint16")
_LINEAR = {2: gather.linear_2d, 3: gather.linear_3d}
_CUBIC = {2: gather.cubic_2d, 3: gather.cubic_3d}
_MASKED = {2: gather.masked_2d, 3: gather.masked_3d}
_VOTE = {2: vote.vote_2d, 3: vote.vote_3d}
_NEAREST = {2: vote.nearest_2d, 3: vote.nearest_3d}


def kernel_source(channel: Array) -> Array:
    """Channel as kernels read it.

    Raises
    ------
    ConfigError
        For integers that float32 cannot hold.
    """
    array = native(channel)
    if array.dtype.name in NATIVE:
        return array
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2 and array.size:
        largest = max(abs(int(array.min())), abs(int(array.max())))
        if largest > 2**24:
            raise ConfigError(
                f"image: {array.dtype} values up to {largest} do not fit the 24 bits that are "
                "interpolated exactly; rescale them, or pass them as a label if they are one"
            )
    return array.astype(np.float32)


def resample_image(
    spatial: SpatialMap,
    image: Array,
    valid: NDArray[np.bool_] | None,
    label: Array | None,
    fills: NDArray[np.float32],
    label_fill: int,
    roles: Roles,
) -> tuple[NDArray[np.float32], Array | None]:
    """Carry image and label through ``spatial``.

    Parameters
    ----------
    image : (C, [Z,] Y, X) array
    valid : bool array of one or C channels, or None
    label : (L, [Z,] Y, X) integer array, or None
    fills : (C,) float32
        Value beyond the border; NaN is nodata.

    Returns
    -------
    image : (C, *out_shape) float32, NaN where there is no data
    label : (L, *out_shape) of the label's dtype, or None
    """
    positions_of = Positions(spatial, image.shape[1:], roles.antialias)
    moving = range(len(image)) if spatial.channels is None else spatial.channels
    out = np.empty((len(image), *spatial.out_shape), np.float32)
    for c in set(range(len(image))) - set(moving):
        out[c] = as_float(image[c], None if valid is None else valid[min(c, len(valid) - 1)])
    together = _bands_job(spatial, image, valid, fills, roles, out)
    jobs: list[Callable[[Block], None]] = [together] if together is not None else [
        _channel_job(image[c], valid, c, fills[c], roles, out[c]) for c in moving
    ]  # fmt: skip
    new_label = None
    if label is not None:
        new_label = label if spatial.channels is not None else np.empty(
            (len(label), *spatial.out_shape), label.dtype
        )  # fmt: skip
        if spatial.channels is None:
            jobs += [
                _label_job(label[i], label_fill, roles, new_label[i]) for i in range(len(label))
            ]

    def work(at: tuple[int, int, int]) -> None:
        block = positions_of.block(*at)
        for job in jobs:
            job(block)

    threads.run(work, positions_of.blocks)
    return out, new_label


def _bands_job(
    spatial: SpatialMap,
    image: Array,
    valid: Array | None,
    fills: NDArray[np.float32],
    roles: Roles,
    out: Array,
) -> Callable[[Block], None] | None:
    """Return what fills all channels at once from interleaved ones; None where that pays not.

    Interleaved input is taken as it is. A raster of `MANY` bands or more is interleaved first,
    as far as the map reaches.
    """
    if roles.interpolation != "linear" or spatial.channels is not None or len(image) < 2:
        return None
    last, shape = np.moveaxis(image, 0, -1), image.shape[1:]
    box = tuple((0, n) for n in shape)
    if last.flags.c_contiguous and valid is None:
        src = kernel_source(last)
    elif len(shape) == 2 and len(image) >= MANY:
        box = input_box(spatial, shape, MARGIN) if roles.border == "constant" else box
        src = _interleaved(image, valid, box)
    else:
        return None
    kernel = bands.linear_bands_2d if len(shape) == 2 else bands.linear_bands_3d
    origin = np.array([start for start, _ in box], dtype=np.int64)
    flat, border = out.reshape(len(out), -1), BORDERS[roles.border]

    def job(block: Block) -> None:
        if block.owner == 1:
            kernel(src, origin, block.idx, block.frac, border, fills, flat, block.start)
            return
        fine = np.empty((len(out), block.idx.shape[1]), np.float32)
        kernel(src, origin, block.idx, block.frac, border, fills, fine, 0)
        for channel, into in zip(fine, flat, strict=True):
            positions.mean_of(channel, block.owner, into[block.start : block.stop])

    return job


def _interleaved(image: Array, valid: Array | None, box: tuple[tuple[int, int], ...]) -> Array:
    """(Y, X, C) copy of a box of (C, Y, X) channels; float32 with NaN where there is no data."""
    window = tuple(slice(*span) for span in box)
    part = image[(slice(None), *window)]
    plain = valid is None and part.dtype.name in NATIVE
    out = np.empty(
        (*part.shape[1:], len(part)), part.dtype.newbyteorder("=") if plain else np.float32
    )
    mask = None if valid is None else valid[(slice(None), *window)]
    if part.dtype.name not in NATIVE:
        part = np.stack([kernel_source(c) for c in part])

    def work(y: int) -> None:
        rows = slice(y, y + 64)
        for c in range(len(part)):
            out[rows, :, c] = part[c, rows]
            if mask is not None:
                out[rows, :, c][~mask[min(c, len(mask) - 1), rows]] = np.nan

    threads.run(work, range(0, out.shape[0], 64))
    return out


def _channel_job(
    channel: Array, valid: Array | None, number: int, fill: Any, roles: Roles, out: Array
) -> Callable[[Block], None]:
    mask = None if valid is None else native(valid[min(number, len(valid) - 1)])
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
    src, nan = kernel_source(channel), np.float32(np.nan)
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
        if roles.label_interpolation == "nearest" and block.owner == 1:
            _NEAREST[ndim](src, block.idx, block.frac, border, filled, into)
        elif roles.label_interpolation == "nearest":
            # The middle sub-position stands for the voxel.
            middle = slice(block.owner // 2, None, block.owner)
            idx, frac = (np.ascontiguousarray(a[:, middle]) for a in (block.idx, block.frac))
            _NEAREST[ndim](src, idx, frac, border, filled, into)
        else:
            _VOTE[ndim](
                src,
                block.idx,
                block.frac,
                block.nx,
                block.inside,
                border,
                filled,
                block.owner,
                into,
            )

    return job


def as_float(channel: Array, valid: Array | None) -> NDArray[np.float32]:
    """Float32 copy of a channel, NaN where it is not valid."""
    out = kernel_source(channel).astype(np.float32)
    if valid is not None:
        out[~valid.astype(bool)] = np.nan  # kernels read masks as uint8
    return out
