"""Reading a raster piece by piece: never more in memory than was asked for."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from medsataug import threads
from medsataug.errors import FormatError, GeometryError
from medsataug.types import Array, Window

_CHUNK = 8 * 2**20
#: Decoded blocks that GDAL keeps; its default is a twentieth of the memory.
CACHE_MB = 64
_ALPHA_NAME = re.compile("alpha|mask|opacity|transparen", re.IGNORECASE)
#: Beside a raster, but not its content: viewers add statistics and overviews; a VRT names paths.
_NOT_CONTENT = (".aux.xml", ".ovr", ".vrt", ".rrd")


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn what rasterio raises into one line that names the file."""
    try:
        yield
    except RasterioError as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise FormatError(
            f"{path}: cannot be read; the file is damaged, incomplete or of an unsupported kind "
            f"({reason})"
        ) from error


def gdal_threads() -> str:
    """Say how many threads decode and encode: as many as compute."""
    return str(threads.count())


def open_raster(path: Path | str) -> Any:
    """Open ``path`` for reading; the caller closes it."""
    # The filter is per process, not per thread, so it is held no longer than the opening.
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path)
        _ = dataset.transform  # the warning is given here
        return dataset


def alpha_band(dataset: Any, picked: Sequence[int] | None = None) -> int | None:
    """Return the number of the alpha band, from 1, or None.

    GDAL calls the fourth of four 8-bit bands alpha unless told otherwise, so that many files
    have their near infrared marked as such. A band with another name, or one that is asked for
    among ``picked``, is an image channel.
    """
    for band, meaning in enumerate(dataset.colorinterp, start=1):
        if meaning == ColorInterp.alpha and band not in (picked or ()):
            name = dataset.descriptions[band - 1]
            return band if not name or _ALPHA_NAME.search(name) else None
    return None


def masked_bands(dataset: Any, picked: Sequence[int]) -> list[set[MaskFlags]]:
    """GDAL's mask flags of each picked band; empty where it has no mask that counts.

    Alpha is left out: it is read as a band, since GDAL makes masks of 8 and 16 bits only.
    """
    flags = [set(dataset.mask_flag_enums[b - 1]) for b in picked]
    return [set() if f & {MaskFlags.all_valid, MaskFlags.alpha} else f for f in flags]


def valid_source(dataset: Any, picked: Sequence[int]) -> str | None:
    """Name what says where data is: ``"nodata"``, ``"alpha"``, ``"mask"`` or None."""
    masks = masked_bands(dataset, picked)
    if any(MaskFlags.nodata in f and MaskFlags.per_dataset not in f for f in masks):
        return "nodata"
    if alpha_band(dataset, picked) is not None:
        return "alpha"
    return "mask" if any(masks) else None


def check_not_truncated(dataset: Any, path: Path) -> None:
    """Refuse a TIFF with uncompressed blocks that the file is too short to hold.

    Raises
    ------
    FormatError
        Naming the file and both sizes, before anything of the declared size is allocated.
    """
    if dataset.driver != "GTiff" or dataset.compression is not None:
        return
    # /vsi paths have no size of their own.
    if not path.is_file():
        return
    pixel = sum(np.dtype(t).itemsize for t in dataset.dtypes)
    declared, size = dataset.width * dataset.height * pixel, path.stat().st_size
    if declared <= size:
        return
    # A sparse file may be smaller than it declares; its missing blocks have no offset. One
    # block that is present, but beyond the end, tells the two apart.
    together = dataset.interleaving.value.lower() == "pixel"
    for band in range(1, 2 if together else dataset.count + 1):
        height, width = dataset.block_shapes[band - 1]
        for row in range(-(-dataset.height // height)):
            for column in range(-(-dataset.width // width)):
                key = f"{column}_{row}"
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{key}", "TIFF", bidx=band)
                if offset is None:
                    continue
                length = dataset.get_tag_item(f"BLOCK_SIZE_{key}", "TIFF", bidx=band) or 0
                if int(offset) + int(length) > size:
                    raise FormatError(
                        f"{path}: the header declares {declared} bytes of pixels, the file has "
                        f"{size}; it is incomplete"
                    )


class _Handle:
    """One process's dataset and the lock that guards it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.dataset: Any = None


class RasterSource:
    """Bands of a raster, read window by window.

    The dataset is opened on first use, once in every process: GDAL's handles must not cross a
    fork. It pickles by path, may be read from several threads, and changes nothing.

    Parameters
    ----------
    path : Path
    bands : sequence of int, optional
        Band numbers from 1, in the order wanted; by default all but alpha.

    Attributes
    ----------
    shape : (C, Y, X) tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, path: Path, bands: Sequence[int] | None = None) -> None:
        self.path = Path(path)
        self._handles: dict[int, _Handle] = {}
        with self._dataset() as dataset:
            check_not_truncated(dataset, self.path)
            if bands is None:
                bands = [b for b in dataset.indexes if b != alpha_band(dataset)]
            self.bands = tuple(int(b) for b in bands)
            self._alpha = alpha_band(dataset, self.bands)
            kinds = {dataset.dtypes[b - 1] for b in self.bands}
            if any(k.startswith("complex") for k in kinds):
                raise FormatError(
                    f"{self.path}: bands are {', '.join(sorted(kinds))}; complex rasters are not "
                    "read, convert them to amplitude or intensity first"
                )
            self.shape: tuple[int, ...] = (len(self.bands), dataset.height, dataset.width)
            self.dtype: np.dtype[Any] = np.result_type(*(np.dtype(k) for k in sorted(kinds)))
            masks = masked_bands(dataset, self.bands)
            self._masked = any(masks)
            self._one_mask = all(MaskFlags.per_dataset in f for f in masks)
            self._nodata = self._integral_nodata(dataset, masks)
            self._facts = repr(
                (
                    self.shape,
                    self.dtype.str,
                    self.bands,
                    tuple(dataset.transform),
                    dataset.crs.to_wkt() if dataset.crs else None,
                    [dataset.nodatavals[b - 1] for b in self.bands],
                )
            )

    def _integral_nodata(
        self, dataset: Any, masks: Sequence[set[MaskFlags]]
    ) -> tuple[int | None, ...] | None:
        """Return each band's nodata value where comparing integers with it is all its mask does."""
        values = [dataset.nodatavals[b - 1] for b in self.bands]
        plain = all(f in (set(), {MaskFlags.nodata}) for f in masks)
        whole = all(v is None or float(v).is_integer() for v in values)
        if self.dtype.kind not in "iu" or not any(masks) or not plain or not whole:
            return None
        return tuple(int(v) if m else None for v, m in zip(values, masks, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes of all values, were they read at once."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @contextmanager
    def _dataset(self) -> Iterator[Any]:
        # A parent's handle stays in the dictionary untouched: its lock may have been held at the
        # fork, and closing its dataset here would deadlock in GDAL's own threads.
        handle = self._handles.setdefault(os.getpid(), _Handle())
        with (
            handle.lock,
            reading(self.path),
            rasterio.Env(GDAL_NUM_THREADS=gdal_threads(), GDAL_CACHEMAX=CACHE_MB),
        ):
            if handle.dataset is None:
                handle.dataset = open_raster(self.path)
            yield handle.dataset

    def _window(self, window: Window) -> tuple[RasterWindow, tuple[int, int]]:
        size = self.shape[1:]
        if len(window) != 2:
            raise GeometryError(f"{self.path}: a window is two slices (y, x), got {window}")
        spans = []
        for part, n in zip(window, size, strict=True):
            start = 0 if part.start is None else int(part.start)
            stop = n if part.stop is None else int(part.stop)
            if part.step not in (None, 1) or not 0 <= start <= stop <= n:
                raise GeometryError(
                    f"{self.path}: the window {window} is not inside the raster of {size} pixels"
                )
            spans.append((start, stop - start))
        (y, height), (x, width) = spans
        return RasterWindow(x, y, width, height), (height, width)

    def read(self, window: Window) -> Array:
        """(C, h, w) values of a window, two slices (y, x) inside the raster.

        Raises
        ------
        GeometryError
            For a window that reaches beyond the raster.
        FormatError
            Where the file cannot be decoded there.
        """
        part, size = self._window(window)
        if 0 in size:
            return np.empty((len(self.bands), *size), self.dtype)
        with self._dataset() as dataset:
            values = dataset.read(list(self.bands), window=part, out_dtype=self.dtype)
        return np.asarray(values)

    def read_valid(self, window: Window) -> NDArray[np.bool_] | None:
        """(C or 1, h, w) True where there is data; None where all of it is."""
        needed = self._nodata is not None or self.dtype.kind == "f"
        return self._valid(window, self.read(window) if needed else None)

    def read_both(self, window: Window) -> tuple[Array, NDArray[np.bool_] | None]:
        """Return `read` and `read_valid` of a window; what both need is decoded once."""
        values = self.read(window)
        return values, self._valid(window, values)

    def _valid(self, window: Window, values: Array | None) -> NDArray[np.bool_] | None:
        """Return `read_valid`, of ``values`` where they say where data is."""
        part, size = self._window(window)
        floats = self.dtype.kind == "f"
        if 0 in size or not (self._masked or floats or self._alpha is not None):
            return None
        valid: NDArray[np.bool_] = np.ones((1, *size), dtype=bool)
        if self._nodata is not None and values is not None:
            valid = np.ones(values.shape, dtype=bool)
            for nodata, plane, out in zip(self._nodata, values, valid, strict=True):
                if nodata is not None:
                    np.not_equal(plane, nodata, out=out)
        with self._dataset() as dataset:
            if self._masked and self._nodata is None:
                # GDAL's own masks: its comparison of floats with nodata has a tolerance.
                asked = list(self.bands[:1] if self._one_mask else self.bands)
                valid = dataset.read_masks(asked, window=part) > 0
            if self._alpha is not None:
                valid = valid & (dataset.read([self._alpha], window=part) > 0)
        if floats and values is not None:
            valid = valid & ~np.isnan(values)
        if valid.all():
            return None
        return valid[:1] if (valid == valid[:1]).all() else valid

    @cached_property
    def digest(self) -> str:
        """BLAKE2b-64 of what the header states and of the files' bytes; not of path or time."""
        state = hashlib.blake2b(self._facts.encode(), digest_size=8)
        with open_raster(self.path) as dataset:
            files = [Path(f) for f in dataset.files] or [self.path]
        for file in files:
            if file.name.lower().endswith(_NOT_CONTENT) or not file.is_file():
                continue
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    state.update(chunk)
        return state.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._handles = {}

    def __repr__(self) -> str:
        # Without the folder: reprs end up in logs and records.
        return f"RasterSource({self.path.name!r}, shape={self.shape}, dtype={self.dtype})"
