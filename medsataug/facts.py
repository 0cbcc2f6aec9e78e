"""What a plan may know of the voxels: class counts, places, statistics. Computed when asked.

Rasters larger than memory are read in strips; for their statistics, in evenly spaced tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medsataug.arrays import native, plane_of
from medsataug.errors import ConfigError
from medsataug.types import Array, LazyImage, Sample, Window, is_lazy
from medsataug.values import Where

#: Values compared one by one, which is faster than looking each voxel up.
_FEW = 16
#: First voxel along each axis, and one past the last.
Box = NDArray[np.int64]
#: Most places remembered for one class.
PLACES = 10_000
#: Quantiles that stand for a channel's distribution, and the voxels they are taken from.
QUANTILES, SAMPLED = 1023, 2**18
BLOCK = 2**16
#: Tiles of a large raster that its statistics are taken from, and their side in pixels.
LAZY_TILES, TILE = 64, 512


@dataclass
class Distribution:
    """One channel's values: exact moments, and quantiles that follow it through the steps.

    ``values`` holds the least value, `QUANTILES` evenly spaced quantiles and the greatest.
    """

    count: int
    mean: float
    std: float
    values: NDArray[np.float32]

    def stat(self, name: str) -> float:
        """Value of a `medsataug.values.Stat` name."""
        if name == "one":
            return 1.0
        if name in ("mean", "std"):
            return float(getattr(self, name))
        if name == "min":
            return float(self.values.min())
        if name == "max":
            return float(self.values.max())
        inner = np.sort(self.values[1:-1])
        position = float(name[1:]) / 100 * len(inner) - 0.5
        return float(np.interp(position, np.arange(len(inner)), inner))


def start_of(values: Array, keep: Array) -> float:
    """Return a value to count the others from, which keeps squares small far from 0."""
    first = int(np.argmax(keep)) if len(keep) else 0
    known = bool(len(keep)) and bool(keep[first]) and math.isfinite(values[first])
    return float(values[first]) if known else 0.0


def summed(
    parts: Sequence[NDArray[np.float64]] | NDArray[np.float64], shift: float
) -> tuple[int, float, float, float, float]:
    """Count, mean, standard deviation, least and greatest of blocks' `moments` about ``shift``."""
    counts, totals, squares, low, high = np.asarray(parts, dtype=np.float64).reshape(-1, 5).T
    count = int(counts.sum())
    if count == 0:
        return 0, 0.0, 0.0, 0.0, 0.0
    off = math.fsum(totals) / count
    spread = math.fsum(squares) / count - off * off
    return count, off + shift, math.sqrt(max(spread, 0.0)), float(low.min()), float(high.max())


class Collector:
    """Gathers a `Distribution` block by block; quantiles come from one voxel in ``step``."""

    def __init__(self, step: int) -> None:
        self._below, self._shift = np.uint64(2**32 // step), 0.0
        self._parts: list[NDArray[np.float64]] = []
        self._picked: list[NDArray[np.float32]] = []

    def add(self, values: Array, keep: Array, place: tuple[int, int, int] | None = None) -> None:
        """Take in (n,) values where ``keep``; ``place`` is their origin, width and row length."""
        from medsataug.kernels.stats import moments, thin

        if not self._parts:
            self._shift = start_of(values, keep)
        for start in range(0, len(values), BLOCK):
            out = np.empty(5)
            moments(values[start : start + BLOCK], keep[start : start + BLOCK], self._shift, out)
            self._parts.append(out)
        some = np.empty(len(values), np.float32)
        origin, width, row = place or (0, max(len(values), 1), 0)
        self._picked.append(
            some[: thin(values, keep, origin, width, row, self._below, some)].copy()
        )

    def result(self) -> Distribution:
        """Distribution of all that was added."""
        count, mean, std, low, high = summed(self._parts, self._shift)
        if count == 0:
            return Distribution(0, 0.0, 0.0, np.zeros(QUANTILES + 2, np.float32))
        some = np.sort(np.concatenate(self._picked))
        if not some.size:
            some = np.array([mean], np.float32)
        at = (np.arange(QUANTILES) + 0.5) / QUANTILES * len(some) - 0.5
        inner = np.interp(at, np.arange(len(some)), some)
        values = np.concatenate([[low], inner, [high]]).astype(np.float32)
        return Distribution(count, mean, std, values)


def distribution(values: Array, keep: Array) -> Distribution:
    """Distribution of (n,) values where ``keep``."""
    collector = Collector(max(1, len(values) // SAMPLED))
    collector.add(values, keep)
    return collector.result()


def kept(values: Array, valid: Array | None, label: Array | None, where: Where) -> Array:
    """(n,) bool: voxels that ``where`` names."""
    keep = np.ones(values.shape, bool) if valid is None else valid.copy()
    if where == "nonzero":
        keep &= values != 0
    elif isinstance(where, tuple):
        keep &= np.isin(label, where) if label is not None else False
    return keep


def _of_values(strip: Array, values: tuple[int, ...], layer: int | None) -> Array:
    """(n, …) whether any layer, or the one named, of a (L, n, …) label is one of ``values``."""
    if layer is not None and not 0 <= layer < len(strip):
        raise ConfigError(f"layer: {layer}; the label has layers 0 to {len(strip) - 1}")
    picked = strip if layer is None else strip[layer : layer + 1]
    if len(values) > _FEW:
        return np.asarray(np.isin(picked, values).any(axis=0))
    found = picked == values[0]
    for value in values[1:]:
        found |= picked == value
    return np.asarray(found.any(axis=0))


def _box(masks: Iterable[tuple[int, Array]]) -> Box | None:
    """Box around what is True in (first index along the first axis, (n, …) mask) after another."""
    ends: list[list[tuple[int, int]]] = []
    for first, mask in masks:
        if not mask.any():
            continue
        plane: Array = np.any(mask, axis=0)  # what lies along the other axes is told by it alone
        others = [tuple(a for a in range(plane.ndim) if a != k) for k in range(plane.ndim)]
        seen = [np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1)) + first]
        seen += [np.flatnonzero(plane.any(axis=axes)) for axes in others]
        ends.append([(int(s[0]), int(s[-1]) + 1) for s in seen])
    if not ends:
        return None
    found = np.array(ends)
    return np.stack([found[:, :, 0].min(axis=0), found[:, :, 1].max(axis=0)], axis=1)


class Facts:
    """Facts of one sample, kept once computed."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._places: dict[int, NDArray[np.int64]] = {}
        self._distributions: dict[tuple[int, Where], Distribution] = {}
        self._boxes: dict[tuple[tuple[int, ...], int | None], Box | None] = {}

    @property
    def asked(self) -> tuple[tuple[int, Where], ...]:
        """Channels, and where, whose distribution is known already."""
        return tuple(self._distributions)

    @property
    def layers(self) -> int:
        """Layers of the label; none without it."""
        label, shape = self._sample.label, self._sample.grid.shape
        return 0 if label is None else math.prod(label.shape) // math.prod(shape)

    @cached_property
    def classes(self) -> dict[int, int]:
        """Voxels of each label value present; empty without a label."""
        from medsataug.kernels.stats import count_small

        counts: dict[int, int] = {}
        small = None
        for _, block in self._label_blocks():
            if block.dtype in (np.uint8, np.uint16):
                small = (
                    np.zeros(np.iinfo(block.dtype).max + 1, np.int64) if small is None else small
                )
                count_small(block, small)
                continue
            values, found = np.unique(block, return_counts=True)
            for value, number in zip(values.tolist(), found.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + number
        if small is not None:
            counts = {int(v): int(small[v]) for v in np.flatnonzero(small)}
        return counts

    def places(self, value: int) -> NDArray[np.int64]:
        """(P, N) index coordinates of up to `PLACES` voxels of class ``value``, evenly picked."""
        if value not in self._places:
            from medsataug.kernels.stats import locate

            count = self.classes.get(value, 0)
            every = max(1, -(-count // PLACES))
            flat = np.empty(-(-count // every), np.int64)
            seen, picked, shape = 0, 0, self._sample.grid.shape
            for first, block in self._label_blocks():
                before = picked
                value_of = block.dtype.type(value)
                seen, picked = locate(block, value_of, every, count, seen, picked, flat)
                flat[before:picked] += first
            flat %= math.prod(shape)  # layers lie one after another
            self._places[value] = np.stack(np.unravel_index(flat, shape), axis=1)
        return self._places[value]

    def box(self, values: tuple[int, ...], layer: int | None = None) -> Box | None:
        """(N, 2) first voxel of any of ``values``, and one past the last; None where none is."""
        key = (values, layer)
        if key not in self._boxes:
            label = self._sample.label
            found = [] if label is None else self._strips(label)
            self._boxes[key] = _box(
                (first, _of_values(strip, values, layer)) for first, strip in found
            )
        return self._boxes[key]

    @cached_property
    def nonzero_box(self) -> Box | None:
        """(N, 2) first voxel with a channel that is valid and not 0, and one past the last."""
        sample = self._sample

        def masks() -> Iterator[tuple[int, Array]]:
            for first, strip in self._strips(sample.image):
                rows = (slice(first, first + strip.shape[1]), slice(0, sample.grid.shape[-1]))
                if is_lazy(sample.image):
                    valid = sample.image.read_valid(rows)
                else:
                    valid = None if sample.valid is None else sample.valid[:, rows[0]]
                mask = (strip != 0) & (strip == strip)
                mask = mask if valid is None else mask & valid
                yield first, np.asarray(mask.any(axis=0))

        return _box(masks())

    def _strips(self, part: Array | LazyImage) -> Iterator[tuple[int, Array]]:
        """(first index along the first axis, (K, n, …) part of an image or label)."""
        shape = self._sample.grid.shape
        rows = max(1, BLOCK * 16 // math.prod(shape[1:]))
        for first in range(0, shape[0], rows):
            window = (slice(first, min(first + rows, shape[0])), slice(0, shape[-1]))
            if is_lazy(part):
                yield first, part.read(window)
            else:
                yield first, part.reshape(-1, *shape)[:, window[0]]

    def distribution(self, channel: int, where: Where = "valid") -> Distribution:
        """Distribution of a channel of the stored image over ``where``."""
        if (channel, where) not in self._distributions:
            # A window of a file holds all bands: one reading serves them all.
            lazy = is_lazy(self._sample.image)
            channels = range(self._sample.image.shape[0]) if lazy else (channel,)
            windows = self._windows()
            total = sum(math.prod(s.stop - s.start for s in w) for w in windows)
            step = max(1, total // SAMPLED)
            found = {c: Collector(step) for c in channels}
            blocks = self._image_blocks(windows, isinstance(where, tuple))
            for window, (image, valid, label) in zip(windows, blocks, strict=True):
                place = self._place(window) if lazy else None
                for c, collector in found.items():
                    values = native(image[c]).reshape(-1)
                    plane = plane_of(valid, c)
                    mask = None if plane is None else plane.reshape(-1)
                    collector.add(values, kept(values, mask, label, where), place)
            for c, collector in found.items():
                self._distributions[c, where] = collector.result()
        return self._distributions[channel, where]

    def _place(self, window: Window) -> tuple[int, int, int]:
        """Flat index of a window's first pixel, its width, and the length of a row."""
        width = self._sample.grid.shape[-1]
        rows, columns = window
        return rows.start * width + columns.start, columns.stop - columns.start, width

    def _label_blocks(self) -> Iterator[tuple[int, Array]]:
        """(first flat index, (n,) labels), of all layers."""
        label = self._sample.label
        if label is None:
            return
        if not is_lazy(label):
            yield 0, native(label).reshape(-1)
            return
        channels, height, width = label.shape
        rows = max(1, BLOCK * 16 // width)
        for c in range(channels):
            for y in range(0, height, rows):
                block = label.read((slice(y, min(y + rows, height)), slice(0, width)))
                yield (c * height + y) * width, native(block[c]).reshape(-1)

    def _image_blocks(
        self, windows: list[Window], labels: bool
    ) -> Iterator[tuple[Array, Array | None, Array | None]]:
        """Yield image, validity and (n,) labels of each window."""
        sample = self._sample
        for window in windows:
            if is_lazy(sample.image):
                image, valid = sample.image.read(window), sample.image.read_valid(window)
            else:
                image, valid = sample.image, sample.valid
            label = None
            if labels and sample.label is not None:
                stored = sample.label
                whole = stored.read(window) if is_lazy(stored) else stored
                label = whole.reshape(-1, *image.shape[1:])[0].reshape(-1)
            yield image, valid, label

    def _windows(self) -> list[Window]:
        """All of an array; of a large raster, `LAZY_TILES` tiles evenly spaced over it."""
        shape = self._sample.grid.shape
        if not is_lazy(self._sample.image):
            return [tuple(slice(0, n) for n in shape)]
        rows, columns = (-(-n // TILE) for n in shape)
        count = min(rows * columns, LAZY_TILES)
        chosen = (divmod(int((k + 0.5) * rows * columns / count), columns) for k in range(count))
        return [
            tuple(slice(i * TILE, min((i + 1) * TILE, n)) for i, n in zip(at, shape, strict=True))
            for at in chosen
        ]
