"""A stored case: its image read by patches, its facts read rather than computed."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from medsataug.cases import chunked
from medsataug.cases.plain import from_text, to_text
from medsataug.errors import FormatError
from medsataug.facts import Box, Distribution, Facts
from medsataug.grid import Grid
from medsataug.types import (
    Array,
    Channel,
    Sample,
    Window,
    as_label,
    is_lazy,
    read_all,
)
from medsataug.values import Where

#: Files of a stored case.
IMAGE, LABEL, VALID, FACTS, REST = (
    "image.b2nd",
    "label.b2nd",
    "valid.b2nd",
    "facts.npz",
    "case.json",
)
#: Parts of the image whose statistics are kept; of classes they are computed when asked for.
_WHERE = ("valid", "nonzero")


class StoredImage:
    """Image or label of a stored case, read window by window.

    It pickles by path, and may be read by several threads and processes.

    Attributes
    ----------
    shape : (C, [Z,] Y, X) tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self.folder, self.name = folder, name
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    def read(self, window: Window) -> Array:
        """(C, *window) values."""
        return chunked.read(self.folder / self.name, window)

    def read_valid(self, window: Window) -> NDArray[np.bool_] | None:
        """(C or 1, *window) True where there is data; None where all of it is."""
        if self.name != IMAGE or not (self.folder / VALID).exists():
            return None
        valid = chunked.read(self.folder / VALID, window).view(np.bool_)
        return None if valid.all() else valid

    @property
    def whole(self) -> Array:
        """All values, in memory."""
        return read_all(self)

    @property
    def digest(self) -> str:
        """What the folder is called by: a digest of the case's source files."""
        return f"{self.folder.name} {self.name}"

    def facts(self, sample: Sample) -> Facts:
        """Return what is known of the voxels of a sample with this image."""
        return StoredFacts(sample, self)

    def __repr__(self) -> str:
        return f"StoredImage({self.name!r}, shape={self.shape}, dtype={self.dtype})"


class StoredFacts(Facts):
    """Facts as they were when the case was stored; no voxel is read for them.

    Statistics over classes, and all of a label that is not the stored one, are computed when
    asked for.
    """

    def __init__(self, sample: Sample, image: StoredImage) -> None:
        super().__init__(sample)
        label = sample.label
        self._own = isinstance(label, StoredImage) and label.folder == image.folder
        self._held = _held(image.folder / FACTS)
        self._lazy_source = bool(self._held["lazy"])
        for c in range(image.shape[0]):
            for where in _WHERE:
                count, mean, std = self._held[f"{where} {c} moments"].tolist()
                values = self._held[f"{where} {c}"]
                self._distributions[c, where] = Distribution(int(count), mean, std, values)
            self._distributions[c, "all"] = self._distributions[c, "valid"]

    @cached_property
    def _computed(self) -> Facts:
        """Facts of the voxels themselves, in memory where the source was."""
        sample = self._sample
        if self._lazy_source:
            return Facts(sample)
        image, label = sample.image, sample.label
        image = image.whole if isinstance(image, StoredImage) else image
        if isinstance(label, StoredImage):
            label = as_label(label.whole)
        return Facts(sample.replace(image=image, label=label))

    @cached_property
    def classes(self) -> dict[int, int]:
        """Voxels of each label value present; empty without a label."""
        if not self._own:
            return self._computed.classes
        return dict(self._held["classes"].tolist())

    def places(self, value: int) -> NDArray[np.int64]:
        """(P, N) index coordinates of voxels of class ``value``, evenly picked."""
        flat = self._held.get(f"places {value}") if self._own else None
        if flat is None:
            return self._computed.places(value)
        if value not in self._places:
            at = np.unravel_index(flat, self._sample.grid.shape)
            self._places[value] = np.stack(at, axis=1).astype(np.int64, copy=False)
        return self._places[value]

    def box(self, values: tuple[int, ...], layer: int | None = None) -> Box | None:
        """(N, 2) first voxel of any of ``values``, and one past the last; None where none is."""
        if not self._own or (layer is not None and not 0 <= layer < self.layers):
            return self._computed.box(values, layer)
        layers = range(self.layers) if layer is None else [layer]
        found = [self._held.get(f"box {k} {v}") for k in layers for v in values]
        boxes = np.array([box for box in found if box is not None])
        if not len(boxes):
            return None
        return np.stack([boxes[:, :, 0].min(axis=0), boxes[:, :, 1].max(axis=0)], axis=1)

    @cached_property
    def nonzero_box(self) -> Box | None:
        """(N, 2) first voxel with a channel that is valid and not 0, and one past the last."""
        return self._held.get("nonzero box")

    def distribution(self, channel: int, where: Where = "valid") -> Distribution:
        """Distribution of a channel of the stored image over ``where``."""
        if (channel, where) not in self._distributions:
            self._distributions[channel, where] = self._computed.distribution(channel, where)
        return self._distributions[channel, where]


def write(sample: Sample, folder: Path) -> None:
    """Write a sample's files into a folder that is there and empty.

    Raises
    ------
    OSError
        Where the folder cannot be written, or the disk is full.
    """
    lazy = is_lazy(sample.image)
    chunked.write(folder / IMAGE, sample.image)
    parts: dict[str, Any] = {IMAGE: (tuple(sample.image.shape), sample.image.dtype.name)}
    if sample.label is not None:
        label = sample.label
        stored = label if is_lazy(label) else label.reshape(-1, *sample.grid.shape)
        chunked.write(folder / LABEL, stored)
        parts[LABEL] = (tuple(stored.shape), stored.dtype.name)
    if is_lazy(sample.image) or sample.valid is not None:
        _write_valid(sample, folder / VALID)
    np.savez(folder / FACTS, **_facts(sample, lazy))
    grid = sample.grid
    rest = {
        "parts": parts,
        "grid": (grid.shape, grid.affine, grid.world, grid.metres),
        "channels": [(c.name, c.wavelength_um, c.reflectance) for c in _channels(sample)],
        "valid in memory": sample.valid is not None,
        "meta": sample.meta,
        "record": sample.record,
        "sizes": {f.name: f.stat().st_size for f in folder.iterdir()},
    }
    (folder / REST).write_text(to_text(rest), encoding="utf-8")


def read(folder: Path, id: str) -> Sample | None:
    """Return the sample that `write` wrote, lazy; None where files are missing or cut off."""
    try:
        rest = from_text((folder / REST).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in rest["sizes"]}
        if sizes != rest["sizes"]:
            return None
        made = {name: StoredImage(folder, name, *part) for name, part in rest["parts"].items()}
        grid = Grid(*rest["grid"])
        channels = [Channel(*c) for c in rest["channels"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    everything = tuple(slice(0, n) for n in grid.shape)
    valid = chunked.read(folder / VALID, everything).view(bool) if rest["valid in memory"] else None
    return Sample(
        image=made[IMAGE],
        label=made.get(LABEL),
        grid=grid,
        valid=valid,
        channels=channels,
        id=id,
        meta=rest["meta"],
        record=rest["record"],
    )


def _held(path: Path) -> dict[str, Any]:
    """Arrays of a file of facts by name."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise FormatError(
            f"{path}: is damaged ({error}); delete its folder, and it is made anew"
        ) from None


def _channels(sample: Sample) -> tuple[Channel, ...]:
    return tuple(c for c in sample.channels if isinstance(c, Channel))


class _Validity:
    """Where a lazy image has data, as an image of 0 and 1."""

    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, sample: Sample) -> None:
        self._image: Any = sample.image
        self.shape: tuple[int, ...] = tuple(sample.image.shape)
        self.lacks = False

    def read(self, window: Window) -> Array:
        """(C, *window) 1 where there is data."""
        valid = self._image.read_valid(window)
        size = (self.shape[0], *(s.stop - s.start for s in window))
        self.lacks |= valid is not None
        return np.ones(size, np.uint8) if valid is None else np.broadcast_to(valid, size)

    def read_valid(self, window: Window) -> None:
        """All of it is known."""


def _write_valid(sample: Sample, path: Path) -> None:
    """Write where there is data; of a lazy image only where some is lacking."""
    if sample.valid is not None:
        chunked.write(path, sample.valid.view(np.uint8))
        return
    validity = _Validity(sample)
    chunked.write(path, validity)
    if not validity.lacks:
        path.unlink()


def _facts(sample: Sample, lazy: bool) -> dict[str, Any]:
    """Facts of a sample as arrays by name."""
    facts = sample.facts
    held: dict[str, Any] = {"lazy": np.array(lazy)}
    for c in range(sample.image.shape[0]):
        for where in _WHERE:
            known = facts.distribution(c, where)
            held[f"{where} {c}"] = known.values
            held[f"{where} {c} moments"] = np.array([known.count, known.mean, known.std])
    classes = facts.classes
    held["classes"] = np.array(sorted(classes.items()), dtype=np.int64).reshape(-1, 2)
    small = np.int32 if math.prod(sample.grid.shape) < 2**31 else np.int64
    for value in classes:
        at = np.ravel_multi_index(tuple(facts.places(value).T), sample.grid.shape)
        held[f"places {value}"] = at.astype(small)
        for layer in range(facts.layers):
            box = facts.box((value,), layer)
            if box is not None:
                held[f"box {layer} {value}"] = box
    if facts.nonzero_box is not None:
        held["nonzero box"] = facts.nonzero_box
    return held
