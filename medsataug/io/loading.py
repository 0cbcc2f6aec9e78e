"""One case from its files: images as channels, the label on their grid."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.errors import ConfigError, FormatError
from medsataug.grid import Grid
from medsataug.io.align import aligned, check_match, materialised
from medsataug.io.base import Format, Loaded, ReadOptions, stem_of
from medsataug.io.registry import format_of
from medsataug.io.stack import joined
from medsataug.types import Array, Channel, LazyImage, Sample

PathLike = str | os.PathLike[str]


def load(
    images: PathLike | Iterable[PathLike],
    label: PathLike | None = None,
    *,
    series: str | None = None,
    bands: Sequence[int | str] | None = None,
    match: str | None = None,
    lazy: bool = True,
    id: str = "",
) -> Sample:
    """Load one case: one or several images, and perhaps its label.

    Parameters
    ----------
    images : path or sequence of paths
        A file, or a DICOM folder. Several are channels of one image; integers of different
        types are promoted.
    label : path, optional
        Class numbers on the image's grid. A label of the same voxels in another storage order
        is reordered; a DICOM segmentation is placed by world position.
    series : str, optional
        Which DICOM series, where there are several.
    bands : sequence of int or str, optional
        Which bands of a raster, by number from 1 or by name.
    match : {None, "first", "ignore"}
        Where grids differ: an error; resample onto the first image's grid (images linearly,
        labels by the nearest voxel); or take equal shapes for equal grids.
    lazy : bool
        Leave large rasters on disk and read them window by window.
    id : str
        The user's name for the case.

    Returns
    -------
    Sample
        ``meta`` is the first file's. ``meta["sources"]`` has one entry a file: name, format,
        channels (how many), channel_names (in the sample), own_names (in the file), meta.
        ``label_name``, ``label_format`` and ``label_meta`` are the label's.

    Raises
    ------
    FormatError
        Files that are missing, damaged, or of no known format.
    GeometryError
        Grids that differ, naming both files and the way out.
    ConfigError
        Options that do not fit.
    """
    check_match(match)
    paths = _paths(images)
    _check_options(paths, series, bands)
    options = ReadOptions("image", series, None if bands is None else tuple(bands), lazy)
    parts: list[Loaded] = []
    names: list[str] = []
    kinds: list[Format] = []
    for path in paths:
        kind = format_of(path)
        part = kind.read(path, options)
        parts.append(
            aligned(part, parts[0].grid, match, "image", path, paths[0]) if parts else part
        )
        kinds.append(kind)
        names.append(_name(path, kind, names))
    grid = parts[0].grid
    channels = _channels(parts, names)
    image, valid = joined(parts)
    meta = dict(parts[0].meta)
    meta["sources"] = []
    start = 0
    for part, name, kind in zip(parts, names, kinds, strict=True):
        count = part.image.shape[0]
        meta["sources"].append(
            {
                "name": name,
                "format": kind.name,
                "channels": count,
                "channel_names": [c.name for c in channels[start : start + count]],
                "own_names": [c.name for c in part.channels],
                "meta": part.meta,
            }
        )
        start += count
    target = None
    if label is not None:
        file = Path(label)
        kind = format_of(file)
        found = _label(file, kind, grid, match, lazy, paths[0])
        target = _planes(found)
        meta["label_name"] = _name(file, kind, [])
        meta["label_format"] = kind.name
        meta["label_meta"] = found.meta
    return Sample(image, target, grid=grid, valid=valid, channels=channels, id=id, meta=meta)


def describe(path: PathLike) -> dict[str, Any]:
    """Return what a file's or folder's headers say, without anything that names a person."""
    return format_of(Path(path)).describe(Path(path))


def _paths(images: PathLike | Iterable[PathLike]) -> list[Path]:
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not given:
        raise ConfigError("images: at least one path is needed, got an empty list")
    return [Path(p) for p in given]


def _check_options(
    paths: Sequence[Path], series: str | None, bands: Sequence[int | str] | None
) -> None:
    """Refuse an option that no file here has a use for."""
    if series is None and bands is None:
        return
    names = {format_of(path).name for path in paths}
    if series is not None and "dicom" not in names:
        raise ConfigError(f"series: {series!r} is for DICOM, and {paths[0]} is none; leave it out")
    if bands is not None and "geotiff" not in names:
        raise ConfigError(
            f"bands: only of a raster (GeoTIFF) can they be picked, and {paths[0]} is none; leave "
            "them out"
        )


def _name(path: Path, kind: Format, taken: Sequence[str]) -> str:
    """Return a name for what is written later; never a DICOM folder's, which may be a person's."""
    name = "image" if kind.name == "dicom" else stem_of(path)
    others = {t.lower() for t in taken}
    tries = [name, *(f"{name}_{i}" for i in range(2, len(taken) + 2))]
    return next(t for t in tries if t.lower() not in others)


def _channels(parts: Sequence[Loaded], names: Sequence[str]) -> list[Channel]:
    """Return the channels of all files; where names repeat, the files' names tell them apart."""
    plain = [c for part in parts for c in part.channels]
    if len({c.name for c in plain}) == len(plain):
        return plain
    told = []
    for part, name in zip(parts, names, strict=True):
        for c in part.channels:
            full = name if len(part.channels) == 1 else f"{name} {c.name}"
            told.append(Channel(full, c.wavelength_um, c.reflectance))
    return told


def _label(
    path: Path, kind: Format, grid: Grid, match: str | None, lazy: bool, first: Path
) -> Loaded:
    if kind.name == "dicom":
        from medsataug.io.dicom import Dicom
        from medsataug.io.dicom_seg import is_segmentation

        if is_segmentation(path):
            return Dicom().read_label_on(path, grid)
    found = kind.read(path, ReadOptions("label", lazy=lazy))
    if found.image.dtype.kind not in "iu":
        found = materialised(found)
        raise FormatError(f"{path}: a label holds integers, this one holds {found.image.dtype}")
    return aligned(found, grid, match, "label", path, first)


def _planes(found: Loaded) -> Array | LazyImage:
    """Return the label's array without the axis of a single channel."""
    image = found.image
    if isinstance(image, LazyImage) or len(image) > 1:
        return image
    return np.asarray(image[0])
