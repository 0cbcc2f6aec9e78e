"""Plain images: PNG, JPEG, BMP, and TIFF without a georeference.

Pillow reads and writes 8-bit files and 16-bit grey ones, tifffile every TIFF. Pillow would cut
16-bit colours to 8 bits: GDAL reads them and SimpleITK writes them. GDAL also decodes the TIFF
compressions that tifffile lacks.
JPEG is read only: writing it would change every value.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from medsataug.errors import FormatError
from medsataug.grid import Grid
from medsataug.io.base import Loaded, ReadOptions
from medsataug.io.encode import integral, nan_where_invalid, not_nan, to_dtype
from medsataug.io.limits import check_cap
from medsataug.io.plain_tiff import read_tiff, tiff_facts, write_tiff
from medsataug.types import Array, Channel, LazyImage, Sample

_TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *_TIFF)
_COLOURS = ("red", "green", "blue")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
#: Largest value of a grey PNG of few bits once Pillow has spread it over 8.
_SPREAD = {1: 255, 2: 85, 4: 17}
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I"}


@dataclass
class Pixels:
    """What a file holds: (C, [Z,] Y, X) ``values``, alpha apart, and a palette where it has one."""

    values: Array
    alpha: Array | None = None
    palette: list[int] | None = field(default=None, repr=False)


class Image:
    """PNG, JPEG, BMP and plain TIFF; pixels have no known size and no place.

    Alpha becomes ``valid`` (above 0). A palette image is a label's indices, or colours where it
    is loaded as an image. Grey PNGs of 1, 2 or 4 bits keep their stored numbers. A TIFF's pages
    are a 3D volume unless the file says that they are something else.
    """

    name = "image"

    def matches(self, path: Path) -> bool:
        """Whether ``path`` has one of the suffixes."""
        return path.suffix.lower() in SUFFIXES and path.is_file()

    def read(self, path: Path, options: ReadOptions) -> Loaded:
        """Read an image, or a label of one plane.

        Raises
        ------
        FormatError
            Missing, truncated or unsupported files; a label in colours or with fractions.
        """
        path = Path(path)
        if not path.is_file():
            raise FormatError(f"{path}: there is no such file")
        tiff = path.suffix.lower() in _TIFF
        pixels = Pixels(*read_tiff(path)) if tiff else _read_pillow(path)
        meta: dict[str, Any] = {"format": self.name, "suffix": ".tif" if tiff else ".png"}
        valid: NDArray[np.bool_] | None = None
        values = pixels.values
        if options.role == "label":
            values = _label(values, path)
            if pixels.palette is not None:
                meta["palette"] = pixels.palette
        else:
            if pixels.palette is not None:
                table = np.asarray(pixels.palette, np.uint8).reshape(-1, 3)
                values = np.moveaxis(table[values[0]], -1, 0)
            valid = not_nan(values)
            if valid is not None:
                meta["nodata"] = float("nan")
            elif pixels.alpha is not None:
                meta["valid_source"] = "alpha"
                valid = None if pixels.alpha.min() > 0 else (pixels.alpha > 0)[None]
        values = np.ascontiguousarray(values)
        meta["dtype"] = values.dtype.name
        channels = tuple(Channel(n) for n in _names(len(values)))
        return Loaded(values, Grid.regular(values.shape[1:]), channels, valid, meta)

    def suffix(self, sample: Sample) -> str:
        """``".png"`` for one or three 2D channels of 8 or 16 bits, else ``".tif"``."""
        if sample.meta.get("suffix") == ".tif":
            return ".tif"
        dtype = np.dtype(sample.meta.get("dtype") or sample.image.dtype)
        return ".png" if _fits_png(sample.image.shape, dtype) else ".tif"

    def write(self, sample: Sample, path: Path, role: str) -> None:
        """Write the image or label as PNG or TIFF, without loss, in its dtype.

        Raises
        ------
        FormatError
            For another suffix, a lazy image, or what a PNG cannot hold.
        """
        path = Path(path)
        meta: dict[str, Any] = sample.meta
        pixels: Array | LazyImage | None = sample.image
        if role == "label":
            meta, pixels = sample.meta.get("label_meta") or {}, sample.label
        if pixels is None or isinstance(pixels, LazyImage):
            raise FormatError(f"{path}: there is no {role} in memory to write")
        grid = sample.grid
        assert grid is not None
        dtype = np.dtype(pixels.dtype if role == "label" else meta.get("dtype") or pixels.dtype)
        dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        values = pixels.reshape(-1, *grid.shape)
        alpha = None
        if role == "image" and dtype.kind == "f":
            known = nan_where_invalid(sample)
            values = values if known is None else np.where(known, values, np.nan)
        values = to_dtype(values, dtype)
        if role == "image" and dtype.kind == "u" and meta.get("valid_source") == "alpha":
            plane = np.ones(grid.shape, bool) if sample.valid is None else sample.valid.all(axis=0)
            alpha = np.where(plane, np.iinfo(dtype).max, 0).astype(dtype)
        if path.suffix.lower() in _TIFF:
            write_tiff(path, values, alpha)
        elif path.suffix.lower() == ".png" and _fits_png(values.shape, dtype):
            _write_png(path, values, alpha, meta.get("palette"))
        else:
            raise FormatError(
                f"{path}: {len(values)} channels of {dtype.name} in {grid.ndim}D are written as "
                f"TIFF (.tif){'' if path.suffix.lower() == '.png' else ' or PNG (.png)'}"
            )

    def describe(self, path: Path) -> dict[str, Any]:
        """Header facts for ``medsataug info``; no pixel is read."""
        path = Path(path)
        if not path.is_file():
            raise FormatError(f"{path}: there is no such file")
        if path.suffix.lower() in _TIFF:
            shape, dtype, alpha, palette = tiff_facts(path)
        else:
            with _opened(path) as image:
                mode = image.mode
                bands = Pillow.getmodebands(mode)
                alpha, palette = mode in ("LA", "RGBA"), mode == "P"
                shape = (bands - alpha, image.height, image.width)
                sixteen = mode.startswith("I") or _png_depth(path)[0] == 16
                dtype = "uint16" if sixteen else "uint8"
        return {
            "format": self.name,
            "shape": list(shape),
            "dtype": dtype,
            "channels": _names(shape[0]),
            "alpha": bool(alpha),
            "palette": bool(palette),
            "world": None,
        }


def _names(count: int) -> list[str]:
    if count == 3:
        return list(_COLOURS)
    return ["grey"] if count == 1 else [f"channel {i}" for i in range(count)]


def _fits_png(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and dtype.name in ("uint8", "uint16")


def _label(values: Array, path: Path) -> Array:
    """One plane of a grey picture stored as RGB; whole numbers in any case."""
    if len(values) == 3 and values.ndim == 3:
        if not (values == values[:1]).all():
            raise FormatError(
                f"{path}: a label holds one class number a pixel, this one holds colours; save it "
                "as a grey or palette image"
            )
        values = values[:1]
    return integral(values, path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open with Pillow, which refuses sizes that only an attack would have."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            image = Pillow.open(path)
    except Pillow.DecompressionBombError:
        raise FormatError(
            f"{path}: declares more than {2 * (Pillow.MAX_IMAGE_PIXELS or 0)} pixels; save it as "
            "TIFF"
        ) from None
    except (UnidentifiedImageError, SyntaxError, ValueError):
        raise FormatError(f"{path}: not a PNG, JPEG or BMP image; check its suffix") from None
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror or error})", error) from None
    with image:
        check_cap(path, image.width * image.height * 8)
        yield image


def _png_depth(path: Path) -> tuple[int, int]:
    """Bits of a PNG's channel and its colour type; zeros for another file."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return (head[24], head[25]) if head[:8] == _PNG_MAGIC and len(head) == 26 else (0, 0)


def _read_pillow(path: Path) -> Pixels:
    depth, colour = _png_depth(path)
    with _opened(path) as image:
        if image.mode not in _MODES:
            raise FormatError(f"{path}: {image.mode} colours are not read; convert it to RGB")
        try:
            if depth == 16 and colour:
                array = _read_deep(path)
            else:
                array = np.asarray(image.convert("L") if image.mode == "1" else image)
        except (OSError, SyntaxError, ValueError, RuntimeError):
            raise FormatError(
                f"{path}: truncated or damaged: its pixels cannot be decoded; copy it again"
            ) from None
        mode = image.mode
        palette = image.getpalette() if mode == "P" else None
    if array.dtype.kind == "i" or not array.dtype.isnative:
        array = array.astype(np.uint16)
    elif depth in _SPREAD and colour == 0:
        array = array // _SPREAD[depth]
    if palette is not None:
        palette = [*palette, *[0] * (768 - len(palette))]
    if array.ndim == 2:
        return Pixels(array[None], None, palette)
    planes = np.moveaxis(array, -1, 0)
    return Pixels(planes[:-1], planes[-1]) if len(planes) in (2, 4) else Pixels(planes)


def _read_deep(path: Path) -> Array:
    """(Y, X, C) of a 16-bit colour PNG."""
    from medsataug.io.raster_source import open_raster

    with open_raster(path) as dataset:
        return np.moveaxis(dataset.read(), 0, -1)


def _write_png(
    path: Path, values: Array, alpha: Array | None, palette: Sequence[int] | None
) -> None:
    planes = values if alpha is None else np.concatenate([values, alpha[None]])
    array = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    if len(planes) > 1 and array.dtype == np.uint16:
        import SimpleITK as sitk

        try:
            sitk.WriteImage(
                sitk.GetImageFromArray(array, isVector=True), str(path), imageIO="PNGImageIO"
            )
        except RuntimeError:
            # It does not say why; writing to a folder that exists fails by the machine.
            raise FormatError.of(
                f"{path}: cannot be written; is the disk full, or the folder read-only?",
                OSError(errno.EIO, ""),
            ) from None
        return
    image = Pillow.fromarray(array[..., 0] if len(planes) == 1 else array)
    if palette is not None and array.dtype == np.uint8 and len(planes) == 1:
        image.putpalette(list(palette))
    image.save(path, format="PNG")
