"""All channels of an image at once, from memory where a voxel's channels lie side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import threads
from medsataug.arrays import NATIVE, kernel_source, plane_of
from medsataug.blocks import Block
from medsataug.kernels import bands, positions
from medsataug.maps import SpatialMap
from medsataug.roles import BORDERS, Roles
from medsataug.types import Array

#: Bands from which a planar raster is interleaved before it is resampled: from four on, that and
#: one gather cost less than a gather a band.
MANY = 4
#: Rows copied at a time.
_ROWS = 64


@dataclass
class Interleaved:
    """An interleaved source, (…, C), and where its results go.

    ``given`` says that the image itself was stored so. ``nan`` becomes True when a result
    without data is met.
    """

    source: Array
    given: bool
    fills: NDArray[np.float32]
    border: int
    nan: bool = False
    _out: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    _planar: bool = True

    @classmethod
    def of(
        cls,
        spatial: SpatialMap,
        image: Array,
        valid: Array | None,
        fills: NDArray[np.float32],
        roles: Roles,
    ) -> Interleaved | None:
        """Take (C, …) ``image`` where interleaving pays: stored so, or a raster of many bands."""
        if roles.interpolation != "linear" or spatial.channels is not None or len(image) < 2:
            return None
        last, border = np.moveaxis(image, 0, -1), BORDERS[roles.border]
        if last.flags.c_contiguous and valid is None:
            return cls(kernel_source(last), True, fills, border)
        if image.ndim == 4 or len(image) < MANY:
            return None
        return cls(_interleaved(image, valid), False, fills, border)

    def output(self, shape: tuple[int, ...], *, planar: bool) -> NDArray[np.float32]:
        """(C, *shape) float32 to be filled: C-contiguous where ``planar``, else stored alike."""
        count, self._planar = self.source.shape[-1], planar or not self.given
        if self._planar:
            out = np.empty((count, *shape), np.float32)
            self._out = out.reshape(count, -1)
            return out
        stored = np.empty((*shape, count), np.float32)
        self._out = stored.reshape(-1, count)
        return np.moveaxis(stored, -1, 0)

    def fill(self, block: Block) -> None:
        """Fill a block's voxels."""
        kernel: Any = bands.linear_bands_2d if self.source.ndim == 3 else bands.linear_bands_3d
        floats = self.source.dtype.kind == "f"
        given = (self.source, block.idx, block.frac, self.border, self.fills, floats)
        if not self._planar:
            if kernel(*given, self._out[block.start : block.stop]):
                self.nan = True
            return
        run = np.empty((block.idx.shape[1], self.source.shape[-1]), np.float32)
        if kernel(*given, run):
            self.nan = True
        if block.owner == 1:
            bands.spread(run, block.start, self._out)
            return
        fine = np.empty(run.shape[::-1], np.float32)
        bands.spread(run, 0, fine)
        for channel, into in zip(fine, self._out, strict=True):
            positions.mean_of(channel, block.owner, into[block.start : block.stop])


def _interleaved(image: Array, valid: Array | None) -> Array:
    """(Y, X, C) copy of (C, Y, X) channels; float32 with NaN where there is no data."""
    plain = valid is None and image.dtype.name in NATIVE
    dtype = image.dtype.newbyteorder("=") if plain else np.dtype(np.float32)
    out = np.empty((*image.shape[1:], len(image)), dtype)
    if image.dtype.name not in NATIVE:
        image = np.stack([kernel_source(c, plane_of(valid, k)) for k, c in enumerate(image)])

    def work(y: int) -> None:
        rows = slice(y, y + _ROWS)
        for c in range(len(image)):
            out[rows, :, c] = image[c, rows]
            plane = plane_of(valid, c)
            if plane is not None:
                out[rows, :, c][~plane[rows]] = np.nan

    threads.run(work, range(0, out.shape[0], _ROWS))
    return out
