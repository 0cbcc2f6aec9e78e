"""The way back: from the grid that a plan leads to, to the one that it started from.

All maps of a plan fold into one, so that there is one interpolation at most, and none where only
whole voxels move. What a network said of one voxel is told to every voxel of the case that
it stands for, up to the rim: borders are held. What the plan cut away, the network never saw:
there every probability is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medsataug import maps
from medsataug.copying import copied
from medsataug.errors import ConfigError, GeometryError
from medsataug.maps import SpatialMap
from medsataug.plan import Plan
from medsataug.resample import resample_image
from medsataug.roles import Roles
from medsataug.types import Array
from medsataug.values import LabelStep, Mix

Probabilities = NDArray[np.float32]
#: Label values, or their number, which stands for 0, 1, …
Classes = int | Sequence[int] | None
Mask = NDArray[np.bool_]
#: Positions that are inverted at once where no matrix describes the map.
_POINTS = 2**18
#: How far beyond a frame's rim, in voxels, a voxel's centre still counts as inside.
_RIM = 1e-6


def back(plan: Plan, array: Array, *, classes: Classes = None, fill: int = 0) -> Array:
    """Bring probabilities or a label from a plan's output grid back to its source grid.

    Turns, mirrors, crops and pads are undone voxel by voxel, bit for bit. Anything else is
    interpolated linearly, averaging where it shrinks as the way there does; a deformation is
    inverted to 1e-3 voxel and does not average. Mirrors with ``swap`` exchange the classes again;
    other changes of values have nothing to undo.

    Parameters
    ----------
    plan : Plan
    array : (K, [Z,] Y, X) float, or ([L,] [Z,] Y, X) integers
        Class probabilities, or labels, on ``plan.grid``. A label goes by its largest share, the
        smallest value where shares are equal.
    classes : int or sequence of int, optional
        Label values of the K probabilities; by default, or where their number is given,
        0 … K − 1.
    fill : int
        Label of what the plan cut away.

    Returns
    -------
    array
        On ``plan.source``: float32 probabilities, all 0 in what the plan cut away, or labels of
        the dtype given.

    Raises
    ------
    GeometryError
        For an array of another shape.
    ConfigError
        For a plan that mixes in other samples, and for classes that are not K.
    """
    array, ndim = np.asarray(array), plan.grid.ndim
    _check(plan, array)
    if array.dtype.kind == "f":
        return brought_back(plan, array, classes)[0]
    layers = array.reshape(-1, *plan.grid.shape)
    swapped, limits = _swapped(plan), np.iinfo(array.dtype)
    for value in (fill, *swapped.values()):
        if not limits.min <= value <= limits.max:
            raise ConfigError(
                f"back: the label {value} does not fit {array.dtype}; give a fill of {limits.min} "
                f"… {limits.max}, or the label in a type that holds it"
            )
    out = np.full((len(layers), *plan.source.shape), fill, array.dtype)
    for layer, into in zip(layers, out, strict=True):
        best = np.zeros(plan.source.shape, np.float32)
        for value in np.unique(layer).tolist():
            share = _moved_back(plan, (layer == value)[np.newaxis].astype(np.float32))[0][0]
            np.copyto(into, swapped.get(value, value), where=share > best)
            np.maximum(best, share, out=best)
    return out.reshape(*array.shape[: array.ndim - ndim], *plan.source.shape)


def brought_back(
    plan: Plan, probabilities: Array, classes: Classes = None
) -> tuple[Probabilities, Mask | None]:
    """Probabilities on the source grid, and which of its voxels they cover; None for all."""
    swapped = _swapped(plan)
    known = class_values(classes, len(probabilities))
    missing = [v for v in swapped if v not in known and swapped[v] in known]
    if missing:
        raise ConfigError(
            f"back: the plan swaps the labels {missing[0]} and {swapped[missing[0]]}, of which "
            f"only one is a class; the classes are {known}"
        )
    if swapped:
        probabilities = probabilities[[known.index(swapped.get(v, v)) for v in known]]
    return _moved_back(plan, np.ascontiguousarray(probabilities, np.float32))


def class_values(classes: Classes, count: int) -> list[int]:
    """Label values of ``count`` probabilities.

    Raises
    ------
    ConfigError
        For another number of them, or a value given twice.
    """
    given: Any = count if classes is None else classes
    try:
        values = [*range(given)] if isinstance(given, Integral) else [int(c) for c in given]
    except (TypeError, ValueError):
        values = []
    if len(values) != count or len(set(values)) < count:
        raise ConfigError(
            f"classes: {classes!r}; {count} label values expected, one for each of the "
            "probabilities, or how many there are"
        )
    return values


def _check(plan: Plan, array: Array) -> None:
    shape, ndim = plan.grid.shape, plan.grid.ndim
    axes = (ndim + 1,) if array.dtype.kind == "f" else (ndim, ndim + 1)
    if array.dtype.kind not in "fiu" or array.ndim not in axes or array.shape[-ndim:] != shape:
        raise GeometryError(
            f"back: (K, {', '.join(map(str, shape))}) probabilities or a label of that shape "
            f"expected, as the plan's grid is, got {array.dtype} of {list(array.shape)}"
        )
    if any(isinstance(step, Mix) for segment in plan.segments for step in segment.steps):
        raise ConfigError("back: the plan mixes in other samples, which nothing can undo")


def _swapped(plan: Plan) -> dict[int, int]:
    """Label before the plan of each label after it, where mirrors swap."""
    before: dict[int, int] = {}
    for segment in plan.segments:
        for step in segment.steps:
            if isinstance(step, LabelStep) and step.function == "flip:swapped":
                pairs = zip(step.params[::2], step.params[1::2], strict=True)
                table = {int(a): int(b) for a, b in pairs}  # an exchange: its own inverse
                before = {v: before.get(table.get(v, v), table.get(v, v))
                          for v in {*before, *table}}  # fmt: skip
    return {a: b for a, b in before.items() if a != b}


def _moved_back(plan: Plan, array: Probabilities) -> tuple[Probabilities, Mask | None]:
    """(K, …) values on the source grid, 0 where none is known, and where one is."""
    path, shape = plan.path, plan.source.shape
    if not path:
        return array.copy(), None
    whole = reduce(maps.compose, path)
    if whole.elastic:
        return _at_positions(path, array, shape)
    inverse, covered = maps.inverse(whole, shape), _covered(path, shape)
    new = copied(inverse, array, 0, "constant")
    if new is None:
        roles = Roles(border="edge", antialias=plan.roles.antialias)
        fills = np.zeros(len(array), np.float32)
        new = resample_image(inverse, array, None, None, fills, 0, roles)[0]
    if covered is not None:
        np.copyto(new, 0, where=~covered)
    return np.asarray(new, dtype=np.float32), covered


def _covered(path: Sequence[SpatialMap], shape: tuple[int, ...]) -> Mask | None:
    """Source voxels that lie in every frame on the way, by matrices; None where all do."""
    n, to_frame = len(shape), np.eye(len(shape) + 1)
    corners = np.stack(np.meshgrid(*[(0, m - 1) for m in shape], indexing="ij"), -1).reshape(-1, n)
    mask: Mask | None = None
    for spatial in path:
        to_frame = maps.inverse(spatial, shape).matrix @ to_frame
        if maps.inside(maps.Affine(to_frame)(corners), spatial.out_shape, _RIM).all():
            continue  # a frame is convex, and so is the source
        mask = np.ones(shape, bool) if mask is None else mask
        for k, size in enumerate(spatial.out_shape):
            at: Any = to_frame[k, n]
            for axis in np.flatnonzero(to_frame[k, :n]):
                along = np.arange(shape[axis]).reshape(-1, *[1] * (n - 1 - axis))
                at = at + to_frame[k, axis] * along
            mask &= (at >= -0.5 - _RIM) & (at < size - 0.5 + _RIM)
    return mask


def _at_positions(
    path: Sequence[SpatialMap], array: Probabilities, shape: tuple[int, ...]
) -> tuple[Probabilities, Mask]:
    """As `_moved_back`, with the position of every source voxel found by itself."""
    out, covered = np.zeros((len(array), *shape), np.float32), np.zeros(shape, bool)
    flat, known = out.reshape(len(array), -1), covered.reshape(-1)
    for part, points in _centres(shape):
        inside = np.ones(len(points), bool)
        for spatial in path:
            points = spatial.inverse_points(points)
            inside &= maps.inside(points, spatial.out_shape, _RIM)
        known[part] = inside
        at, where = points[inside].T, part.start + np.flatnonzero(inside)
        for values, into in zip(array, flat, strict=True):
            into[where] = map_coordinates(values, at, order=1, mode="nearest")
    return out, covered


def _centres(shape: tuple[int, ...]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """(place in C order, (P, N) index coordinates) of all voxels, part by part."""
    total = int(np.prod(shape))
    for start in range(0, total, _POINTS):
        part = slice(start, min(start + _POINTS, total))
        index = np.unravel_index(np.arange(part.start, part.stop), shape)
        yield part, np.stack(index, axis=1).astype(np.float64)
