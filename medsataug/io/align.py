"""Two files on one grid: the same voxels stored in another order, or a resampling asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError, GeometryError
from medsataug.grid import MM, Grid
from medsataug.io.base import Loaded
from medsataug.io.encode import to_dtype
from medsataug.types import Array, LazyImage

MATCHES = (None, "first", "ignore")


def check_match(match: str | None) -> None:
    """Refuse a ``match`` that is not known."""
    if match not in MATCHES:
        raise ConfigError(f"match: {match!r} is not known; allowed: 'first', 'ignore' or None")


def aligned(
    loaded: Loaded, grid: Grid, match: str | None, role: str, path: Path, first: Path
) -> Loaded:
    """Return ``loaded`` on ``grid``, which is that of the file ``first``.

    The same voxels in another storage order are reordered exactly. ``match="first"`` resamples:
    linearly with the weights of valid voxels for an image, by the nearest voxel for a label.
    ``match="ignore"`` takes equal shapes for equal grids.

    Raises
    ------
    GeometryError
        Where the grids differ and ``match`` does not say what to do, or cannot be done.
    """
    reason = grid.mismatch(loaded.grid)
    if reason is None:
        return replace(loaded, grid=grid)
    order = _reordering(loaded.grid, grid)
    if order is not None:
        whole = materialised(loaded)
        valid = None if whole.valid is None else _reordered(whole.valid, *order)
        return replace(whole, image=_reordered(whole.image, *order), grid=grid, valid=valid)
    same_shape = grid.shape == loaded.grid.shape
    if match == "ignore" and same_shape:
        return replace(loaded, grid=grid)
    if match != "first":
        ways = [f"match='first' (--match first) resamples the {role} onto the first's grid"]
        if same_shape:
            ways.append("match='ignore' (--match ignore) takes its voxels as they are")
        raise GeometryError(
            f"{first} and {path} are not on one grid: {' '.join(reason.split())}; "
            + ", ".join(ways)
        )
    if loaded.grid.world != grid.world or grid.world in (None, MM):
        raise GeometryError(
            f"{path}: cannot be resampled onto {first}, as the place of one is not known in the "
            f"other's world ({loaded.grid.world!r} and {grid.world!r}); bring both to one world "
            "first, or make their shapes equal and use match='ignore' (--match ignore)"
        )
    if loaded.grid.affine.shape[0] != loaded.grid.affine.shape[1]:
        raise GeometryError(f"{path}: one slice cannot be resampled onto the grid of {first}")
    return _resampled(materialised(loaded), grid, role)


def materialised(loaded: Loaded) -> Loaded:
    """Return ``loaded`` with its image in memory."""
    image = loaded.image
    if not isinstance(image, LazyImage):
        return loaded
    window = tuple(slice(0, n) for n in loaded.grid.shape)
    return replace(loaded, image=image.read(window), valid=image.read_valid(window))


def _reordering(grid: Grid, onto: Grid) -> tuple[list[int], list[int]] | None:
    """Return the axes of ``grid`` in the order of ``onto``, and those then to flip.

    None where the two are not the same voxels.
    """
    if grid.world != onto.world or grid.world in (None, MM) or grid.ndim != onto.ndim:
        return None
    step = np.round(np.linalg.pinv(grid.affine) @ onto.affine)[:-1, :-1]
    axes = [int(k) for k in np.abs(step).argmax(axis=0)]
    permutation = np.zeros_like(step)
    permutation[axes, range(grid.ndim)] = 1
    if sorted(axes) != list(range(grid.ndim)) or not np.array_equal(np.abs(step), permutation):
        return None
    flips = [k for k, axis in enumerate(axes) if step[axis, k] < 0]
    src_from_dst = np.eye(grid.ndim + 1)
    src_from_dst[:-1, :-1] = step
    for k in flips:
        src_from_dst[axes[k], -1] = grid.shape[axes[k]] - 1
    shape = [grid.shape[axis] for axis in axes]
    return None if onto.mismatch(grid.moved(src_from_dst, shape)) else (axes, flips)


def _reordered(array: Array | LazyImage, axes: list[int], flips: list[int]) -> Array:
    assert not isinstance(array, LazyImage)
    turned = array.transpose(0, *(axis + 1 for axis in axes))
    return np.ascontiguousarray(np.flip(turned, tuple(k + 1 for k in flips)))


def _resampled(loaded: Loaded, grid: Grid, role: str) -> Loaded:
    image = np.asarray(loaded.image)
    src_from_dst = np.linalg.inv(loaded.grid.affine) @ grid.affine
    out = np.zeros((len(image), *grid.shape), image.dtype)
    known = np.zeros((len(image), *grid.shape), bool)
    planes = 1 if grid.ndim == 2 else grid.shape[0]
    size = np.array(image.shape[1:]).reshape(-1, *[1] * 2)
    # One plane at a time: coordinates of a whole volume would be larger than the volume.
    for z in range(planes):
        index = np.indices(grid.shape[-2:], dtype=np.float64)
        if grid.ndim == 3:
            index = np.concatenate([np.full((1, *index.shape[1:]), float(z)), index])
        linear, shift = src_from_dst[:-1, :-1], src_from_dst[:-1, -1]
        where = np.tensordot(linear, index, axes=1) + shift.reshape(-1, 1, 1)
        # The image's domain is [-1/2, n - 1/2); rounding of the affine gets a little room.
        inside = np.asarray(((where >= -0.5 - 1e-6) & (where < size - 0.5 + 1e-6)).all(axis=0))
        place = (slice(None), z) if grid.ndim == 3 else (slice(None),)
        out[place], known[place] = _plane(image, loaded.valid, where, inside, role)
    valid = None if role == "label" or known.all() else known
    return replace(loaded, image=out, grid=grid, valid=valid)


def _plane(
    image: Array,
    valid: NDArray[np.bool_] | None,
    where: NDArray[np.float64],
    inside: NDArray[np.bool_],
    role: str,
) -> tuple[Array, Array]:
    """(C, Y, X) values at ``where``, and whether they are known."""
    from scipy.ndimage import map_coordinates

    def sampled(values: Array, order: int, dtype: Any = None) -> Array:
        found = map_coordinates(values, where, order=order, mode="nearest", output=dtype)
        return np.asarray(found)

    if role == "label":
        values = np.stack([sampled(layer, 0, image.dtype) for layer in image])
        return np.where(inside, values, 0), np.broadcast_to(inside, values.shape)
    shown, known = [], []
    for number, layer in enumerate(image):
        wide = layer.astype(np.float64)
        weight = np.ones(where.shape[1:])
        if valid is not None:
            mask = valid[number % len(valid)]
            weight = sampled(mask.astype(np.float64), 1)
            wide = np.where(mask, wide, 0.0)
        counts = inside & (weight >= 0.5)
        values = np.divide(sampled(wide, 1), weight, out=np.zeros_like(weight), where=counts)
        shown.append(to_dtype(values, image.dtype))
        known.append(counts)
    return np.stack(shown), np.stack(known)
