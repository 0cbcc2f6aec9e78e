"""Source positions of a map, block by block: some rows of a plane into small shared buffers.

No array the size of a dense field ever exists.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.kernels import coords, positions
from medsataug.maps import Affine, Displacement, SpatialMap, shrink_factors
from medsataug.types import Array

#: Voxels of a block: its positions (24 bytes each) stay in the second-level cache.
BLOCK = 2**14
#: Positions of one row, sub-positions included, that are held at once.
MOST = 2**22
_DISPLACE = {2: coords.displace_2d, 3: coords.displace_3d}


@dataclass
class Block:
    """Positions of some output rows: integer part, fraction, and whether rows lie inside."""

    start: int
    stop: int
    nx: int
    owner: int
    idx: NDArray[np.int32]
    frac: NDArray[np.float32]
    inside: NDArray[np.uint8]


class Positions:
    """Source positions of a map, block by block; chooses the cheapest kernel that fits."""

    def __init__(self, spatial: SpatialMap, shape: Sequence[int], antialias: bool) -> None:
        self.out_shape = spatial.out_shape
        self.ndim = len(self.out_shape)
        self.shape = np.asarray(shape, dtype=np.int64)
        factors = shrink_factors(spatial) if antialias else (1,) * self.ndim
        self.factors = np.asarray(factors, dtype=np.int64)
        self.owner = int(np.prod(factors, dtype=object))
        if self.owner * self.out_shape[-1] > MOST:
            raise ConfigError(
                f"shrinking by {' x '.join(map(str, factors))} would average {self.owner} "
                f"positions a voxel, {self.owner * self.out_shape[-1]} a row (at most {MOST}); "
                "shrink less, in two steps with a Barrier between, or set antialias: false"
            )
        self._parts = spatial.parts
        self._fill = self._choose()
        self._buffers = threading.local()
        self.nx = self.out_shape[-1]
        rows = max(1, BLOCK // (self.nx * self.owner))
        planes = self.out_shape[0] if self.ndim == 3 else 1
        ny = self.out_shape[-2]
        self.blocks = [(z, y, min(rows, ny - y)) for z in range(planes) for y in range(0, ny, rows)]

    def block(self, z: int, y: int, rows: int) -> Block:
        """Positions of ``rows`` rows from row ``y`` of plane ``z``."""
        kept: dict[int, Any] = self._buffers.__dict__.setdefault("kept", {})
        if rows not in kept:
            n = rows * self.nx * self.owner
            kept[rows] = (
                np.empty((self.ndim, n), np.int32),
                np.empty((self.ndim, n), np.float32),
                np.empty(rows, np.uint8),
            )
        idx, frac, inside = kept[rows]
        self._fill(z, y, idx, frac, inside)
        start = (z * self.out_shape[-2] + y) * self.nx
        return Block(start, start + rows * self.nx, self.nx, self.owner, idx, frac, inside)

    def _choose(self) -> Callable[..., None]:
        """Return the kernel for the parts: a matrix, an aligned lattice, or any chain."""
        n, parts = self.ndim, self._parts
        eye = np.eye(n + 1)
        matrices = [p.matrix for p in parts if isinstance(p, Affine)]
        flat = all(np.array_equal(m[n], eye[n]) for m in matrices)
        bent = [i for i, p in enumerate(parts) if isinstance(p, Displacement)]
        if self.owner == 1 and flat and not bent:
            m = np.ascontiguousarray((matrices[0] if matrices else eye)[:n])
            kernel = coords.affine_3d if n == 3 else coords.affine_2d
            return self._rows(kernel, (m,))
        if self.owner == 1 and flat and len(bent) == 1:
            before = parts[bent[0] - 1].matrix if bent[0] else eye  # type: ignore[union-attr]
            after = parts[-1].matrix if bent[0] < len(parts) - 1 else eye  # type: ignore[union-attr]
            part = parts[bent[0]]
            assert isinstance(part, Displacement)
            if np.array_equal(before[:n, :n], np.diag(np.diag(before[:n, :n]))):
                scale = np.diag(before[:n, :n]) / part.spacing
                offset = (before[:n, n] - part.origin) / part.spacing
                m = np.ascontiguousarray((after @ before)[:n])
                linear = np.ascontiguousarray(after[:n, :n])
                kernel = coords.lattice_3d if n == 3 else coords.lattice_2d
                return self._rows(kernel, (part.controls, scale, offset, m, linear))
        return self._chain

    def _rows(self, kernel: Any, given: tuple[Any, ...]) -> Callable[..., None]:
        planar = self.ndim == 2

        def fill(z: int, y: int, idx: Array, frac: Array, inside: Array) -> None:
            where = (y,) if planar else (float(z), y)
            kernel(*given, *where, self.out_shape[-1], self.shape, idx, frac, inside)

        return fill

    def _chain(self, z: int, y: int, idx: Array, frac: Array, inside: Array) -> None:
        pos = np.empty(idx.shape)
        first = np.array([z, y, 0][-self.ndim :], dtype=np.float64)
        positions.sub_positions(first, self.nx, self.factors, pos)
        for part in self._parts:
            if isinstance(part, Affine):
                coords.transform(np.ascontiguousarray(part.matrix), pos)
            else:
                _DISPLACE[self.ndim](part.controls, part.origin, part.spacing, pos)
        coords.split(pos, self.nx * self.owner, self.shape, idx, frac, inside)
