"""Points, boxes and polygons: through a plan by its exact inverse, and how much of them is left.

All are in index coordinates, in the order of the array's axes, where whole numbers are the centres
of voxels: an image of n voxels spans [−½, n − ½]. A box tightly around voxels a … b is therefore
[a − ½, b + ½]. Nothing is dropped or reordered: what leaves the frame stays in its place in the
list, with coordinates outside, and `Visible` says how much of it is still inside.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError

if TYPE_CHECKING:
    from medsataug.types import Sample

Points = NDArray[np.float64]
#: Longest stretch, in voxels, between positions of an edge that is followed through a bend.
STEP = 0.5
#: Steps of a box's edge at most: longer boxes are followed in longer ones.
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
    made = np.array(given, dtype=np.float64)
    if made.size == 0:
        made = made.reshape(0, ndim)
    if made.ndim != 2 or made.shape[1] != ndim:
        raise ConfigError(f"{name}: (N, {ndim}) index coordinates expected, got shape {made.shape}")
    return made


def read_boxes(given: Any, ndim: int) -> Points:
    """(N, 2, D) float64: the lowest corner, then the highest."""
    made = np.array(given, dtype=np.float64)
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
    return tuple(read_points(p, ndim, f"polygons[{i}]") for i, p in enumerate(given))


def moved_boxes(
    boxes: Points, inverse: Callable[[Points], Points], straight: bool
) -> NDArray[np.float64]:
    """Tightest boxes around what boxes become; NaN where nothing of one has a place.

    A continuous map takes the inside of a box to the inside of its boundary's image, so the
    boundary alone is followed: its corners where lines stay ``straight``, else positions `STEP`
    apart.
    """
    out = np.empty_like(boxes)
    for number, (low, high) in enumerate(boxes):
        now = inverse(_boundary(low, high, straight))
        now = now[np.isfinite(now).all(axis=1)]
        out[number] = (now.min(axis=0), now.max(axis=0)) if len(now) else np.nan
    return out


def _boundary(low: Points, high: Points, straight: bool) -> Points:
    n = len(low)
    counts = [
        1 if straight else min(max(math.ceil((b - a) / STEP), 1), MOST[n])
        for a, b in zip(low, high, strict=True)
    ]
    axes = [np.linspace(a, b, c + 1) for a, b, c in zip(low, high, counts, strict=True)]
    faces = []
    for k, end in itertools.product(range(n), (low, high)):
        spans = [np.array([end[a]]) if a == k else axes[a] for a in range(n)]
        faces.append(np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, n))
    return np.concatenate(faces)


def moved_polygon(
    polygon: Points, inverse: Callable[[Points], Points], straight: bool
) -> NDArray[np.float64]:
    """Corners of a polygon; where lines bend, with more of them, `STEP` apart."""
    if straight or len(polygon) < 2:
        return inverse(polygon)
    pieces = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        count = max(math.ceil(float(np.linalg.norm(b - a)) / STEP), 1)
        pieces.append(a + np.arange(count)[:, None] / count * (b - a))
    return inverse(np.concatenate(pieces))


def visible(sample: Sample) -> Visible:
    """Say how much of a sample's points, boxes and polygons lies within its frame.

    Of a polygon in a volume, the share of its corners counts.
    """
    shape = np.array(sample.grid.shape, dtype=np.float64)
    points = None if sample.points is None else _inside(sample.points, shape)
    boxes = None
    if sample.boxes is not None:
        whole = _sizes(sample.boxes)
        kept = _sizes(clipped(sample.boxes, sample.grid.shape))
        boxes = np.divide(kept, whole, out=np.zeros(len(whole)), where=whole > 0)
    polygons = None
    if sample.polygons is not None:
        polygons = np.array([_share(p, shape) for p in sample.polygons], dtype=np.float64)
    return Visible(points, boxes, polygons)


def _inside(points: Points, shape: Points) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):  # NaN lies nowhere
        return np.asarray(((points >= -0.5) & (points < shape - 0.5)).all(axis=-1))


def _sizes(boxes: Points) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(np.prod(boxes[:, 1] - boxes[:, 0], axis=1)))


def clipped(boxes: Points, shape: Sequence[int]) -> NDArray[np.float64]:
    """(N, 2, D) boxes cut off at the frame of an image of ``shape``; outside they have no size."""
    return np.clip(boxes, -0.5, np.array(shape, dtype=np.float64) - 0.5)


def _share(polygon: Points, shape: Points) -> float:
    if not len(polygon) or not np.isfinite(polygon).all():
        return 0.0
    if len(shape) == 3 or len(polygon) < 3:
        return float(_inside(polygon, shape).mean())
    whole = _area(polygon)
    ring = polygon
    for axis, limit, sign in ((a, e, s) for a in (0, 1) for e, s in ((-0.5, 1), (None, -1))):
        ring = _cut(ring, axis, shape[axis] - 0.5 if limit is None else limit, sign)
    return min(_area(ring) / whole, 1.0) if whole else 0.0


def _area(ring: Points) -> float:
    if len(ring) < 3:
        return 0.0
    y, x = ring.T
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


def from_xyxy(boxes: Any) -> NDArray[np.float64]:
    """(N, 2, 2) boxes of (N, 4) x₀, y₀, x₁, y₁ that count from the image's upper left corner.

    So do COCO, Pascal VOC (but for its count from 1) and torchvision: their 0 is −½ here.
    """
    made = np.array(boxes, dtype=np.float64).reshape(-1, 2, 2)
    return made[:, :, ::-1] - 0.5


def to_xyxy(boxes: Points) -> NDArray[np.float64]:
    """(N, 4) x₀, y₀, x₁, y₁ of (N, 2, 2) boxes; see `from_xyxy`."""
    return np.asarray((boxes[:, :, ::-1] + 0.5).reshape(-1, 4))
