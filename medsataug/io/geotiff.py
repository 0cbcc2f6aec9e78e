"""Satellite and aerial rasters: GeoTIFF, and what else GDAL reads with a georeference."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.errors import ConfigError, FormatError, MedSatAugWarning
from medsataug.grid import Grid
from medsataug.io.base import Loaded, ReadOptions
from medsataug.io.encode import integral
from medsataug.io.georef import (
    IDENTITY,
    LOCAL,
    NAMESPACE,
    affine_from_transform,
    crs_of,
    fit_control_points,
    metres_per_unit,
    restore,
    world_name,
)
from medsataug.io.limits import max_bytes
from medsataug.io.raster_source import (
    RasterSource,
    alpha_band,
    open_raster,
    reading,
    valid_source,
)
from medsataug.io.raster_write import write_cog, write_raster
from medsataug.types import Channel, Sample

__all__ = ["GeoTiff", "write_cog"]

SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")
SMALL_BYTES = 64 * 2**20

#: Centres of Sentinel-2 A's bands, µm. Source: ESA Sentinel-2 spectral responses, version 3.
SENTINEL2_UM = {
    "B01": 0.4427, "B02": 0.4924, "B03": 0.5598, "B04": 0.6646, "B05": 0.7041, "B06": 0.7405,
    "B07": 0.7828, "B08": 0.8328, "B8A": 0.8647, "B09": 0.9451, "B10": 1.3735, "B11": 1.6137,
    "B12": 2.2024,
}  # fmt: skip
_BAND_ID = re.compile(r"^B(0[1-9]|1[0-2]|[1-9]|8A|08A)(?:$|[ ,_(])", re.IGNORECASE)
_LANDSAT = re.compile(r"landsat|hls\.?l30|\bL[COTEM]0[4-9]\b", re.IGNORECASE)
_S2_FILE = re.compile(r"^T\d{2}[A-Z]{3}_\d{8}T\d{6}_(B\d{2}|B8A)(?:_\d+m)?$")
_CENTRE_NM = re.compile(r"central wavelength (\d+(?:\.\d+)?) nm", re.IGNORECASE)

#: Namespaces that describe the file itself, hold paths, or may hold people's names.
_SPACES_LEFT_OUT = {
    "IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "GEOLOCATION", "COLOR_PROFILE",
    "EXIF", "TIFF", "COG", "LocationInfo", "OVR_FILENAME", NAMESPACE,
}  # fmt: skip
_TAG_LEFT_OUT = re.compile(
    r"^STATISTICS_|^NODATA_VALUES$|^OVR_|ARTIST|HOSTCOMPUTER|DOCUMENTNAME|AUTHOR|OPERATOR|OWNER"
    r"|CREATOR|USER|CONTACT|E-?MAIL|HISTORY|FILE_?NAME",
    re.IGNORECASE,
)
_PATH = re.compile(r"^(/|~/|[A-Za-z]:[\\/]|\\\\|file:)")


class GeoTiff:
    """GeoTIFF files, read lazily where they are large; JPEG 2000 and VRT are read too."""

    name = "geotiff"

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is a raster with a place on Earth, nodata or more than four bands."""
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES or not path.is_file():
            return False
        if suffix in (".jp2", ".vrt"):
            return True  # no other format reads them, so an error should come from here
        try:
            dataset = open_raster(path)
        except FormatError:
            return False  # GDAL does not know every TIFF; a plain-image reader may
        with dataset:
            return bool(
                dataset.crs
                or tuple(dataset.transform)[:6] != IDENTITY
                or dataset.gcps[0]
                or dataset.tags(ns="RPC")
                or dataset.tags(ns=NAMESPACE)
                or any(v is not None for v in dataset.nodatavals)
                or dataset.count > 4
            )

    def read(self, path: Path, options: ReadOptions) -> Loaded:
        """Read a raster: its bands, their meaning, and where there is data.

        Raises
        ------
        FormatError
            For complex bands, a damaged or incomplete file, a label that is not integral, or
            more bytes than ``MEDSATAUG_MAX_BYTES`` where all is to be read at once.
        ConfigError
            For bands that do not exist.
        """
        path = Path(path)
        if not path.is_file():
            raise FormatError(f"{path}: there is no such file")
        with open_raster(path) as dataset, reading(path):
            if dataset.count == 0:
                raise FormatError(f"{path}: holds no bands itself; name one of its subdatasets")
            names = _band_names(dataset, path)
            picked = _pick(options.bands, names, alpha_band(dataset), path)
            meta = _meta(dataset, [names[b - 1] for b in picked], picked)
            channels = _channels(dataset, names, picked)
            grid = _grid(dataset, meta)
        if meta["colormap"] and options.role == "image":
            warnings.warn(
                f"{path.name}: its values are indices into a palette, not intensities; "
                "load it as a label, or expand it to RGB first",
                MedSatAugWarning,
                stacklevel=2,
            )
        source = RasterSource(path, picked)
        # A label stored as floats can only be told integral by looking at all of it.
        odd_label = options.role == "label" and source.dtype.kind == "f"
        if options.lazy and source.nbytes >= SMALL_BYTES and not odd_label:
            return Loaded(source, grid, channels, None, meta)
        if source.nbytes > max_bytes():
            raise FormatError(
                f"{path}: declares {source.nbytes} bytes, more than may be read at once; read it "
                "lazily, or raise MEDSATAUG_MAX_BYTES"
            )
        everything = (slice(None), slice(None))
        image, valid = source.read_both(everything)
        if odd_label:
            image = integral(image, path)
            meta["dtype"] = image.dtype.name
        return Loaded(image, grid, channels, valid, meta)

    def suffix(self, sample: Sample) -> str:
        """``".tif"``."""
        return ".tif"

    def write(self, sample: Sample, path: Path, role: str) -> None:
        """Write the image or label; ``sample.meta["cog"]`` asks for a cloud-optimised file."""
        (write_cog if sample.meta.get("cog") else write_raster)(sample, Path(path), role)

    def describe(self, path: Path) -> dict[str, Any]:
        """Header facts for ``medsataug info``; no pixel is read."""
        path = Path(path)
        if not path.is_file():
            raise FormatError(f"{path}: there is no such file")
        with open_raster(path) as dataset, reading(path):
            names = _band_names(dataset, path)
            picked = _pick(None, names, alpha_band(dataset), path)
            meta = _meta(dataset, [names[b - 1] for b in picked], picked)
            channels = _channels(dataset, names, picked)
            grid = _grid(dataset, meta)
            driver, overviews = str(dataset.driver), list(dataset.overviews(1))
        metres = grid.spacing_m
        return {
            "format": self.name,
            "driver": driver,
            "shape": [len(picked), *grid.shape],
            "dtype": meta["dtype"],
            "channels": [c.name for c in channels],
            "wavelengths_um": [c.wavelength_um for c in channels],
            "reflectance": [c.reflectance for c in channels],
            "world": grid.world,
            "transform": meta["transform"],
            "spacing": [float(s) for s in grid.spacing] if grid.world else None,
            "spacing_m": None if metres is None else [float(s) for s in metres],
            "nodata": meta["nodata"],
            "valid_source": meta["valid_source"],
            "palette": bool(meta["colormap"]),
            "control_points": len(meta.get("source_gcps") or ()),
            "rpcs": meta["rpcs"],
            "overviews": overviews,
            "layout": meta["layout"],
        }


def _band_names(dataset: Any, path: Path) -> list[str]:
    """Names of all bands: descriptions, else a Sentinel-2 band file's id, else numbers."""
    names = [text or f"band {i}" for i, text in enumerate(dataset.descriptions, start=1)]
    stated = _S2_FILE.match(path.stem)
    if stated and dataset.count == 1 and not dataset.descriptions[0]:
        names = [stated[1]]
    return names


def _pick(
    wanted: Sequence[int | str] | None, names: Sequence[str], alpha: int | None, path: Path
) -> list[int]:
    """Band numbers, from 1, that ``ReadOptions.bands`` asks for."""
    allowed = list(range(1, len(names) + 1))
    if wanted is None:
        # An alpha band alone is read as what it is: numbers.
        return [b for b in allowed if b != alpha] or [1]
    picked = []
    for band in wanted:
        number = names.index(band) + 1 if isinstance(band, str) and band in names else band
        if isinstance(number, str) and number.isdecimal():
            number = int(number)
        if number not in allowed:
            listed = ", ".join(f"{b} ({names[b - 1]})" for b in allowed)
            raise ConfigError(f"bands: {band!r} is not in {path}; allowed: {listed}")
        picked.append(int(number))
    if not picked:
        raise ConfigError(f"bands: at least one band of {path} is needed")
    return picked


def _channels(dataset: Any, names: Sequence[str], picked: Sequence[int]) -> tuple[Channel, ...]:
    known = _sentinel2(dataset, names)
    channels = []
    for band in picked:
        tags = {**dataset.tags(band), **dataset.tags(band, ns="IMAGERY")}
        scale, offset = float(dataset.scales[band - 1]), float(dataset.offsets[band - 1])
        channels.append(
            Channel(
                names[band - 1],
                _wavelength_um(names[band - 1], tags) or known.get(band),
                None if (scale, offset) == (1.0, 0.0) else (scale, offset),
            )
        )
    return tuple(channels)


def _wavelength_um(name: str, tags: Mapping[str, str]) -> float | None:
    """Centre wavelength that a band's tags or its name state, with its unit."""
    lower = {k.lower(): v for k, v in tags.items()}
    unit = lower.get("wavelength_units", lower.get("wavelength_unit", "")).lower()
    for key in ("central_wavelength_um", "wavelength_um", "wavelength"):
        found = re.match(r"\s*(\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", lower.get(key, ""))
        if not found or (value := float(found[0])) <= 0:
            continue
        if key.endswith("_um"):
            return value
        # Without a unit: optical bands end at 20 µm, and begin at 100 nm.
        if unit.startswith("nano") or unit == "nm" or (not unit and value >= 100):
            return value / 1000
        if unit.startswith("micro") or unit in ("um", "µm") or (not unit and value <= 20):
            return value
    found = _CENTRE_NM.search(name)
    return float(found[1]) / 1000 if found else None


def _sentinel2(dataset: Any, names: Sequence[str]) -> dict[int, float]:
    """Band number to wavelength, where the names are Sentinel-2's.

    Landsat names its bands B1 to B11 too, with other meanings: one-digit names count only beside
    a band that Sentinel-2 alone has, and none where a tag speaks of Landsat.
    """
    found = {i: m[1].upper() for i, n in enumerate(names, start=1) if (m := _BAND_ID.match(n))}
    if not found:
        return {}
    said = " ".join(str(v) for v in dataset.tags().values())
    ids = {i: "B8A" if b.endswith("8A") else f"B{int(b):02d}" for i, b in found.items()}
    if _LANDSAT.search(said):
        return {}
    two_digits = all(len(b) >= 2 for b in found.values())
    own = {"B8A", "B12"} & set(ids.values()) or "sentinel" in said.lower()
    return {i: SENTINEL2_UM[b] for i, b in ids.items()} if two_digits or own else {}


def _grid(dataset: Any, meta: dict[str, Any]) -> Grid:
    """Grid of pixel centres; ``meta["transform"]`` becomes the transform it was made from."""
    transform = tuple(float(v) for v in tuple(dataset.transform)[:6])
    crs, world = dataset.crs, world_name(dataset.crs)
    points, points_crs = dataset.gcps
    kept = restore(dataset.tags(ns=NAMESPACE))
    if points and transform == IDENTITY:
        meta["source_gcps"] = [tuple(map(float, (p.row, p.col, p.x, p.y))) for p in points]
        meta["gcps_crs"] = points_crs.to_wkt() if points_crs else None
        # Points that no transform meets leave sizes unknown rather than roughly right.
        fit = fit_control_points(meta["source_gcps"])
        transform, crs = fit or IDENTITY, points_crs if fit else None
        world = (world_name(crs) or LOCAL) if fit else None
    elif kept is not None and not crs and transform == IDENTITY:
        # Written by this package after a flip: the truth is in the tags.
        world, transform = kept
        crs = crs_of(world)
        meta["dropped_georef"] = True
    elif world is None and transform != IDENTITY:
        world = LOCAL
    affine = affine_from_transform(transform)
    if abs(np.linalg.det(affine)) < 1e-300 or not np.isfinite(affine).all():
        raise FormatError(f"{Path(dataset.name)}: its transform {transform} cannot be inverted")
    shape = (int(dataset.height), int(dataset.width))
    meta["transform"] = transform
    return Grid(shape, affine, world, metres_per_unit(crs, affine, shape))


def _meta(dataset: Any, names: list[str], picked: Sequence[int]) -> dict[str, Any]:
    """Collect what a like file needs beside `Loaded`; no paths, no people."""
    at = [b - 1 for b in picked]
    nodata = [dataset.nodatavals[i] for i in at]
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    colormap = None
    if len(picked) == 1 and dataset.colorinterp[at[0]].name == "palette":
        colormap = {k: tuple(v) for k, v in dataset.colormap(picked[0]).items()}
    meta: dict[str, Any] = {
        "format": GeoTiff.name,
        "dtype": np.result_type(*(np.dtype(dataset.dtypes[i]) for i in at)).name
        if not any("complex" in dataset.dtypes[i] for i in at)
        else "complex",
        "shape": [int(dataset.height), int(dataset.width)],
        "nodata": next((v for v in nodata if v is not None), None),
        "names": names,
        "descriptions": [dataset.descriptions[i] for i in at],
        "scales": [float(dataset.scales[i]) for i in at],
        "offsets": [float(dataset.offsets[i]) for i in at],
        "units": [dataset.units[i] for i in at],
        "colorinterp": [dataset.colorinterp[i].name.replace("alpha", "undefined") for i in at],
        "tags": _tags(dataset, 0),
        "band_tags": [_tags(dataset, b) for b in picked],
        "colormap": colormap,
        "AREA_OR_POINT": dataset.tags().get("AREA_OR_POINT"),
        "crs": dataset.crs.to_wkt() if dataset.crs else None,
        "alpha": alpha_band(dataset, picked) is not None,
        "valid_source": valid_source(dataset, picked),
        "rpcs": bool(dataset.tags(ns="RPC")),
        "layout": {
            "tiled": bool(dataset.block_shapes[0][1] < dataset.width),
            "blocksize": [int(n) for n in dataset.block_shapes[0]],
            "compress": structure.get("COMPRESSION"),
            "predictor": structure.get("PREDICTOR"),
            "interleave": dataset.interleaving.value.lower() if dataset.interleaving else None,
        },
    }
    if len({repr(v) for v in nodata}) > 1:
        meta["nodatavals"] = nodata
    return meta


def _tags(dataset: Any, band: int) -> dict[str, dict[str, str]]:
    """Tags of the dataset (band 0) or of a band, by namespace."""
    kept: dict[str, dict[str, str]] = {}
    for space in ["", *dataset.tag_namespaces(band)]:
        if space in _SPACES_LEFT_OUT or space.startswith(("xml:", "json:")):
            continue
        tags = {
            key: value
            for key, value in dataset.tags(band, ns=space or None).items()
            if not _TAG_LEFT_OUT.search(key) and not _PATH.match(value)
        }
        if tags:
            kept[space] = tags
    return kept
