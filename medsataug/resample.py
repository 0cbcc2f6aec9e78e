"""One resampling: image, label and validity through one and the same positions.

Positions come block by block. Linear interpolation and the vote read the image where it lies,
then do anew what a border needs; where voxels have no data, and for all else, a small copy of
the source resolves borders first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import threads, timing
from medsataug.arrays import Memory, as_float, kernel_source, memory, native, plane_of, room_for
from medsataug.blocks import BOX, Block, Positions, Three
from medsataug.kernels import bands, box, edges, gather, vote
from medsataug.maps import SpatialMap
from medsataug.roles import BORDERS, Roles
from medsataug.types import Array

#: A block is packed where more than one in so many of its positions needs the border.
MANY = 8
_LINEAR = {2: gather.linear_2d, 3: gather.linear_3d}
_OTHER = {"cubic": gather.cubic, "nearest": gather.nearest}
_LANES = {2: bands.linear_bands_2d, 3: bands.linear_bands_3d}
_VOTE = {2: vote.vote_2d, 3: vote.vote_3d}
_ONLY = np.zeros(1, np.int64)


def resample_image(
    spatial: SpatialMap,
    image: Array,
    valid: NDArray[np.bool_] | None,
    label: Array | None,
    fills: NDArray[np.float32],
    label_fill: int,
    roles: Roles,
    as_given: bool = False,
    room: Array | None = None,
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
    room : array, optional
        Memory for the resulting image, where it fits.

    Returns
    -------
    image : (C, *out_shape) float32, NaN where there is no data
    label : (L, *out_shape) of the label's dtype, or None
    whole : bool
        Whether it is known already that the image has no NaN.
    """
    moving = list(range(len(image)) if spatial.channels is None else spatial.channels)
    out = _output(image, spatial.out_shape, as_given, room)
    for c in set(range(len(image))) - set(moving):
        out[c] = as_float(image[c], plane_of(valid, c))
    pixels = _Image.of(image, valid, moving, fills, roles, out)
    new_label, own = label, []
    if label is not None and spatial.channels is None:
        new_label = np.empty((len(label), *spatial.out_shape), label.dtype)
        pairs = zip(label, new_label, strict=True)
        own = [_Label.of(given, label_fill, roles, into).fill for given, into in pairs]

    whole = pixels.in_place and pixels.mask is None
    packed = not whole or roles.label_interpolation == "nearest"

    def positions(antialias: bool) -> Positions:
        return Positions(
            spatial,
            image.shape[1:],
            antialias=antialias,
            border=roles.border,
            interpolation=roles.interpolation,
            packed=packed,
            channels=len(moving),
        )

    clock, shared = timing.clock(), positions(roles.antialias)
    values, own = clock.of("image", pixels.fill), [clock.of("label", fill) for fill in own]
    clock.turn("blocks")
    if own and shared.owner > 1 and roles.label_interpolation == "nearest":
        # A nearest label knows no average: it has positions of its own, one a voxel.
        _carry(shared, [values])
        _carry(positions(antialias=False), own)
    else:
        _carry(shared, [values, *own])
    return out, new_label, len(moving) == len(image) and not pixels.nan


def _carry(positions: Positions, jobs: Sequence[Callable[[Block], None]]) -> None:
    """Run every job on every block."""

    def work(at: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        positions.each(*at, jobs)

    threads.run(work, positions.blocks)


def _output(
    image: Array, shape: tuple[int, ...], as_given: bool, room: Array | None
) -> NDArray[np.float32]:
    """(C, *shape) float32 to be filled: C-contiguous, or with channels last where the image is."""
    beside = image.strides[0] == image.itemsize == image.strides[-1] // max(len(image), 1)
    if as_given and len(image) > 1 and beside:
        return np.moveaxis(np.empty((*shape, len(image)), np.float32), -1, 0)
    return room_for((len(image), *shape), np.float32, room)  # type: ignore[no-any-return]


class _Buffers(threading.local):
    """Scratch memory of each thread, kept from block to block."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def of(self, name: str, n: int, dtype: Any = np.float32) -> Array:
        """``n`` numbers; what they were is lost."""
        if name not in self._kept or len(self._kept[name]) < n:
            self._kept[name] = np.empty(n, dtype)
        return self._kept[name][:n]


@dataclass
class _Image:
    """What a block of an image needs: its memory and where its values go.

    ``channels`` are those that move, ``valid`` (1 or channels, z, y, x) where they have data, and
    ``mask`` the same for kernels; ``thin`` says that an axis has one voxel only. ``nan``
    becomes True when a result without data is met.
    """

    source: Memory
    mask: Memory | None
    valid: NDArray[np.bool_] | None
    channels: NDArray[np.int64]
    fills: NDArray[np.float32]
    roles: Roles
    into: Memory
    thin: bool
    nan: bool = False
    _buffers: _Buffers = field(default_factory=_Buffers)

    @classmethod
    def of(
        cls,
        image: Array,
        valid: Array | None,
        moving: list[int],
        fills: NDArray[np.float32],
        roles: Roles,
        out: NDArray[np.float32],
    ) -> _Image:
        """Prepare ``moving`` channels of (C, [Z,] Y, X) ``image``."""
        mask = known = None
        if valid is not None:
            known = valid if len(valid) == 1 else valid[moving]
            known = known if known.ndim == 4 else known[:, np.newaxis]
            valid = np.broadcast_to(valid, image.shape)
            mask = memory(valid.view(np.uint8))
        source, channels = memory(kernel_source(image, valid)), np.array(moving, dtype=np.int64)
        thin = min(image.shape[1:]) < 2
        return cls(source, mask, known, channels, fills, roles, memory(out), thin)

    @cached_property
    def lanes(self) -> bool:
        """Whether channels lie side by side, as read and as written, and all of them move."""
        count, (_, read, _), (_, written, _) = len(self.channels), self.source, self.into
        beside = read[3] == written[3] == count > 1 and read[0] == written[0] == 1
        return beside and np.array_equal(self.channels, np.arange(count))

    @cached_property
    def in_place(self) -> bool:
        """Whether kernels may read the image where it lies, as far as all of it is valid."""
        along = self.lanes or self.source.strides[3] == 1
        return self.roles.interpolation == "linear" and along and not self.thin

    def fill(self, block: Block) -> None:
        """Fill a block's voxels."""
        flat, strides, shape = self.source
        to = self.channels * self.into.strides[0] + _at(block.start, self.into.strides)
        rows = (self.into.flat, to, (block.size[1], *self.into.strides[1:]))
        plain = self.in_place and block.owner == 1 and self._is_valid(block)
        if not (plain and self._is_lighter_in_place(block)):
            self._fill_packed(block, rows)
            return
        kernel = (_LANES if self.lanes else _LINEAR)[len(block.frac)]
        first, nx = self.channels * strides[0] + _at(block.first, strides), block.size[2]
        at = block.within(strides[1:])
        self._saw(kernel(flat, first, at, block.frac, strides[1:], nx, *rows))
        if len(block.beyond):
            frame = (flat, strides, shape, self.channels, block.idx, block.frac, block.beyond)
            self._saw(edges.linear(*frame, BORDERS[self.roles.border], self.fills, nx, *rows))

    def _saw(self, nan: bool) -> None:
        """Remember NaN; `|=` would read before a kernel runs what another thread sets meanwhile."""
        if nan:
            self.nan = True

    def _is_valid(self, block: Block) -> bool:
        """Whether there is data in all that a block sees of the image."""
        if self.valid is None:
            return True
        if self.roles.border != "constant" and block.reaches_beyond:
            return False  # it may show what lies elsewhere
        ends = zip(block.low, block.extent, strict=True)
        seen = tuple(slice(max(low, 0), max(low + n, 0)) for low, n in ends)
        return bool(self.valid[(slice(None), *seen)].all())

    def _is_lighter_in_place(self, block: Block) -> bool:
        """Whether few positions need the border, which are done one by one."""
        if not block.fits(self.source.strides[1:]):
            return False
        small = math.prod(block.extent) * len(self.channels) <= BOX
        return not small or MANY * len(block.beyond) <= block.idx.shape[1]

    def _fill_packed(self, block: Block, rows: tuple[Array, Array, tuple[int, ...]]) -> None:
        """`fill` from a copy in which what lies beyond the border or has no data is resolved."""
        count, axes = len(self.channels), len(block.frac)
        voxels, (at, steps) = math.prod(block.extent), block.packed()
        packed = self._buffers.of("box", voxels * count)
        where = (self.channels, block.low, block.extent, BORDERS[self.roles.border])
        box.pack(*self.source, *where, self.fills, packed)
        if self.mask is not None:
            box.blank(*self.mask, *where, packed)
        kernel = _OTHER.get(self.roles.interpolation, _LINEAR[axes])
        given = (packed, np.arange(count) * voxels, at, block.frac, steps)
        if block.owner == 1:
            self._saw(kernel(*given, block.size[2], *rows))
            return
        n = len(at)
        fine = self._buffers.of("fine", count * n)
        kernel(*given, n, fine, np.arange(count) * n, (1, 0, n, 1))
        self._saw(gather.mean_of(fine.reshape(count, n), block.owner, block.size[2], *rows))


@dataclass
class _Label:
    """What a block of one label needs."""

    source: Memory
    roles: Roles
    fills: Array
    out: Array
    _buffers: _Buffers = field(default_factory=_Buffers)

    @classmethod
    def of(cls, label: Array, fill: int, roles: Roles, out: Array) -> _Label:
        """Prepare a ([Z,] Y, X) ``label``."""
        src = native(label[np.newaxis])
        return cls(memory(src), roles, np.full(1, fill, src.dtype), out)

    def fill(self, block: Block) -> None:
        """Fill a block's voxels."""
        flat, strides, shape = self.source
        steps, border, axes = strides[1:], BORDERS[self.roles.border], len(block.frac)
        nearest, into = self.roles.label_interpolation == "nearest", self.out[block.window]
        found = self._buffers.of("found", into.size, flat.dtype)
        if block.owner == 1 and not nearest and block.fits(steps):
            at, src = block.within(steps), flat[_at(block.first, strides) :]
            _VOTE[axes](src, at, block.frac, steps, 1, found)
            if len(block.beyond):
                where = (block.idx, block.frac, block.beyond)
                edges.vote(flat, strides, shape, *where, border, self.fills[0], found)
        else:
            at, steps = block.packed()
            src = self._buffers.of("box", math.prod(block.extent), flat.dtype)
            box.pack(flat, strides, shape, _ONLY, block.low, block.extent, border, self.fills, src)
            if nearest:
                n = into.size
                gather.nearest(src, _ONLY, at, block.frac, steps, n, found, _ONLY, (1, 0, n, 1))
            else:
                _VOTE[axes](src, at, block.frac, steps, block.owner, found)
        into[...] = found.reshape(into.shape)


def _at(place: Three, strides: tuple[int, int, int, int]) -> int:
    """Distance of a voxel in memory from the first."""
    return place[0] * strides[1] + place[1] * strides[2] + place[2] * strides[3]
