"""TIFF files that are pictures or stacks of pictures: channels, floats, pages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from medsataug.errors import FormatError
from medsataug.io.limits import DEFLATE_RATIO, check_cap, check_size
from medsataug.types import Array

_ALPHA = (1, 2)  # associated, unassociated: TIFF 6.0, ExtraSamples
_DEPTH, _CHANNEL = "ZIQ", "SC"

Facts = tuple[tuple[int, ...], str, bool, bool]


def read_tiff(path: Path) -> tuple[Array, Array | None, list[int] | None]:
    """(C, [Z,] Y, X) values, an alpha plane or None, and an 8-bit palette or None.

    Raises
    ------
    FormatError
        Damaged files, several images of different sizes, or axes such as time.
    """
    with _opened(path) as file:
        series, page, letters = _only_series(file, path)
        try:
            values = np.asarray(series.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            values = _decode_gdal(path, series)
        size = dict(zip(series.axes, series.shape, strict=True))
        values = values.reshape([size[a] for a in letters])
        order = sorted(range(len(letters)), key=lambda k: "CZYX".index(_role(letters[k])))
        values = values.transpose(order)
        if _role(letters[order[0]]) != "C":
            values = values[None]
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.dtype.kind == "b":
            values = values.view(np.uint8)
        palette = _palette(page)
        if _has_alpha(page) and len(values) > 1:
            return values[:-1], values[-1], palette
        return values, None, palette


def tiff_facts(path: Path) -> Facts:
    """(C, [Z,] Y, X) shape, dtype, and whether there is alpha and a palette; from the header."""
    with _opened(path) as file:
        series, page, letters = _only_series(file, path)
        size = dict(zip(series.axes, series.shape, strict=True))
        found = {_role(a): size[a] for a in letters}
        alpha = _has_alpha(page)
        shape = (found.get("C", 1) - alpha, *[found[a] for a in "ZYX" if a in found])
        return shape, str(series.dtype), alpha, _palette(page) is not None


def write_tiff(path: Path, values: Array, alpha: Array | None) -> None:
    """Write (C, [Z,] Y, X) ``values``, deflated, with nothing else in the header."""
    options: dict[str, Any] = {
        "compression": "zlib",
        "software": False,
        "photometric": "minisblack",
    }
    if values.ndim == 4:
        axes = "ZYX" if len(values) == 1 else "CZYX"
        data = values[0] if len(values) == 1 else values
        tifffile.imwrite(path, data, metadata={"axes": axes}, **options)
        return
    if alpha is not None:
        values = np.concatenate([values, alpha[None]])
        options["extrasamples"] = ["unassalpha"]
    colours = len(values) - (alpha is not None)
    if colours == 3 and values.dtype.kind == "u":
        options["photometric"] = "rgb"
    if len(values) == 1:
        tifffile.imwrite(path, values[0], metadata=None, **options)
        return
    planar = "contig" if options["photometric"] == "rgb" else "separate"
    data = np.ascontiguousarray(np.moveaxis(values, 0, -1)) if planar == "contig" else values
    tifffile.imwrite(path, data, metadata=None, planarconfig=planar, **options)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open ``path``; damage is told in one line."""
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (FormatError, MemoryError):
        raise
    except Exception as error:
        raise FormatError(
            f"{path}: truncated, damaged or of an unsupported kind ({type(error).__name__}); copy "
            "it again, or save it as an uncompressed TIFF"
        ) from None


def _role(letter: str) -> str:
    return "C" if letter in _CHANNEL else "Z" if letter in _DEPTH else letter


def _only_series(file: tifffile.TiffFile, path: Path) -> tuple[Any, Any, str]:
    """Return the one image of a file, its first page, and its axes without those of size 1."""
    if len(file.series) != 1:
        raise FormatError(
            f"{path}: holds {len(file.series)} images of different kinds; save the one to use"
        )
    series = file.series[0]
    page = series.keyframe
    letters = "".join(
        a for a, n in zip(series.axes, series.shape, strict=True) if n > 1 or a in "YX"
    )
    roles = [_role(a) for a in letters]
    if set(roles) - set("CZYX") or len(set(roles)) < len(roles) or not set("YX") <= set(roles):
        raise FormatError(
            f"{path}: its axes are {series.axes} {tuple(series.shape)}; a volume has one axis of "
            "pages and one of channels at most, and no time: save the part to use"
        )
    dtype = series.dtype
    if dtype is None or dtype.kind not in "iufb":
        raise FormatError(f"{path}: pixels are {dtype}; real numbers are needed")
    declared = math.prod(series.shape) * dtype.itemsize
    if int(page.compression) == 1:
        check_size(
            path, declared, stored=path.stat().st_size, ratio=8 if page.bitspersample < 8 else 1
        )
    elif int(page.compression) in (8, 32946):
        check_size(path, declared, stored=path.stat().st_size, ratio=DEFLATE_RATIO)
    else:
        check_cap(path, declared)
    return series, page, letters


def _has_alpha(page: Any) -> bool:
    extra = tuple(int(e) for e in page.extrasamples or ())
    return bool(extra) and extra[-1] in _ALPHA


def _palette(page: Any) -> list[int] | None:
    """Return 256 RGB triples of 8 bits, or None."""
    if int(page.photometric) != 3 or page.colormap is None or page.dtype != np.uint8:
        return None
    table = np.asarray(page.colormap).T >> 8
    return [int(v) for v in table.ravel()] + [0] * (768 - table.size)


def _decode_gdal(path: Path, series: Any) -> Array:
    """Decode page by page with GDAL, which knows every compression."""
    from medsataug.io.raster_source import open_raster

    pages = []
    for page in series.pages:
        with open_raster(f"GTIFF_DIR:{page.index + 1}:{path}") as dataset:
            planes = dataset.read()
        contiguous = int(page.planarconfig) == 1
        pages.append(np.moveaxis(planes, 0, -1) if contiguous else planes)
    return np.stack(pages).reshape(series.shape)
