"""Writing a raster: values into the file's dtype, and everything beside them kept."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

from medsataug.errors import FormatError
from medsataug.io.deflated import append_tiles, predictor_for
from medsataug.io.encode import free_value, nodata_for, nudge, own_channels, reads_as, to_dtype
from medsataug.io.georef import NAMESPACE, Placement, place
from medsataug.io.raster_source import gdal_threads, open_raster
from medsataug.types import Array, Channel, LazyImage, Sample

_LARGE = 2048
#: On Sentinel-2 bands it takes a quarter of the time of GDAL's default, for files 3 % larger.
_ZSTD_LEVEL = 1
#: Names given to bands that have none; they are not written as if they were theirs.
_NUMBERED = re.compile(r"(band|channel) \d+$")


@dataclass(frozen=True)
class _Job:
    """What one file gets: its pixels' source and how they are written."""

    pixels: Array | LazyImage
    valid: NDArray[np.bool_] | None
    dtype: np.dtype[Any]
    nodata: float | int | None
    extra: str | None  # "alpha", "mask" or None
    label: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.pixels.shape)

    def blocks(self, rows: int) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
        """Yield strips of encoded values with one plane of validity: memory stays small."""
        for start in range(0, self.shape[1], rows):
            part = slice(start, min(start + rows, self.shape[1]))
            if isinstance(self.pixels, LazyImage):
                window = (part, slice(0, self.shape[2]))
                raw, valid = self.pixels.read(window), self.pixels.read_valid(window)
            else:
                raw = self.pixels[:, part]
                valid = None if self.valid is None else self.valid[:, part]
            if raw.dtype.kind == "f" and np.isnan(raw).any():
                valid = ~np.isnan(raw) if valid is None else valid & ~np.isnan(raw)
            out = to_dtype(raw, self.dtype)
            if valid is not None:
                valid = np.broadcast_to(valid, out.shape)
            if self.nodata is not None:
                out = out.copy() if out is raw else out
                if not self.label:  # a label that holds its nodata value means it
                    nudge(out, valid, self.nodata)
                if valid is not None:
                    out[~valid] = self.nodata
            # One plane for all bands: a pixel counts only where every band has data.
            plane = np.asarray(np.ones(out.shape[1:], bool) if valid is None else valid.all(axis=0))
            yield out, plane


def write_raster(sample: Sample, path: Path, role: str) -> None:
    """Write the image or the label of ``sample`` as a tiled GeoTIFF at ``path``."""
    # Threads deflate a block each, and blocks are written in order: the same bytes every time.
    with _writing(path, gdal_threads()):
        _write(sample, path, role, cog=False)


def write_cog(sample: Sample, path: Path, role: str = "image") -> None:
    """Write ``sample`` as a cloud-optimised GeoTIFF: blocks of 512, overviews inside.

    Overviews are averages for an image and the most frequent class for a label.
    """
    with _writing(path, "1"), MemoryFile(ext=".tif") as memory:
        compress = _write(sample, memory.name, role, cog=True)
        with open_raster(memory.name) as plain:
            spaces = set(plain.tag_namespaces()) - {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS"}
        rasterio.shutil.copy(
            memory.name,
            path,
            driver="COG",
            BLOCKSIZE=512,
            COMPRESS=compress,
            PREDICTOR="YES",
            BIGTIFF="IF_SAFER",
            # Without it, namespaces of the file are lost, the true transform among them; with
            # it, GDAL 3.10 loses the bands' tags that are in no namespace.
            COPY_SRC_MDD="YES" if spaces else "AUTO",
            OVERVIEW_RESAMPLING="MODE" if role == "label" else "AVERAGE",
        )


@contextmanager
def _writing(path: Path, threads: str) -> Iterator[None]:
    """One-line errors and no sidecar files."""
    settings = {"GDAL_PAM_ENABLED": False, "GDAL_TIFF_INTERNAL_MASK": True}
    try:
        with rasterio.Env(GDAL_NUM_THREADS=threads, **settings):
            yield
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise FormatError.of(
            f"{path}: cannot be written ({reason})", OSError(errno.EIO, reason)
        ) from error


def _opened(path: Path | str, mode: str, **profile: Any) -> Any:
    # The filter is per process, not per thread, so it is held no longer than the opening.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path, mode, **profile)
        _ = dataset.transform  # the warning is given here
        return dataset


def _job(sample: Sample, meta: Mapping[str, Any], role: str) -> _Job:
    pixels = sample.label if role == "label" else sample.image
    if pixels is None:
        raise FormatError(f"there is no {role} to write")
    if sample.ndim != 2:
        raise FormatError(f"a GeoTIFF holds 2D rasters, and this {role} is {sample.ndim}D")
    if not isinstance(pixels, LazyImage) and pixels.ndim == 2:
        pixels = pixels[None]
    if role == "label":
        # Never a default: nodata 0 would make the background class vanish in every reader.
        nodata = nodata_for(pixels.dtype, meta.get("nodata"))
        return _Job(pixels, None, pixels.dtype, nodata, None, label=True)
    dtype = np.dtype(meta.get("dtype") or pixels.dtype)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    elif dtype == np.float16:
        dtype = np.dtype(np.float32)
    nodata = nodata_for(dtype, meta.get("nodata"))
    if nodata is not None and not isinstance(pixels, LazyImage):
        added, valid = slice(own_channels(sample), None), sample.valid
        shown = None if valid is None else np.broadcast_to(valid, pixels.shape)[added]
        if reads_as(to_dtype(pixels[added], dtype), shown, nodata).any():
            dtype, nodata = _free_nodata(pixels, dtype)
    source = meta.get("valid_source")
    if nodata is not None or source in ("alpha", "mask"):
        return _Job(pixels, sample.valid, dtype, nodata, None if nodata is not None else source)
    gaps = sample.valid is not None and not sample.valid.all()
    if dtype.kind == "f":
        return _Job(pixels, sample.valid, dtype, float("nan") if gaps else None, None)
    if not gaps and not isinstance(pixels, LazyImage) and pixels.dtype.kind == "f":
        gaps = any(bool(np.isnan(plane).any()) for plane in pixels)
    # No value of the dtype is free to mean "no data": a mask says it.
    return _Job(pixels, sample.valid, dtype, None, "mask" if gaps else None)


def _free_nodata(pixels: Array, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], float | int]:
    """Return a nodata value that no channel holds, and the type to store: a wider one if need be.

    A GeoTIFF has one value for all bands, and to channels that were added it is a number.
    """
    if dtype.kind == "f":
        return dtype, float("nan")
    free = free_value(to_dtype(pixels, dtype))
    if free is not None:
        return dtype, free
    wider = np.result_type(dtype, np.uint16 if dtype == np.uint8 else np.int32)
    return _free_nodata(pixels, wider)


def _write(sample: Sample, path: Path | str, role: str, *, cog: bool) -> str:
    """Write a plain GeoTIFF and return the compression a like file has."""
    meta: Mapping[str, Any] = sample.meta
    if role == "label":
        meta = sample.meta.get("label_meta") or {}
    job = _job(sample, meta, role)
    placed_by = {**meta, **{k: sample.meta[k] for k in ("gcps",) if k in sample.meta}}
    placed_by.setdefault("transform", sample.meta.get("transform"))
    assert sample.grid is not None
    placement = place(sample.grid, placed_by, sample.record)
    count, height, width = job.shape
    names = [c.name for c in sample.channels if isinstance(c, Channel)]
    bands = _matched_bands(meta, names if role == "image" else None, count)
    colours = _colours(meta, bands, job.extra == "alpha")
    layout = meta.get("layout") or {}
    compress = "ZSTD" if str(layout.get("compress", "")).upper() == "ZSTD" else "DEFLATE"
    block = 512 if max(height, width) >= _LARGE else 256
    rgb = [c.name for c in colours[:3]] == ["red", "green", "blue"]
    planar = str(layout.get("interleave") or "pixel") == "band"
    # GDAL's own tiles would be as small, and take longer.
    deflated = compress == "DEFLATE" and not cog
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": count + (job.extra == "alpha"),
        "dtype": job.dtype.name,
        "nodata": job.nodata,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "interleave": "band" if planar else "pixel",
        "photometric": "RGB" if rgb else "MINISBLACK",
        "bigtiff": "IF_SAFER",
        **placement.profile(),
    }
    if not cog:
        profile |= {"compress": compress, "predictor": predictor_for(job.dtype)}
        profile |= {"sparse_ok": True} if deflated else {"zstd_level": _ZSTD_LEVEL}
    # The mask comes last, by one thread, in the file opened again: several would put its blocks
    # now here, now there among those of the pixels.
    masks: list[NDArray[np.uint8]] = []
    strips = _strips(job, block, masks)
    with _opened(path, "w", **profile) as dataset:
        # All of the header before the first pixel, so that it is written once.
        _write_facts(dataset, sample, meta, role, bands, placement)
        dataset.colorinterp = colours
        table = meta.get("colormap")
        if table and dataset.count == 1 and job.dtype.name in ("uint8", "uint16"):
            dataset.write_colormap(1, {int(k): tuple(v) for k, v in table.items()})
        if not deflated:
            for number, values in enumerate(strips):
                start = number * block
                window = ((start, start + values.shape[1]), (0, width))
                dataset.write(values, window=window)
    if deflated:
        append_tiles(Path(path), strips, block, planar=planar)
    if masks:
        with rasterio.Env(GDAL_NUM_THREADS="1"), _opened(path, "r+") as dataset:
            for number, packed in enumerate(masks):
                plane = np.unpackbits(packed, axis=1, count=width)
                window = ((number * block, number * block + len(plane)), (0, width))
                dataset.write_mask(plane.astype(bool), window=window)
    return compress


def _strips(job: _Job, rows: int, masks: list[NDArray[np.uint8]]) -> Iterator[Array]:
    """Yield strips of what is stored, alpha included; a mask goes into ``masks``, a bit a pixel."""
    for values, plane in job.blocks(rows):
        if job.extra == "mask":
            masks.append(np.packbits(plane, axis=1))
        if job.extra == "alpha":
            opaque = np.iinfo(np.uint16).max if job.dtype == np.uint16 else 255
            opaque = min(opaque, np.iinfo(job.dtype).max) if job.dtype.kind != "f" else 255
            alpha = np.where(plane, opaque, 0).astype(job.dtype)
            values = np.concatenate([values, alpha[None]])
        yield values


def _matched_bands(
    meta: Mapping[str, Any], names: Sequence[str] | None, count: int
) -> list[int | None]:
    """For each output band, the input band its header facts come from; None for a new band."""
    known = list(meta.get("names") or ())
    if names is None or names == known:
        return [i if i < len(known) else None for i in range(count)]
    return [known.index(name) if name in known else None for name in names]


def _colours(
    meta: Mapping[str, Any], bands: Sequence[int | None], alpha: bool
) -> list[ColorInterp]:
    stated = meta.get("colorinterp") or ()
    colours = [
        ColorInterp.undefined if b is None or b >= len(stated) else ColorInterp[stated[b]]
        for b in bands
    ]
    if not stated:
        colours[0] = ColorInterp.gray
    # A palette belongs to a table of one band; where it cannot be written, the band is grey.
    if len(colours) + alpha > 1 or not meta.get("colormap"):
        colours = [ColorInterp.gray if c == ColorInterp.palette else c for c in colours]
    return colours + [ColorInterp.alpha] * alpha


def _write_facts(
    dataset: Any,
    sample: Sample,
    meta: Mapping[str, Any],
    role: str,
    bands: Sequence[int | None],
    placement: Placement,
) -> None:
    """Names, scales, units and tags: what ``src.profile`` does not carry."""
    for space, tags in (meta.get("tags") or {}).items():
        if space == NAMESPACE or (space == "RPC" and placement.moved):
            continue
        if placement.transform is None:
            # Without a place, GDAL invents a local CRS to say it in; with control points, GDAL
            # 3.10 moves them by half a pixel when writing and again when reading.
            tags = {k: v for k, v in tags.items() if k != "AREA_OR_POINT"}
        dataset.update_tags(ns=space or None, **tags)
    if placement.tags:
        dataset.update_tags(ns=NAMESPACE, **placement.tags)

    def fact(key: str, band: int | None) -> Any:
        values = meta.get(key) or ()
        return values[band] if band is not None and band < len(values) else None

    scales, offsets = [1.0] * dataset.count, [0.0] * dataset.count
    for number, band in enumerate(bands, start=1):
        name, tags = fact("descriptions", band), fact("band_tags", band) or {}
        for space, items in tags.items():
            dataset.update_tags(number, ns=space or None, **items)
        if role == "image":
            channel = sample.channels[number - 1]
            assert isinstance(channel, Channel)
            if not name and not _NUMBERED.match(channel.name):
                name = channel.name
            # The channel knows best: its scale is gone once its unit has changed.
            scales[number - 1], offsets[number - 1] = channel.reflectance or (1.0, 0.0)
            stated = any("wavelength" in key.lower() for items in tags.values() for key in items)
            if channel.wavelength_um is not None and not stated:
                text = f"{channel.wavelength_um:.6g}"
                dataset.update_tags(number, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=text)
        if name:
            dataset.set_band_description(number, name)
        if unit := fact("units", band):
            dataset.set_band_unit(number, unit)
    if set(scales) != {1.0} or set(offsets) != {0.0}:
        dataset.scales, dataset.offsets = scales, offsets
