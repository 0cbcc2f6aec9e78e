"""Points, boxes and polygons: through a plan by its exact inverse, and how much of them is left.

All are in index coordinates, in the order of the array's axes, where whole numbers are the centres
of voxels: an image of n voxels spans [−½, n − ½]. A box tightly around voxels a … b is therefore
[a − ½, b + ½]. Nothing is dropped or reordered, so that lists of names, classes or scores beside
them stay aligned: what leaves the frame stays in its place, with coordinates outside, and what has
no place at all (behind a perspective's horizon) is NaN; `visible` says how much is still inside.
A mix brings no shapes of its partners, and does not look whether they cover the sample's own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.maps import inside

if TYPE_CHECKING:
    from medsataug.types import Array, Sample

Points = NDArray[np.float64]
Inverse = Callable[[Points], Points]
#: Longest stretch, in voxels, between the positions at which an edge is followed through a bend.
STEP = 0.5
#: How far, in voxels, a bent edge may run beside the corners that are kept of it.
TOLERANCE = 0.05
#: Positions along a box's edge at most, for 2D and 3D: longer boxes are looked at more sparsely.
MOST = {2: 1024, 3: 64}


@dataclass(frozen=True)
class Visible:
    """What is left in the frame: True for points, shares from 0 to 1 for boxes and polygons."""

    points: NDArray[np.bool_] | None
    boxes: NDArray[np.float64] | None
    polygons: NDArray[np.float64] | None


def read_points(given: Any, ndim: int, name: str = "points") -> Points:
    """(N, D) float64.

    Raises
    ------
    ConfigError
        For anything else.
    """
    made = _numbers(given, name, f"(N, {ndim}) index coordinates")
    if made.size == 0:
        made = made.reshape(0, ndim)
    if made.ndim != 2 or made.shape[1] != ndim:
        raise ConfigError(f"{name}: (N, {ndim}) index coordinates expected, got shape {made.shape}")
    return made


def read_boxes(given: Any, ndim: int) -> Points:
    """(N, 2, D) float64: the lowest corner, then the highest."""
    made = _numbers(given, "boxes", f"(N, 2, {ndim})")
    if made.size == 0:
        made = made.reshape(0, 2, ndim)
    if made.ndim != 3 or made.shape[1:] != (2, ndim):
        raise ConfigError(
            f"boxes: (N, 2, {ndim}) expected, the lowest and the highest corner in the order "
            f"{', '.join('zyx'[-ndim:])}; got shape {made.shape}; see shapes.from_xyxy"
        )
    if np.any(made[:, 0] > made[:, 1]):
        number = int(np.argmax(np.any(made[:, 0] > made[:, 1], axis=1)))
        raise ConfigError(
            f"boxes[{number}]: {made[number].tolist()}; the lowest corner comes first"
        )
    return made


def read_polygons(given: Any, ndim: int) -> tuple[Points, ...]:
    """Rings of (P, D) corners; the last is joined to the first."""
    if not isinstance(given, Iterable):
        raise ConfigError(f"polygons: a list of (P, {ndim}) arrays expected, got {given!r}")
    return tuple(read_points(p, ndim, f"polygons[{i}]") for i, p in enumerate(given))


def _numbers(given: Any, name: str, wanted: str) -> Points:
    try:
        return np.array(given, dtype=np.float64)
    except (ValueError, TypeError):
        raise ConfigError(f"{name}: {wanted} expected, got a list that is no such array") from None


def moved_boxes(boxes: Points, inverse: Inverse, straight: bool) -> NDArray[np.float64]:
    """Tightest boxes around what boxes become; NaN where nothing of one has a place.

    A continuous map takes the inside of a box to the inside of its boundary's image, so the
    boundary alone is followed: its corners where lines stay ``straight``, else positions at most
    a voxel apart (more where an edge is longer than `MOST`), and nearer ones around those that
    turn out to be the outermost.
    """
    n = boxes.shape[-1]
    out = np.full(boxes.shape, np.nan)
    if straight:
        ends = list(itertools.product((0, 1), repeat=n))
        corners = np.stack([boxes[:, end, range(n)] for end in ends], axis=1)
        now = inverse(corners.reshape(-1, n)).reshape(corners.shape)
        out = np.stack([now.min(axis=1), now.max(axis=1)], axis=1)
    for number in np.flatnonzero(~np.isfinite(out).all(axis=(1, 2))):
        if np.isfinite(boxes[number]).all():
            out[number] = _fitted(boxes[number], inverse)
    return out


def _fitted(box: Points, inverse: Inverse) -> Points:
    low, high = box
    at, pitch = _boundary(low, high)
    n = len(low)
    star = np.concatenate([step * np.eye(n) for step in (-1, -0.5, 0, 0.5, 1)])
    for _ in range(4):
        now = inverse(at)
        known = np.isfinite(now).all(axis=1)
        if not known.any():
            return np.full((2, n), np.nan)
        at, now = at[known], now[known]
        outermost = at[np.concatenate([now.argmin(axis=0), now.argmax(axis=0)])]
        # Some of these lie inside the box, which does no harm.
        at = np.clip(outermost[:, None] + pitch * star, low, high).reshape(-1, n)
        pitch = pitch / 2
    return np.stack([now.min(axis=0), now.max(axis=0)])


def _boundary(low: Points, high: Points) -> tuple[Points, Points]:
    """(P, N) positions on all sides of a box, and (N,) how far apart they are.

    Voxel centres are among them, since slices may move one by one.
    """
    n = len(low)
    pitch = np.maximum(np.ceil((high - low) / MOST[n]), 1)
    axes = [
        np.unique([a, *np.arange(math.ceil(a), b, p), b])
        for a, b, p in zip(low, high, pitch, strict=True)
    ]
    sides = []
    for k, end in itertools.product(range(n), (low, high)):
        spans = [end[a : a + 1] if a == k else axes[a] for a in range(n)]
        sides.append(np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, n))
    return np.concatenate(sides), pitch


def moved_polygon(polygon: Points, inverse: Inverse, straight: bool) -> NDArray[np.float64]:
    """Corners of a polygon; where lines bend, more of them, so that it follows to `TOLERANCE`."""
    if straight or len(polygon) < 2:
        return inverse(polygon)
    at, first = _along(polygon, STEP)
    now = inverse(at)
    stops = [*first[1:], len(now)]
    closed = np.concatenate([now, now[:1]])
    return np.concatenate(
        [_thinned(closed[a : b + 1])[:-1] for a, b in zip(first, stops, strict=True)]
    )


def _along(ring: Points, step: float) -> tuple[Points, list[int]]:
    """Positions on a ring's edges, at most ``step`` apart, and which of them are its corners."""
    pieces, first = [], [0]
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        length = float(np.linalg.norm(b - a))
        count = max(math.ceil(length / step), 1) if math.isfinite(length) else 1
        pieces.append(a + np.arange(count)[:, None] / count * (b - a) if count > 1 else a[None])
        first.append(first[-1] + count)
    return np.concatenate(pieces), first[:-1]


def _thinned(curve: Points) -> Points:
    """Curve without what lies within `TOLERANCE` of its neighbours' chord; both ends stay.

    Source: Douglas and Peucker, Cartographica 10 (1973).
    """
    kept, todo = {0, len(curve) - 1}, [(0, len(curve) - 1)]
    while todo:
        a, b = todo.pop()
        if b - a < 2:
            continue
        chord, between = curve[b] - curve[a], curve[a + 1 : b] - curve[a]
        length = float(chord @ chord)
        share = np.clip(between @ chord / length, 0, 1) if length else np.zeros(len(between))
        away = np.linalg.norm(between - share[:, None] * chord, axis=1)
        if not away.max() <= TOLERANCE:  # which NaN is not either
            middle = a + 1 + int(away.argmax())
            kept.add(middle)
            todo += [(a, middle), (middle, b)]
    return curve[sorted(kept)]


def visible(sample: Sample) -> Visible:
    """Say how much of a sample's points, boxes and polygons lies within its frame.

    Of areas (in volumes, of a box's volume) the share counts, of a polygon in a volume that of its
    outline. What has no place is 0.
    """
    shape = np.array(sample.grid.shape, dtype=np.float64)
    points = None if sample.points is None else inside(sample.points, sample.grid.shape)
    boxes = None
    if sample.boxes is not None:
        low, high = sample.boxes[:, 0], sample.boxes[:, 1]
        kept = np.diff(clipped(sample.boxes, sample.grid.shape), axis=1)[:, 0]
        # Where a box has no extent along an axis, it is there or it is not.
        parts = ((low >= -0.5) & (low < shape - 0.5)).astype(np.float64)
        np.divide(kept, high - low, out=parts, where=high > low)
        boxes = np.asarray(parts.prod(axis=1))
    polygons = None
    if sample.polygons is not None:
        polygons = np.array(
            [_share(p, sample.grid.shape) for p in sample.polygons], dtype=np.float64
        )
    return Visible(points, boxes, polygons)


def clipped(boxes: Points, shape: Sequence[int]) -> NDArray[np.float64]:
    """(N, 2, D) boxes cut off at the frame of an image of ``shape``; outside they have no size."""
    return np.clip(boxes, -0.5, np.array(shape, dtype=np.float64) - 0.5)


def _share(polygon: Points, shape: Sequence[int]) -> float:
    if not len(polygon) or not np.isfinite(polygon).all():
        return 0.0
    if inside(polygon, shape).all():
        return 1.0
    whole = _area(polygon) if len(shape) == 2 else 0.0
    if not whole:
        return float(inside(_along(polygon, STEP)[0], shape).mean())
    ring = polygon
    for axis, size in enumerate(shape):
        ring = _cut(_cut(ring, axis, -0.5, 1), axis, size - 0.5, -1)
    return min(_area(ring) / whole, 1.0)


def _area(ring: Points) -> float:
    if len(ring) < 3:
        return 0.0
    y, x = (ring - ring[0]).T
    return abs(float(y @ np.roll(x, -1) - x @ np.roll(y, -1))) / 2


def _cut(ring: Points, axis: int, limit: float, sign: int) -> Points:
    """Part of a ring on one side of a line (Sutherland and Hodgman 1974)."""
    out = []
    away = sign * (ring[:, axis] - limit)
    for a, b, u, v in zip(ring, np.roll(ring, -1, axis=0), away, np.roll(away, -1), strict=True):
        if u >= 0:
            out.append(a)
        if (u >= 0) != (v >= 0):
            out.append(a + (b - a) * u / (u - v))
    return np.array(out).reshape(-1, 2)


def boxes_around(polygons: Sequence[Points], ndim: int = 2) -> NDArray[np.float64]:
    """(N, 2, D) boxes around polygons: tighter than a box's own, which holds all of a box.

    NaN for a polygon without a place, or without corners. ``ndim`` is D where there are none.
    """
    out = np.full((len(polygons), 2, polygons[0].shape[1] if len(polygons) else ndim), np.nan)
    for box, polygon in zip(out, polygons, strict=True):
        if len(polygon):
            box[:] = polygon.min(axis=0), polygon.max(axis=0)
    return out


def boxes_of(label: Array, values: Sequence[int]) -> NDArray[np.float64]:
    """(N, 2, D) boxes around the voxels of each of ``values``; NaN where a label has none."""
    out = np.full((len(values), 2, label.ndim), np.nan)
    for number, value in enumerate(values):
        where = label == value
        for k in range(label.ndim):
            others = tuple(a for a in range(label.ndim) if a != k)
            found = np.flatnonzero(where.any(axis=others))
            if len(found):
                out[number, :, k] = found[0] - 0.5, found[-1] + 0.5
    return out


def from_xy(points: Any) -> NDArray[np.float64]:
    """(P, 2) corners of (P, 2), or a flat list of, x, y that count from the image's corner.

    So do COCO and torchvision (and Pascal VOC, but from 1): they put 0 on the outer edge of the
    first pixel, which is −½ here, where 0 is its centre.
    """
    return np.array(points, dtype=np.float64).reshape(-1, 2)[:, ::-1] - 0.5


def to_xy(points: Points) -> NDArray[np.float64]:
    """(P, 2) x, y of (P, 2) corners; see `from_xy`."""
    return np.asarray(points[:, ::-1] + 0.5)


def from_xyxy(boxes: Any) -> NDArray[np.float64]:
    """(N, 2, 2) boxes of (N, 4) x₀, y₀, x₁, y₁, as in torchvision; see `from_xy`."""
    return from_xy(boxes).reshape(-1, 2, 2)


def to_xyxy(boxes: Points) -> NDArray[np.float64]:
    """(N, 4) x₀, y₀, x₁, y₁ of (N, 2, 2) boxes."""
    return to_xy(boxes.reshape(-1, 2)).reshape(-1, 4)


def from_xywh(boxes: Any) -> NDArray[np.float64]:
    """(N, 2, 2) boxes of (N, 4) x, y, width, height, as in COCO; see `from_xy`."""
    made = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return from_xyxy(np.c_[made[:, :2], made[:, :2] + made[:, 2:]])


def to_xywh(boxes: Points) -> NDArray[np.float64]:
    """(N, 4) x, y, width, height of (N, 2, 2) boxes."""
    made = to_xyxy(boxes)
    return np.concatenate([made[:, :2], made[:, 2:] - made[:, :2]], axis=1)
