"""What a plan may know of the voxels: class counts, places, statistics. Computed when asked.

Rasters larger than memory are read in strips; for their statistics, in evenly spaced windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.types import Array, LazyImage, Sample, Window
from medsataug.values import Where


#: Most places remembered for one class.
PLACES = 10_000
#: Quantiles that stand for a channel's distribution, and the voxels they are taken from.
QUANTILES, SAMPLED = 1023, 2**18
BLOCK = 2**16
#: Pixels of a lazy raster that its statistics are taken from.
LAZY_PIXELS = 2**24


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


def distribution(blocks: list[tuple[Array, Array]]) -> Distribution:
    """Distribution of blocks of (values, kept), each (n,)."""
    from medsataug.kernels.stats import moments

    shift, parts = 0.0, []
    for values, keep in blocks:
        first = int(np.argmax(keep)) if not parts and len(keep) else -1
        if first >= 0 and math.isfinite(values[first]):
            shift = float(values[first])  # keeps the squares small where values are far from 0
        for start in range(0, len(values), BLOCK):
            out = np.empty(5)
            moments(values[start : start + BLOCK], keep[start : start + BLOCK], shift, out)
            parts.append((shift, out))
    count = int(sum(p[0] for _, p in parts))
    if count == 0:
        return Distribution(0, 0.0, 0.0, np.zeros(QUANTILES + 2, np.float32))
    mean = math.fsum(p[1] + s * p[0] for s, p in parts) / count
    squares = math.fsum(p[2] - 2 * (mean - s) * p[1] + p[0] * (mean - s) ** 2 for s, p in parts)
    total = sum(len(values) for values, _ in blocks)
    step = max(1, total // SAMPLED)
    picked = [values[::step][keep[::step]] for values, keep in blocks]
    some = np.concatenate(picked).astype(np.float32)
    some = np.sort(some[some == some])
    if not some.size:
        some = np.array([mean], np.float32)
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES * len(some) - 0.5
    inner = np.interp(at, np.arange(len(some)), some)
    low, high = min(p[3] for _, p in parts), max(p[4] for _, p in parts)
    values = np.concatenate([[low], inner, [high]]).astype(np.float32)
    return Distribution(count, mean, math.sqrt(max(squares / count, 0.0)), values)


def kept(values: Array, valid: Array | None, label: Array | None, where: Where) -> Array:
    """(n,) bool: voxels that ``where`` names."""
    keep = np.ones(values.shape, bool) if valid is None else valid.copy()
    if where == "nonzero":
        keep &= values != 0
    elif isinstance(where, tuple):
        keep &= np.isin(label, where) if label is not None else False
    return keep


class Facts:
    """Facts of one sample, kept once computed."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._places: dict[int, NDArray[np.int64]] = {}
        self._distributions: dict[tuple[int, Where], Distribution] = {}

    @cached_property
    def classes(self) -> dict[int, int]:
        """Voxels of each label value present; empty without a label."""
        from medsataug.kernels.stats import count_small

        counts: dict[int, int] = {}
        small = None
        for _, block in self._label_blocks():
            if block.dtype in (np.uint8, np.uint16):
                small = np.zeros(np.iinfo(block.dtype).max + 1, np.int64) if small is None else small
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
            seen, shape = 0, self._sample.grid.shape
            for first, block in self._label_blocks():
                before = -(-seen // every)
                seen = locate(block, block.dtype.type(value), every, 0, seen, flat)
                flat[before : -(-seen // every)] += first
            flat %= math.prod(shape)  # layers lie one after another
            self._places[value] = np.stack(np.unravel_index(flat, shape), axis=1)
        return self._places[value]

    def distribution(self, channel: int, where: Where = "valid") -> Distribution:
        """Distribution of a channel of the stored image over ``where``."""
        if (channel, where) not in self._distributions:
            blocks = [
                (values, kept(values, valid, label, where))
                for values, valid, label in self._image_blocks(channel, isinstance(where, tuple))
            ]
            self._distributions[channel, where] = distribution(blocks)
        return self._distributions[channel, where]

    def _label_blocks(self) -> Iterator[tuple[int, Array]]:
        """(first flat index, (n,) labels), of all layers."""
        label = self._sample.label
        if label is None:
            return
        if not isinstance(label, LazyImage):
            yield 0, native(label).reshape(-1)
            return
        channels, height, width = label.shape
        rows = max(1, BLOCK * 16 // width)
        for c in range(channels):
            for y in range(0, height, rows):
                block = label.read((slice(y, min(y + rows, height)), slice(0, width)))
                yield (c * height + y) * width, native(block[c]).reshape(-1)

    def _image_blocks(
        self, channel: int, labels: bool
    ) -> Iterator[tuple[Array, Array | None, Array | None]]:
        sample = self._sample
        for window in self._windows():
            if isinstance(sample.image, LazyImage):
                image, valid = sample.image.read(window), sample.image.read_valid(window)
            else:
                image, valid = sample.image, sample.valid
            mask = None if valid is None else valid[min(channel, len(valid) - 1)].reshape(-1)
            label = None
            if labels and sample.label is not None:
                lazy = isinstance(sample.label, LazyImage)
                whole = sample.label.read(window) if lazy else sample.label  # type: ignore[union-attr]
                label = whole.reshape(-1, *image.shape[1:])[0].reshape(-1)
            yield native(image[channel]).reshape(-1), mask, label

    def _windows(self) -> list[Window]:
        """All of an array; of a large raster, evenly spaced strips of `LAZY_PIXELS` in all."""
        shape = self._sample.grid.shape
        whole = tuple(slice(0, n) for n in shape)
        if not isinstance(self._sample.image, LazyImage):
            return [whole]
        height, width = shape
        strips = max(1, math.ceil(height / 256))
        keep = min(strips, max(1, LAZY_PIXELS // (256 * width)))
        starts = [int((k + 0.5) * strips / keep) * 256 for k in range(keep)]
        return [
            (slice(y, min(y + 256, height)), slice(0, width))
            for y in starts
            if y < height
        ] or [whole]


def native(array: Array) -> Array:
    """C-contiguous, native-endian form of an array; the array itself where it is already."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    return writable(np.ascontiguousarray(array))


class _Plain:
    """Hand over an array's memory without its read-only mark."""

    def __init__(self, array: Any) -> None:
        self.keep = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def writable(array: Any) -> Any:
    """View that compiled kernels take without being compiled once more for read-only memory.

    Kernels never write to their sources.
    """
    return array if array.flags.writeable else np.asarray(_Plain(array))


__all__ = ["Distribution", "Facts", "distribution", "kept", "native", "writable"]
