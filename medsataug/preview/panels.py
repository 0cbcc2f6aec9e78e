"""What a picture is made of: panels in columns, with the facts written beneath them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.types import Array, LazyImage, Sample

Floats = NDArray[np.float64]
Key = tuple[int, int]
"""A class: (label layer, value)."""
LAZY_SIZE = 1024
IGNORED = -(2**62)  # in a panel's label: neither a class nor background
OTHER_UNIT = 3.0  # a copy whose range differs by more than this factor gets its own window


@dataclass(frozen=True)
class Panel:
    """One plane, ready to be shown.

    Parameters
    ----------
    pixels : (H, W, 3 or 4) array of uint8
    size : (height, width)
        In metres, or in voxels where sizes are unknown.
    label : (L, H, W) array of int, or None
        0 is background; ``IGNORED`` is left out of everything.
    marks : tuple of str
        Letters at the left, right, top and bottom edges.
    axes : (int, int)
        Array axes that run down and across.
    index_of : callable
        (P, 2) rows and columns of this panel to (P, N) index coordinates of the sample.
    """

    pixels: NDArray[np.uint8]
    size: tuple[float, float]
    label: NDArray[np.int64] | None
    marks: tuple[str, str, str, str]
    axes: tuple[int, int]
    index_of: Callable[[Floats], Floats]
    north_up: bool = False


@dataclass(frozen=True)
class Count:
    """One class of a sample: its name, volume or area (empty where unknown), and voxels."""

    key: Key
    name: str
    measure: str
    voxels: str


@dataclass(frozen=True)
class Column:
    """The panels of one sample from top to bottom, and what is written under them.

    Points, boxes and polygons of ``sample`` are drawn over each.
    """

    panels: tuple[Panel, ...]
    counts: tuple[Count, ...]
    notes: tuple[str, ...]
    sample: Sample | None = None


def at_hand(sample: Sample) -> tuple[Sample, Floats]:
    """Sample whose voxels are in memory, and the index of its first voxel in `sample`.

    A lazy image is read in the ``LAZY_SIZE`` window around its centre.
    """
    shape = sample.grid.shape
    lazy = isinstance(sample.image, LazyImage) or isinstance(sample.label, LazyImage)
    if not lazy:
        return sample, np.zeros(len(shape))
    starts = [max(0, (n - LAZY_SIZE) // 2) for n in shape]
    window = tuple(slice(a, min(a + LAZY_SIZE, n)) for a, n in zip(starts, shape, strict=True))
    shift = np.eye(len(shape) + 1)
    shift[:-1, -1] = starts

    def read(part: Array | LazyImage) -> Array:
        if isinstance(part, LazyImage):
            return part.read(window)
        inside: tuple[Any, ...] = (..., *window)
        return np.asarray(part[inside])

    valid = sample.valid
    if valid is not None:
        valid = valid[(slice(None), *window)]
    elif isinstance(sample.image, LazyImage):
        valid = sample.image.read_valid(window)
    part = replace(
        sample,
        image=read(sample.image),
        label=None if sample.label is None else read(sample.label),
        valid=valid,
        soft=None,
        points=None if sample.points is None else sample.points - starts,
        boxes=None if sample.boxes is None else sample.boxes - starts,
        polygons=None if sample.polygons is None else [p - starts for p in sample.polygons],
        grid=sample.grid.moved(shift, [w.stop - w.start for w in window]),
    )
    return part, np.asarray(starts, dtype=np.float64)


def channel_number(sample: Sample, channel: str | int) -> int:
    """Return the number of a channel given by name or number."""
    names = [c.name for c in sample.channels]  # type: ignore[union-attr]
    if channel in names:
        return names.index(str(channel))
    try:
        number = int(channel)
    except ValueError:
        number = -1
    if not 0 <= number < len(names):
        raise ConfigError(
            f"channel {channel!r} is not in this image; "
            f"allowed: 0 to {len(names) - 1}, {', '.join(names)}"
        )
    return number


def label_layers(sample: Sample) -> Array | None:
    """(L, …) labels as they are stored, or None."""
    if sample.label is None:
        return None
    label = np.asarray(sample.label)
    return label[None] if label.ndim == sample.ndim else label


def ignored_values(sample: Sample) -> list[int]:
    """Label values that mean "not known": the label's nodata and the ignore index."""
    meta = sample.meta
    values = [(meta.get("label_meta") or {}).get("nodata"), meta.get("ignore_index")]
    return [int(v) for v in values if v is not None and float(v).is_integer()]


def marked(label: Array, ignored: Sequence[int]) -> NDArray[np.int64]:
    """Copy of ``label`` with the ignored values set to ``IGNORED``."""
    plane = label.astype(np.int64)
    plane[np.isin(plane, ignored)] = IGNORED
    return plane


def is_class(value: Array) -> NDArray[np.bool_]:
    """Where a marked label is neither background nor ignored."""
    return np.asarray((value != 0) & (value != IGNORED))


def class_counts(layers: Array | None, ignored: Sequence[int]) -> dict[Key, int]:
    """Voxels of each class, in order of layer and value; background is left out."""
    counts: dict[Key, int] = {}
    for number, layer in enumerate(() if layers is None else layers):
        for part in layer:  # one plane at a time: sorting a whole volume is slow and large
            values, times = np.unique(part, return_counts=True)
            for value, count in zip(values.tolist(), times.tolist(), strict=True):
                counts[number, value] = counts.get((number, value), 0) + count
    return {k: n for k, n in sorted(counts.items()) if k[1] != 0 and k[1] not in ignored}


def count_texts(sample: Sample, counts: dict[Key, int]) -> tuple[Count, ...]:
    """Size of each class in ml or ha, and in voxels."""
    several = any(layer for layer, _ in counts)
    element = math.sqrt(np.linalg.det(sample.grid.physical.T @ sample.grid.physical))
    noun = "voxels" if sample.ndim == 3 else "px"
    lines = []
    for (layer, value), voxels in counts.items():
        name = f"{layer}:{value}" if several else str(value)
        known = sample.grid.metres is not None
        measure = _measure(element * voxels, sample.ndim) if known else ""
        lines.append(Count((layer, value), name, measure, f"{_grouped(voxels)} {noun}"))
    return tuple(lines)


def _measure(size: float, ndim: int) -> str:
    """Volume of ``size`` m³ in ml, or area of ``size`` m² in ha or, where small, cm²."""
    factor, unit = (1e6, "ml") if ndim == 3 else (1e-4, "ha") if size > 1 else (1e4, "cm²")
    number = size * factor
    digits = 3 if number < 0.1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{_grouped(number, digits)} {unit}"


def _grouped(number: float, digits: int = 0) -> str:
    return f"{number:,.{digits}f}".replace(",", "\u2009")


def spread(values: Array, low: float, high: float) -> tuple[float, float]:
    """Percentiles ``low`` and ``high`` of the finite values; never equal."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    a, b = np.percentile(values, [low, high])
    if a == b:
        a, b = float(values.min()), float(values.max())
    return float(a), float(b if b > a else a + 1)


def thinned(values: Array) -> Array:
    """Every n-th voxel along each axis; some millions settle a percentile as well as all."""
    step = max(1, round((values.size / 4e6) ** (1 / values.ndim)))
    return values[(slice(None, None, step),) * values.ndim]


def stored_alike(mine: Sample, theirs: Sample) -> bool:
    """Whether both hold integers of one type, hence one unit: changing it gives float32."""
    return mine.image.dtype == theirs.image.dtype and mine.image.dtype.kind in "iu"


def other_unit(mine: tuple[float, float], theirs: tuple[float, float]) -> bool:
    """Whether two ranges are too far apart to be shown in one window."""
    a, b = mine[1] - mine[0], theirs[1] - theirs[0]
    apart = abs(sum(mine) - sum(theirs)) / 2
    return max(a, b) > OTHER_UNIT * min(a, b) or apart > OTHER_UNIT * max(a, b)


def to_bytes(values: Array, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey levels 0 to 255 of ``values`` within ``window``; NaN is black."""
    scaled = (values.astype(np.float64) - window[0]) / (window[1] - window[0])
    return np.asarray(np.rint(255 * np.clip(np.nan_to_num(scaled), 0, 1)), dtype=np.uint8)


def page_spacing(sample: Sample, known: bool) -> Floats:
    """(N,) size of a voxel in metres, or in voxels of equal size where not all are known."""
    if known:
        return np.asarray(np.linalg.norm(sample.grid.physical, axis=0))
    return sample.grid.spacing


def size_text(sample: Sample) -> str:
    """Return such as ``"44 × 208 × 176 voxels of 3 × 1 × 1 mm"``."""
    noun = "voxels" if sample.ndim == 3 else "pixels"
    shape = " × ".join(str(n) for n in sample.grid.shape)
    spacing = sample.grid.spacing_m
    if spacing is None:
        return f"{shape} {noun}, size unknown"
    factor, unit = (1e3, "mm") if spacing.max() < 0.1 else (1.0, "m")
    sizes = " × ".join(f"{s * factor:.3g}" for s in spacing)
    return f"{shape} {noun} of {sizes} {unit}"


def drawn_texts(record: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(where it came from, what was drawn) of a copy, one entry a line before wrapping."""
    head = [f"{k} {record[k]}" for k in ("seed", "index") if record.get(k) is not None]
    steps: Sequence[Any] = record.get("drawn") or ()
    texts = []
    for name, parameters in steps:
        values = ", ".join(f"{k} {v}" for k, v in dict(parameters).items())
        texts.append(f"{name}: {values}" if values else str(name))
    return ([", ".join(head)] if head else []), texts
