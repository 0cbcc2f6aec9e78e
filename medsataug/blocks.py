"""Source positions of a map, block by block: a box of output voxels into small shared buffers.

No array the size of a dense field ever exists.
"""

from __future__ import annotations

import itertools
import math
import operator
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import timing
from medsataug.errors import ConfigError
from medsataug.kernels import box, coords, edges, positions
from medsataug.maps import Affine, Displacement, SpatialMap, shrink_factors
from medsataug.types import Array

#: Positions of a block: with their source they stay in the second-level cache.
BLOCK = 2**15
#: How much longer blocks are along rows than across.
ACROSS = 4
#: Voxels of the source box of a block, where it is read in place; and float32 numbers where it is
#: packed.
SPAN, BOX = 2**21, 2**20
#: Positions of one voxel that are averaged at most.
MOST = 2**22
#: Source voxels around a block's positions: one below and one above for cubic interpolation.
REACH = {"linear": (0, 1), "nearest": (0, 1), "cubic": (1, 2)}
#: Farthest index from a mirrored image, whose positions cannot be cut short at the border.
_FAR = 1e9
_DISPLACE = {2: coords.displace_2d, 3: coords.displace_3d}
Three = tuple[int, int, int]


@dataclass
class Block:
    """Positions of a box of output voxels, and the box of the source that they lie in.

    ``start`` and ``size`` say which voxels of the output, ``low`` and ``extent`` which of the
    source, whose ``shape`` they may pass; all have three axes, a plane's first being 0 and 1.
    ``idx`` and ``frac`` (N, n) are the positions, ``owner`` of them a voxel.
    """

    start: Three
    size: Three
    low: Three
    extent: Three
    shape: Three
    owner: int
    idx: NDArray[np.int32]
    frac: NDArray[np.float32]
    _known: dict[Three, NDArray[np.int32]] = field(default_factory=dict)
    _beyond: NDArray[np.int64] | None = None

    @property
    def window(self) -> tuple[slice, ...]:
        """Place in the output."""
        ends = zip(self.start, self.size, strict=True)
        return tuple(slice(a, a + n) for a, n in ends)[-len(self.frac) :]

    @property
    def first(self) -> Three:
        """Voxel of the image nearest to ``low`` that still has neighbours after it."""
        (z, y, x), (nz, ny, nx) = self.low, self.shape
        return _nearest(z, nz), _nearest(y, ny), _nearest(x, nx)

    def within(self, steps: Three) -> NDArray[np.int32]:
        """Where positions lie in the image's memory, from `first` on; they are kept inside."""
        if steps not in self._known:
            self._known[steps] = self._addresses(self.first, [n - 2 for n in self.shape], steps)
        return self._known[steps]

    def fits(self, steps: Three) -> bool:
        """Whether linear interpolation may read the image's memory itself."""
        span = sum(map(operator.mul, self.extent, steps))
        return min(self.shape[-len(self.frac) :]) > 1 and span < _FAR

    def packed(self) -> tuple[NDArray[np.int32], Three]:
        """Where positions lie in a packed copy of the box, and its steps."""
        steps = (self.extent[1] * self.extent[2], self.extent[2], 1)
        high = [a + n for a, n in zip(self.low, self.extent, strict=True)]
        return self._addresses(self.low, high, steps), steps

    def _addresses(self, low: Sequence[int], high: Sequence[int], steps: Three) -> Any:
        n, at = len(self.frac), np.empty(self.idx.shape[1], np.int32)
        box.addresses(self.idx, tuple(low[-n:]), tuple(high[-n:]), steps[-n:], at)
        return at

    @property
    def reaches_beyond(self) -> bool:
        """Whether the box of the source reaches beyond the image."""
        ends = zip(self.low, self.extent, self.shape, strict=True)
        return any(low < 0 or low + size > n for low, size, n in ends)

    @property
    def beyond(self) -> NDArray[np.int64]:
        """Numbers of the positions that need a voxel beyond the image."""
        if self._beyond is None:
            self._beyond = _NONE
            if self.reaches_beyond:
                which = np.empty(self.idx.shape[1] + 1, np.int64)
                count = edges.beyond(self.idx, self.shape[-len(self.frac) :], which)
                self._beyond = which[:count]
        return self._beyond


def _nearest(i: int, n: int) -> int:
    return max(min(i, n - 2), 0)


_NONE = np.empty(0, np.int64)


class Positions:
    """Source positions of a map, block by block; chooses the cheapest kernel that fits.

    ``packed`` says that blocks are packed, ``channels`` at once. Blocks whose source box is too
    large are divided; how blocks are cut changes no position.
    """

    def __init__(
        self,
        spatial: SpatialMap,
        shape: Sequence[int],
        *,
        antialias: bool,
        border: str,
        interpolation: str,
        packed: bool,
        channels: int,
    ) -> None:
        self.out_shape = spatial.out_shape
        self.ndim = len(self.out_shape)
        self._shape = tuple(shape)
        factors = shrink_factors(spatial) if antialias else (1,) * self.ndim
        self.factors = np.asarray(factors, dtype=np.int64)
        self.owner = int(np.prod(factors, dtype=object))
        if self.owner > MOST:
            raise ConfigError(
                f"shrinking by {' x '.join(map(str, factors))} would average {self.owner} "
                f"positions a voxel (at most {MOST}); shrink less, in two steps with a Barrier "
                "between, or set antialias: false"
            )
        self._origin = np.array(spatial.origin or (0,) * self.ndim, np.int32)[:, None]
        far = np.full(self.ndim, _FAR)
        last = self._origin[:, 0] + np.asarray(shape)
        ends = (-far, far) if border == "reflect" else (self._origin[:, 0] - 2.0, last + 1.0)
        self._limits = np.stack(ends, axis=1)
        self._below, self._above = REACH[interpolation]
        self._most = BOX // channels if packed or self.owner > 1 else SPAN // -(-channels // 8)
        self._parts = spatial.parts
        self._fill = timing.clock().of("positions", self._choose())
        self._buffers = threading.local()
        self.blocks = _blocks(self.out_shape, max(1, BLOCK // self.owner))

    def each(
        self, start: Sequence[int], size: Sequence[int], jobs: Sequence[Callable[[Block], None]]
    ) -> None:
        """Call ``jobs`` with the block, or with its parts where its source is too large."""
        idx, frac, extent = self._kept(math.prod(size) * self.owner)
        self._fill(start, size, idx, frac, extent)
        if self._origin.any():
            idx -= self._origin
            extent -= self._origin
        ends = extent.tolist()
        low = [a - self._below for a, _ in ends]
        boxed = [b + self._above + 1 - a for (_, b), a in zip(ends, low, strict=True)]
        if math.prod(boxed) > self._most and max(size) > 1:
            for first, part in _halves(start, size):
                self.each(first, part, jobs)
            return
        frame = (_three(start, 0), _three(size, 1), _three(low, 0), _three(boxed, 1))
        block = Block(*frame, _three(self._shape, 1), self.owner, idx, frac)
        for job in jobs:
            job(block)

    def _kept(self, n: int) -> Any:
        """Buffers of this thread for ``n`` positions."""
        kept: dict[int, Any] = self._buffers.__dict__.setdefault("kept", {})
        if n not in kept:
            kept[n] = (
                np.empty((self.ndim, n), np.int32),
                np.empty((self.ndim, n), np.float32),
                np.empty((self.ndim, 2), np.int32),
            )
        return kept[n]

    def _choose(self) -> Callable[..., None]:
        """Return the kernel for the parts: a matrix, an aligned lattice, or any chain."""
        n, parts = self.ndim, self._parts
        eye = np.eye(n + 1)
        matrices = [p.matrix for p in parts if isinstance(p, Affine)]
        flat = all(np.array_equal(m[n], eye[n]) for m in matrices)
        bent = [i for i, p in enumerate(parts) if isinstance(p, Displacement)]
        if self.owner == 1 and flat and not bent:
            m = np.ascontiguousarray((matrices[0] if matrices else eye)[:n])
            return self._rows(coords.affine_3d if n == 3 else coords.affine_2d, (m,))
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
        def fill(start: Any, size: Any, idx: Array, frac: Array, extent: Array) -> None:
            kernel(*given, start, size, self._limits, idx, frac, extent)

        return fill

    def _chain(self, start: Any, size: Any, idx: Array, frac: Array, extent: Array) -> None:
        pos = np.empty(idx.shape)
        positions.sub_positions(start, size, self.factors, pos)
        for part in self._parts:
            if isinstance(part, Affine):
                coords.transform(np.ascontiguousarray(part.matrix), pos)
            else:
                _DISPLACE[self.ndim](part.controls, part.origin, part.spacing, pos)
        coords.split(pos, self._limits, idx, frac, extent)


def _three(given: Sequence[int], missing: int) -> Three:
    return tuple(given) if len(given) == 3 else (missing, *given)  # type: ignore[return-value]


def _blocks(shape: Sequence[int], most: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Start and size of boxes of at most ``most`` voxels, longer along rows than across."""
    size = list(shape)
    while math.prod(size) > most:
        weighed = [*size[:-1], size[-1] / ACROSS]
        k = max((a for a, n in enumerate(size) if n > 1), key=lambda a: weighed[a])
        size[k] = -(-size[k] // 2)
    axes = [[(a, min(s, n - a)) for a in range(0, n, s)] for n, s in zip(shape, size, strict=True)]
    return [
        (tuple(a for a, _ in ends), tuple(s for _, s in ends)) for ends in itertools.product(*axes)
    ]


def _halves(
    start: Sequence[int], size: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return both halves of a box, cut across its longest axis."""
    k = max(range(len(size)), key=lambda axis: size[axis])
    half = size[k] // 2
    first, second, rest = list(size), list(size), list(start)
    first[k], second[k], rest[k] = half, size[k] - half, start[k] + half
    return [(tuple(start), tuple(first)), (tuple(rest), tuple(second))]
