"""The algebra of coordinates: what folds into one resampling.

Maps run opposite to the data: a `SpatialMap` takes an *output* index to the *input* position
whose value belongs there. Its parts apply to the output index from first to last, so the map
of the user's later transform comes first. Two kinds of part suffice: matrices, which multiply,
and displacements, which never add up (x + D₂(x) + D₁(x + D₂(x)) is a chain, not a sum).
Flips, crops, pads, rotations, resizes and patches are matrices plus an output shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError

Matrix = NDArray[np.float64]
_TAPS = np.arange(4)
_EYES = {n: np.eye(n) for n in (2, 3, 4)}
_SAMPLES = 2**16  # positions at which folding is looked for
_CHUNK = 4096  # points whose 64 taps each are held at once
Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Affine:
    """(N + 1, N + 1) homogeneous ``src_from_dst``; the last row may hold a perspective.

    The homogeneous coordinate is positive in view; what lies on the horizon or behind it is
    NaN, and the kernels fill it.
    """

    matrix: Matrix

    def __call__(self, points: Points) -> Points:
        """Map (P, N) positions."""
        q = points @ self.matrix[:, :-1].T + self.matrix[:, -1]
        return np.asarray(q[:, :-1] / np.where(q[:, -1:] > 0, q[:, -1:], np.nan))

    @property
    def perspective(self) -> bool:
        """Whether parallels may meet, so that no affine matrix describes it."""
        return not np.array_equal(self.matrix[-1], _EYES[len(self.matrix)][-1])

    def jacobian(self, points: Points) -> NDArray[np.float64]:
        """(P, N, N) derivatives at (P, N) positions."""
        m, n = self.matrix, len(self.matrix) - 1
        w = (points @ m[n, :-1] + m[n, n])[:, None, None]
        image = self(points)
        return np.asarray((m[None, :n, :n] - image[:, :, None] * m[None, n:, :n]) / w)


@dataclass(frozen=True, eq=False)
class Displacement:
    """x → x + D(x), with D a cubic B-spline of a coarse lattice of control displacements.

    ``controls`` is (N, m₀ + 3, …) float32 in voxels; lattice coordinate
    u = (x − ``origin``) / ``spacing`` runs over [0, m] and D continues constant outside.
    """

    controls: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: NDArray[np.float64]

    @property
    def cells(self) -> tuple[int, ...]:
        """Number of lattice cells along each axis."""
        return tuple(n - 3 for n in self.controls.shape[1:])

    @property
    def bound(self) -> NDArray[np.float64]:
        """(N,) largest |control| along each axis; |D| never exceeds it (convex hull)."""
        n = len(self.controls)
        return np.asarray(np.abs(self.controls).reshape(n, -1).max(axis=1), dtype=np.float64)

    def __call__(self, points: Points) -> Points:
        """Map (P, N) positions; NaN stays NaN."""
        known = np.isfinite(points).all(axis=1)
        out = np.full(points.shape, np.nan)
        out[known] = points[known] + self._spline(points[known], None)
        return out

    def jacobian(self, points: Points) -> NDArray[np.float64]:
        """(P, N, N) derivatives at (P, N) positions."""
        n = points.shape[1]
        columns = [self._spline(points, k) / self.spacing[k] for k in range(n)]
        return np.asarray(np.eye(n) + np.stack(columns, axis=2))

    def _spline(self, points: Points, derivative: int | None) -> NDArray[np.float64]:
        if len(points) > _CHUNK:
            parts = [points[i : i + _CHUNK] for i in range(0, len(points), _CHUNK)]
            return np.concatenate([self._spline(p, derivative) for p in parts])
        u = (points - self.origin) / self.spacing
        n = points.shape[1]
        cell = np.minimum(np.maximum(np.floor(u), 0), np.array(self.cells) - 1.0)
        t = u - cell
        clipped = np.minimum(np.maximum(t, 0.0), 1.0)
        taps = cell.astype(np.intp)[:, :, None] + _TAPS
        wide = [(-1, *[1] * k, 4, *[1] * (n - 1 - k)) for k in range(n)]
        index: tuple[Any, ...] = tuple(taps[:, k].reshape(wide[k]) for k in range(n))
        values = self.controls[(slice(None), *index)].astype(np.float64)
        for k in reversed(range(n)):
            if derivative == k:
                w = basis_slopes(clipped[:, k]) * (t[:, k] == clipped[:, k])[:, None]
            else:
                w = basis(clipped[:, k])
            values = np.einsum("lp...a,pa->lp...", values, w)
        return values.T

    def dense(self, per_cell: int) -> NDArray[np.float64]:
        """(N, …) displacements at ``per_cell`` evenly spaced points a cell (and the last edge)."""
        field = self.controls.astype(np.float64)
        for k, cells in enumerate(self.cells):
            field = np.moveaxis(
                np.tensordot(basis_matrix(cells, per_cell), field, (1, k + 1)), 0, k + 1
            )
        return field


def basis(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 4) cubic B-spline weights at fractions ``t`` of a cell."""
    s = 1 - t
    return np.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], axis=-1) / 6


def basis_slopes(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 4) derivatives of `basis` by ``t``."""
    s = 1 - t
    return np.stack([-(s**2), 3 * t**2 - 4 * t, -3 * s**2 + 4 * s, t**2], axis=-1) / 2


@lru_cache(maxsize=64)
def basis_matrix(cells: int, per_cell: int) -> NDArray[np.float64]:
    """(cells · per_cell + 1, cells + 3) weights of the controls at evenly spaced positions."""
    u = np.arange(cells * per_cell + 1) / per_cell
    cell = np.minimum(u.astype(np.intp), cells - 1)
    matrix = np.zeros((len(u), cells + 3))
    weights = basis(u - cell)
    for a in range(4):
        matrix[np.arange(len(u)), cell + a] = weights[:, a]
    return matrix


Part = Affine | Displacement


@dataclass(frozen=True, eq=False)
class SpatialMap:
    """Pull-back map of a whole image.

    Attributes
    ----------
    out_shape : tuple of int
    parts : tuple of Affine or Displacement
        Applied to the output index from first to last.
    regrids : bool
        Whether the voxel grid itself changes (crop, pad, resize, resample) rather than the
        anatomy within it.
    channels : tuple of int or None
        Only these channels move (misregistered bands); the shape then stays.
    origin : tuple of int
        First voxel of the input that is in memory, where that is a window of it; else empty.
        Positions stay those of the whole input, so that a window gives the same bits.
    """

    out_shape: tuple[int, ...]
    parts: tuple[Part, ...]
    regrids: bool = False
    channels: tuple[int, ...] | None = None
    origin: tuple[int, ...] = field(default=(), metadata={"saved": False})

    def __call__(self, points: Points) -> Points:
        """Input positions of (P, N) output positions."""
        for part in self.parts:
            points = part(points)
        return points

    @property
    def matrix(self) -> Matrix:
        """Product of the matrices, perspective included: the map without its displacements."""
        matrices = [p.matrix for p in self.parts if isinstance(p, Affine)]
        if not matrices:
            return _EYES[len(self.out_shape) + 1]
        product = matrices[0]
        for matrix in matrices[1:]:
            product = matrix @ product
        return product

    @property
    def elastic(self) -> bool:
        """Whether no affine matrix describes it: a displacement or a perspective is among them."""
        return any(isinstance(p, Displacement) or p.perspective for p in self.parts)

    @property
    def tangent(self) -> Matrix:
        """Affine matrix that `matrix` is; of a perspective, that which touches it at the centre."""
        whole = Affine(self.matrix)
        if not whole.perspective:
            return whole.matrix
        centre = (np.array(self.out_shape) - 1) / 2
        linear = whole.jacobian(centre[None])[0]
        return homogeneous(linear, whole(centre[None])[0] - linear @ centre)

    def inverse_points(self, points: Points, tolerance: float = 1e-3) -> Points:
        """Output positions of (P, N) input positions, part by part in reverse.

        Displacements are inverted by Newton's method with the analytic Jacobian; a point that
        does not come within ``tolerance`` voxels is NaN.
        """
        for part in reversed(self.parts):
            if isinstance(part, Affine):
                points = Affine(np.asarray(np.linalg.inv(part.matrix)))(points)
            else:
                points = _newton(part, points, tolerance)
        return points


def _newton(part: Displacement, target: Points, tolerance: float) -> Points:
    """(P, N) positions that ``part`` takes to ``target``; NaN where none is found."""
    from medsataug.kernels.lattice import contract_2d, contract_3d

    out, known = np.full(target.shape, np.nan), np.isfinite(target).all(axis=1)
    goal, fine = target[known], tolerance * 1e-3
    # Where nothing folds steeply, x ← goal − D(x) contracts: cheap rounds before Newton's.
    contract = contract_2d if target.shape[1] == 2 else contract_3d
    start = np.ascontiguousarray(goal.T, dtype=np.float64)
    rounds = start.copy()
    contract(part.controls, part.origin, part.spacing, start, 12, rounds)
    again = rounds.copy()
    contract(part.controls, part.origin, part.spacing, start, 1, again)  # x − again is the miss
    x = np.ascontiguousarray(rounds.T)
    todo = np.flatnonzero(~(np.linalg.norm(again - rounds, axis=0) <= fine))
    lost = todo[~(np.abs(x[todo] - goal[todo]) <= part.bound + 1).all(axis=1)]
    x[lost] = goal[lost]
    limit = part.spacing / 2  # a longer step would leave the cell that the slope describes
    for _ in range(30):
        miss = part(x[todo]) - goal[todo]
        far = np.linalg.norm(miss, axis=1) > fine
        todo, miss = todo[far], miss[far]
        if not len(todo):
            break
        step = np.linalg.solve(part.jacobian(x[todo]), miss[:, :, None])[:, :, 0]
        x[todo] -= np.clip(step, -limit, limit)
    x[todo[np.linalg.norm(part(x[todo]) - goal[todo], axis=1) > tolerance]] = np.nan
    out[known] = x
    return out


def fold(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Multiply adjacent matrices and drop what does nothing."""
    folded: list[Part] = []
    for part in parts:
        if isinstance(part, Displacement) and not part.controls.any():
            continue
        if isinstance(part, Affine) and folded and isinstance(folded[-1], Affine):
            folded[-1] = Affine(part.matrix @ folded[-1].matrix)
        else:
            folded.append(part)
    return tuple(p for p in folded if not (isinstance(p, Affine) and _is_eye(p.matrix)))


def _is_eye(matrix: Matrix) -> bool:
    return bool((matrix == _EYES[len(matrix)]).all())


def compose(first: SpatialMap, second: SpatialMap) -> SpatialMap:
    """Return the map of ``first`` then ``second``, in the order of the data."""
    if first.channels != second.channels:
        raise ConfigError("maps of different channels do not fold")
    return SpatialMap(
        second.out_shape,
        fold(second.parts + first.parts),
        first.regrids or second.regrids,
        second.channels,
    )


def inverse(spatial: SpatialMap, shape: Sequence[int]) -> SpatialMap:
    """Return the map that takes the output of ``spatial`` back to its input, of ``shape``.

    Raises
    ------
    ConfigError
        Where a displacement is among its parts: no part undoes that, but
        `SpatialMap.inverse_points` does, position by position.
    """
    if any(isinstance(p, Displacement) for p in spatial.parts):
        raise ConfigError("a map with a displacement has no inverse of matrices")
    matrix = np.asarray(np.linalg.inv(spatial.matrix))
    if signed_permutation(spatial.matrix) is not None:
        matrix = np.round(matrix) + 0.0  # whole voxels stay whole
    return SpatialMap(tuple(shape), fold((Affine(matrix),)), spatial.regrids, spatial.channels)


def identity(shape: Sequence[int]) -> SpatialMap:
    """Return the map that moves nothing."""
    return SpatialMap(tuple(shape), ())


def is_identity(spatial: SpatialMap, shape: Sequence[int]) -> bool:
    """Whether ``spatial`` gives back an image of ``shape`` as it is."""
    return not spatial.parts and spatial.out_shape == tuple(shape)


def homogeneous(linear: NDArray[np.float64], offset: NDArray[np.float64] | float = 0.0) -> Matrix:
    """(N + 1, N + 1) matrix of x → linear @ x + offset."""
    n = len(linear)
    m = _EYES[n + 1].copy()
    m[:n, :n] = linear
    m[:n, n] = offset
    return m


def about(centre: NDArray[np.float64], linear: NDArray[np.float64]) -> Matrix:
    """Homogeneous matrix of ``linear`` applied about ``centre``."""
    return homogeneous(linear, centre - linear @ centre)


def inside(points: Points, shape: Sequence[int], rim: float = 0.0) -> NDArray[np.bool_]:
    """(P,) whether (P, N) positions lie in a frame, or within ``rim`` of it; NaN does not."""
    end = np.asarray(shape, dtype=np.float64) - 0.5
    return np.asarray(((points >= -0.5 - rim) & (points < end + rim)).all(axis=-1))


def signed_permutation(matrix: Matrix) -> tuple[list[int], list[int], list[int]] | None:
    """Say whether a matrix only turns, mirrors and shifts by whole voxels.

    Returns
    -------
    (axes, signs, offsets) or None
        Input axis k runs along output axis ``axes[k]`` with ``signs[k]`` from ``offsets[k]``.
    """
    n = len(matrix) - 1
    linear, offset = matrix[:n, :n], matrix[:n, n]
    if not np.array_equal(matrix[n], np.eye(n + 1)[n]):
        return None
    if np.any((linear != 0) & (np.abs(linear) != 1)) or np.any(offset != np.round(offset)):
        return None
    if np.any(np.count_nonzero(linear, axis=0) != 1) or np.any(
        np.count_nonzero(linear, axis=1) != 1
    ):
        return None
    axes = [int(np.flatnonzero(row)[0]) for row in linear]
    signs = [int(linear[k, axes[k]]) for k in range(n)]
    return axes, signs, [int(o) for o in offset]


def input_box(
    spatial: SpatialMap, shape: Sequence[int], margin: int
) -> tuple[tuple[int, int], ...]:
    """Part of an input of ``shape`` that the output can need: (start, stop) along each axis.

    Exact for matrices (everything where a perspective's horizon is in view), and by the convex
    hull of the controls for displacements; ``margin``
    voxels more for the interpolation. Empty boxes are kept at one voxel.
    """
    n = len(spatial.out_shape)
    corners = np.array(list(itertools.product(*[(-0.5, m - 0.5) for m in spatial.out_shape])))
    low, high = corners.min(axis=0), corners.max(axis=0)
    for part in spatial.parts:
        if isinstance(part, Affine):
            box = np.array(list(itertools.product(*zip(low, high, strict=True))))
            depth = box @ part.matrix[n, :n] + part.matrix[n, n]
            if depth.min() <= 0 <= depth.max():  # the horizon is in view, and with it everything
                return tuple((0, int(m)) for m in shape)
            mapped = part(box)
            low, high = mapped.min(axis=0), mapped.max(axis=0)
        else:
            low, high = low - part.bound, high + part.bound
    starts = [int(np.clip(np.floor(low[k]) - margin, 0, shape[k] - 1)) for k in range(n)]
    stops = [int(np.clip(np.ceil(high[k]) + margin + 1, starts[k] + 1, shape[k])) for k in range(n)]
    return tuple(zip(starts, stops, strict=True))


def shrink_factors(spatial: SpatialMap) -> tuple[int, ...]:
    """Sub-positions along each output axis: 1 up to a shrinking of 1.5, ceil(s) above.

    s is the norm of the column of the output → input linear part; of a perspective, at the
    centre. Where its horizon is in view there is no one s, and nothing is averaged.
    """
    n, last = len(spatial.out_shape), spatial.matrix[-1]
    reach = np.abs(last[:n]) @ np.array(spatial.out_shape) / 2
    if last[:n] @ (np.array(spatial.out_shape) - 1) / 2 + last[n] <= reach:
        return (1,) * n
    norms = np.minimum(np.linalg.norm(spatial.tangent[:n, :n], axis=0), 2.0**20)
    return tuple(int(np.ceil(s - 1e-9)) if s > 1.5 else 1 for s in norms)


def smallest_jacobian(spatial: SpatialMap, per_cell: int = 3) -> float:
    """Smallest sampled Jacobian determinant among the elastic parts; 1 where there is none.

    Below zero the deformation folds.
    """
    smallest = 1.0
    for part in spatial.parts:
        if isinstance(part, Displacement):
            # Of a lattice of very many cells, evenly spaced positions.
            most = int(_SAMPLES ** (1 / len(part.cells)))
            axes = [np.linspace(0, c, min(c * per_cell + 1, most)) for c in part.cells]
            u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
            det = np.linalg.det(part.jacobian(part.origin + u * part.spacing))
            smallest = min(smallest, float(det.min()))
    return smallest
