"""Where voxels are: an index space and its affine map to the world.

Array order is (Z, Y, X) everywhere; the columns of an affine therefore run in array order,
its rows in world order (x, y, z). Index coordinates name voxel *centres*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import GeometryError

RAS_MM = "RAS+ mm"
MM = "mm"
_RAS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
#: Words for anatomical axes, as the row of the world they name.
ANATOMICAL_AXES = {"left-right": 0, "anterior-posterior": 1, "superior-inferior": 2}
#: Words for array axes, counted from the last.
ARRAY_AXES = {"x": -1, "y": -2, "z": -3, "horizontal": -1, "vertical": -2}


@dataclass(frozen=True, eq=False)
class Grid:
    """An index space and its place in the world.

    Parameters
    ----------
    shape : tuple of int
        ``(Z, Y, X)`` or ``(Y, X)``.
    affine : (W + 1, N + 1) array of float64
        Homogeneous map from index (array order, voxel centres) to world (x, y[, z]).
        ``W`` is 2 or 3 and at least ``N``; a single slice of a volume has N = 2, W = 3.
    world : str or None
        ``"RAS+ mm"``, ``"mm"`` (sizes known, orientation not), a CRS, or None (nothing known).
    metres : tuple of float or None
        Metres in one world unit, along each world axis; None when the world has no length.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    world: str | None = None
    metres: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if affine.ndim != 2 or affine.shape[1] != len(shape) + 1:
            raise GeometryError(
                f"an affine for shape {shape} has {len(shape) + 1} columns; got {affine.shape}"
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def regular(cls, shape: Sequence[int], spacing: Sequence[float] | None = None) -> Grid:
        """Axis-aligned grid of known ``spacing`` (mm, array order), or of unknown spacing."""
        n = len(shape)
        affine = np.zeros((n + 1, n + 1))
        steps = np.ones(n) if spacing is None else np.asarray(spacing, dtype=np.float64)
        if steps.shape != (n,) or not np.all(np.isfinite(steps)) or np.any(steps <= 0):
            raise GeometryError(f"spacing: {n} positive numbers (Z, Y, X) expected, got {spacing}")
        affine[np.arange(n), np.arange(n)[::-1]] = steps[::-1]
        affine[n, n] = 1
        if spacing is None:
            return cls(tuple(shape), affine)
        return cls(tuple(shape), affine, MM, (1e-3,) * n)

    @property
    def ndim(self) -> int:
        """Number of index axes, 2 or 3."""
        return len(self.shape)

    @cached_property
    def physical(self) -> NDArray[np.float64]:
        """(W, N) linear part of the affine in metres, or in voxels when sizes are unknown."""
        linear = self.affine[:-1, :-1]
        return linear if self.metres is None else np.asarray(self.metres)[:, None] * linear

    @cached_property
    def spacing(self) -> NDArray[np.float64]:
        """(N,) world units from one voxel to the next along each array axis."""
        return np.asarray(np.linalg.norm(self.affine[:-1, :-1], axis=0))

    @cached_property
    def spacing_m(self) -> NDArray[np.float64] | None:
        """(N,) voxel size in metres, or None when unknown."""
        return None if self.metres is None else np.asarray(np.linalg.norm(self.physical, axis=0))

    @cached_property
    def frame(self) -> NDArray[np.float64]:
        """(N, N) map from index steps to an orthonormal frame along the array's axes.

        Lengths are true in it, up to one common factor. It is the orthonormal polar factor of
        the affine with unit columns; for axes at right angles the map is diagonal.
        """
        lengths = np.linalg.norm(self.physical, axis=0)
        u, _, vt = np.linalg.svd(self.physical / lengths, full_matrices=False)
        local = (u @ vt).T @ self.physical / lengths.min()
        diagonal = np.diag(np.diag(local))
        near = np.abs(local - diagonal).max() < 1e-9 * np.abs(local).max()
        return np.asarray(diagonal if near else local)

    @property
    def orientation(self) -> str | None:
        """World direction of each array axis, such as ``"SAR"``; None where unknown."""
        if self.world != RAS_MM:
            return None
        rows = self._closest_world_axes()
        signs = self.affine[:-1, :-1][rows, np.arange(self.ndim)] > 0
        return "".join(_RAS_LETTERS[r][int(s)] for r, s in zip(rows, signs, strict=True))

    def _closest_world_axes(self) -> NDArray[np.intp]:
        """Row of the world that each array axis follows most closely, each row used once."""
        linear = np.abs(self.affine[:-1, :-1])
        linear = linear / np.linalg.norm(linear, axis=0)
        rows = np.full(self.ndim, -1)
        for _ in range(self.ndim):
            row, column = np.unravel_index(np.argmax(linear), linear.shape)
            rows[column] = row
            linear[row, :] = -1
            linear[:, column] = -1
        return rows

    def axis(self, name: int | str) -> int:
        """Array axis (0 … N-1) for a number, ``"x" "y" "z"``, or an anatomical name.

        Raises
        ------
        GeometryError
            For an anatomical name where the orientation is unknown: it is never guessed.
        """
        n = self.ndim
        if isinstance(name, str) and name in ANATOMICAL_AXES:
            if self.world != RAS_MM:
                raise GeometryError(
                    f"axis {name!r} needs a known orientation, and this grid's world is "
                    f"{self.world!r}; use 'x', 'y', 'z' or load a file that states its orientation"
                )
            rows = list(self._closest_world_axes())
            if ANATOMICAL_AXES[name] not in rows:
                raise GeometryError(f"axis {name!r} is not in this {n}D slice")
            return rows.index(ANATOMICAL_AXES[name])
        number = ARRAY_AXES.get(name) if isinstance(name, str) else int(name)
        if number is None:
            known = ", ".join([*ARRAY_AXES, *ANATOMICAL_AXES])
            raise GeometryError(f"axis {name!r} is not known; allowed: 0 to {n - 1}, {known}")
        if not -n <= number < n:
            raise GeometryError(f"axis {name!r} does not exist in a {n}D grid")
        return number % n

    def moved(self, src_from_dst: NDArray[np.float64], shape: Sequence[int]) -> Grid:
        """Grid of an array of ``shape`` whose index ``i`` shows ``src_from_dst @ i`` of this."""
        return Grid(tuple(shape), self.affine @ src_from_dst, self.world, self.metres)

    def world_of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, W) world coordinates of (P, N) index coordinates."""
        return np.asarray(points @ self.affine[:-1, :-1].T + self.affine[:-1, -1])

    def mismatch(self, other: Grid, tolerance: float = 1e-3) -> str | None:
        """Say how ``other`` differs, or None where both are the same grid.

        ``tolerance`` is a fraction of a voxel, at any corner of the grid.
        """
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        if self.world is None or other.world is None:
            return None
        if self.world != other.world and MM not in (self.world, other.world):
            return f"world {self.world!r} against {other.world!r}"
        if self.affine.shape != other.affine.shape:
            return "a slice against a volume"
        if self.world == other.world and np.array_equal(self.affine, other.affine):
            return None
        corners = np.stack(
            np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), axis=-1
        ).reshape(-1, self.ndim)
        apart = np.linalg.norm(self.world_of(corners) - other.world_of(corners), axis=1)
        if MM in (self.world, other.world):
            same = np.allclose(self.spacing, other.spacing, rtol=tolerance)
            return None if same else f"spacing {self.spacing} against {other.spacing}"
        if apart.max() > tolerance * float(self.spacing.min()):
            return (
                f"affine {np.array2string(self.affine, precision=4, suppress_small=True)} against "
                f"{np.array2string(other.affine, precision=4, suppress_small=True)} "
                f"(up to {apart.max():.4g} world units apart)"
            )
        return None
