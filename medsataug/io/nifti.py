"""NIfTI-1 and NIfTI-2: ``.nii``, ``.nii.gz`` and ``.hdr``/``.img``.

nibabel parses and makes headers; voxels are read and written here. A file stores (X, Y, Z, C) in
Fortran order, which *is* (C, Z, Y, X) in C order, so that nothing is ever transposed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from medsataug.errors import FormatError
from medsataug.grid import Grid
from medsataug.io.base import Loaded, ReadOptions, stem_of
from medsataug.io.encode import integral, nan_where_invalid, not_nan, to_dtype
from medsataug.io.limits import check_cap
from medsataug.io.nifti_header import (
    FORMS_AGREE_VOX,
    Header,
    looks_like_nifti,
    opened,
    paths_of,
    read_header,
)
from medsataug.io.packed import write_first
from medsataug.io.xyz import corners_apart, spacing_xyz_mm, xyz_of_grid
from medsataug.types import Array, Channel, LazyImage, Sample

#: ISA-L's, 0 to 3. On brain MRIs of float32 and int16 and their labels, its level 1 takes a ninth
#: to a sixteenth of the time of zlib's level 1, for files 3 to 5 % smaller (labels 68 %); its other
#: levels, zlib-ng and libdeflate take longer for 1 % less. At 1.8 GB/s it needs no second thread.
COMPRESS_LEVEL = 1
_COLOURS = ("red", "green", "blue")


class Nifti:
    """NIfTI files.

    **Values.** A file without scaling (slope 0 or not finite, or slope 1 and intercept 0) keeps
    its stored dtype. Any other is read as slope * stored + intercept: float32, or float64 where
    the stored dtype has more than 24 bits. Slope and intercept stay in ``meta`` (``scl_slope``,
    ``scl_inter``, ``scl_dtype``); as long as ``meta["dtype"]`` is ``scl_dtype``, a write encodes
    by them. In float images NaN means no data.

    **Place.** The sform where its code is above 0, else the qform, else only the voxel size is
    known. Units other than millimetres are converted.

    **Writing.** The sform keeps its code (that of the qform where it had none; 2, "aligned",
    where the image comes from another format). A qform is written where it can say the same,
    else its code is 0. Units are millimetres. Text fields and header extensions are left empty.
    A volume of one slice reads back as a 2D image.
    """

    name = "nifti"

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is called ``.nii`` or ``.nii.gz``, or is a pair with a NIfTI size."""
        name = path.name.lower()
        if name.endswith((".nii", ".nii.gz")):
            return path.is_file()
        if not name.endswith((".hdr", ".img")) or not path.is_file():
            return False
        # ENVI rasters are called so too; an Analyze file is refused by `read`, with a reason.
        try:
            return looks_like_nifti(paths_of(path)[0])
        except FormatError:
            return False

    def read(self, path: Path, options: ReadOptions) -> Loaded:
        """Read a file; see the class for values and place.

        Raises
        ------
        FormatError
            Missing, truncated, not NIfTI, larger than its bytes or the cap allow, complex, or a
            label with fractions.
        GeometryError
            An affine that cannot be inverted.
        """
        path = Path(path)
        header = read_header(path)
        stored = _stored(header)
        meta: dict[str, Any] = {
            "format": self.name,
            "dtype": _out_dtype(header.dtype).name,
            "suffix": ".nii" if path.name.lower().endswith(".nii") else ".nii.gz",
            "version": header.version,
            "sform_code": header.sform_code,
            "qform_code": header.qform_code,
            "slice_mm": header.slice_mm,
        }
        valid: NDArray[np.bool_] | None = None
        if header.colours:
            stored = np.ascontiguousarray(np.moveaxis(stored, -1, 1))
            shape = (header.channels * header.colours, *header.grid.shape)
            stored = stored.reshape(shape)
            if header.colours == 4:
                alpha = stored[3::4] > 0
                stored = np.ascontiguousarray(np.delete(stored, np.s_[3::4], axis=0))
                valid = None if alpha.all() else np.repeat(alpha, 3, axis=0)
        image = stored.reshape(-1, *header.grid.shape)
        if header.scaled:
            image = _rescaled(image, header, path)
            meta |= {
                "scl_dtype": meta["dtype"],
                "scl_slope": header.slope,
                "scl_inter": header.inter,
            }
        if options.role == "label":
            image = integral(image, path)
            meta["dtype"] = image.dtype.name
            valid = None
        elif (known := not_nan(image)) is not None:
            valid, meta["nodata"] = known, float("nan")
        return Loaded(image, header.grid, _channels(header, path), valid, meta)

    def suffix(self, sample: Sample) -> str:
        """``".nii.gz"``, or ``".nii"`` where the sample came from such a file."""
        return ".nii" if sample.meta.get("suffix") == ".nii" else ".nii.gz"

    def write(self, sample: Sample, path: Path, role: str) -> None:
        """Write the image or label; the same sample gives the same bytes every time.

        Raises
        ------
        FormatError
            For another suffix than ``.nii`` or ``.nii.gz``, or a lazy image.
        """
        path = Path(path)
        packed = path.name.lower().endswith(".nii.gz")
        if not packed and path.suffix.lower() != ".nii":
            raise FormatError(f"{path}: a NIfTI file is written as .nii or .nii.gz")
        meta: dict[str, Any] = sample.meta
        pixels = sample.image
        if role == "label":
            meta = sample.meta.get("label_meta") or {}
            if sample.label is None:
                raise FormatError(f"{path}: there is no label to write")
            pixels = sample.label
        if isinstance(pixels, LazyImage):
            raise FormatError(f"{path}: a lazily read raster is written as GeoTIFF, not as NIfTI")
        grid = sample.grid
        assert grid is not None
        pixels = pixels.reshape(-1, *grid.shape)
        wanted = pixels.dtype if role == "label" else np.dtype(meta.get("dtype") or pixels.dtype)
        dtype = _out_dtype(wanted)
        scale = None
        if role == "image" and meta.get("scl_dtype") == dtype.name:
            scale = (float(meta["scl_slope"]), float(meta["scl_inter"]))
        valid = nan_where_invalid(sample) if role == "image" and dtype.kind == "f" else None
        header = _header_for(grid, len(pixels), dtype, meta)
        if scale:
            header.set_slope_inter(*scale)
        with path.open("wb") as file:
            if not packed:
                _put(file, header, _planes(pixels, valid, dtype, scale))
                return
            # No name and no time in the gzip header: equal samples give equal bytes.
            with igzip.IGzipFile("", "wb", COMPRESS_LEVEL, cast(Any, file), mtime=0) as stream:
                _put(cast(BinaryIO, stream), header, _planes(pixels, valid, dtype, scale))

    def describe(self, path: Path) -> dict[str, Any]:
        """Header facts for ``medsataug info``; no voxel is read."""
        path = Path(path)
        header = read_header(path)
        grid = header.grid
        return {
            "format": self.name,
            "version": header.version,
            "shape": [header.channels * min(3, header.colours or 1), *grid.shape],
            "dtype": header.dtype.name,
            "byte_order": "big" if header.dtype.str[0] == ">" else "little",
            "channels": [c.name for c in _channels(header, path)],
            "world": grid.world,
            "orientation": grid.orientation,
            "spacing_mm": [float(s) for s in grid.spacing] if grid.world else None,
            "sform_code": header.sform_code,
            "qform_code": header.qform_code,
            "scaling": [header.slope, header.inter] if header.scaled else None,
        }


def _out_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the native dtype that NIfTI and this package share."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    return dtype.newbyteorder("=")


def _channels(header: Header, path: Path) -> tuple[Channel, ...]:
    if header.colours and header.channels == 1:
        return tuple(Channel(name) for name in _COLOURS)
    count = header.channels * (3 if header.colours else 1)
    if count > 1:
        return tuple(Channel(f"channel {i}") for i in range(count))
    return (Channel(stem_of(path)),)


def _stored(header: Header) -> Array:
    """Values as stored, native, in the shape (C, Z, Y, X[, colour])."""
    values = np.empty(header.count, header.dtype)
    rest = memoryview(values.view(np.uint8).data)
    with opened(header.voxels) as stream:
        stream.seek(header.offset)
        while len(rest):
            got = stream.readinto(rest)  # type: ignore[attr-defined]
            if not got:
                raise FormatError(
                    f"{header.voxels}: truncated: the header declares {values.nbytes} bytes of "
                    f"voxels, the file ends {len(rest)} bytes earlier; copy the file again"
                )
            rest = rest[got:]
        stream.read(1)  # reaches the end of a gzip file, and with it its checksum
    if not values.dtype.isnative:
        values = values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))
    if values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    shape = (header.channels, *header.sizes[::-1])
    return values.reshape((*shape, header.colours) if header.colours else shape)


def _rescaled(stored: Array, header: Header, path: Path) -> Array:
    """Slope * stored + intercept, computed in float64 a plane at a time."""
    exact = header.dtype.itemsize <= 2 or stored.dtype == np.float32
    dtype = np.dtype(np.float32 if exact else np.float64)
    check_cap(path, stored.size * dtype.itemsize)
    out = np.empty(stored.shape, dtype)
    flat = (-1, stored.shape[-2], stored.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        for into, plane in zip(out.reshape(flat), stored.reshape(flat), strict=True):
            into[...] = plane.astype(np.float64) * header.slope + header.inter
    return out


def _header_for(grid: Grid, channels: int, dtype: np.dtype[Any], meta: dict[str, Any]) -> Any:
    sizes = [*grid.shape[::-1], 1][:3]
    shape = (*sizes, channels) if channels > 1 else tuple(sizes)
    second = meta.get("version") == 2 or max(shape) > np.iinfo(np.int16).max
    header = (nib.Nifti2Header if second else nib.Nifti1Header)(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_data_offset(544 if second else 352)
    header.set_slope_inter(1, 0)
    header.set_xyzt_units("mm")
    thickness = float(meta.get("slice_mm") or 1.0)
    affine = xyz_of_grid(grid, thickness)
    spacing = spacing_xyz_mm(grid, thickness)
    header.set_zooms([*spacing, 1.0][: len(shape)])
    if affine is None:
        return header
    code = int(meta.get("sform_code") or 0) or int(meta.get("qform_code") or 0) or 2
    plain = header.copy()
    header.set_qform(affine, int(meta.get("qform_code") or 0) or code, strip_shears=True)
    if corners_apart((sizes[0], sizes[1], sizes[2]), affine, header.get_qform()) > (
        FORMS_AGREE_VOX / 2
    ):
        header = plain
    header.set_sform(affine, code)
    return header


def _planes(
    pixels: Array,
    valid: NDArray[np.bool_] | None,
    dtype: np.dtype[Any],
    scale: tuple[float, float] | None,
) -> Iterator[Array]:
    """Yield the encoded channels, one after another."""
    for number, values in enumerate(pixels):
        if valid is not None:
            values = np.where(valid[number % len(valid)], values, np.nan)
        if scale:
            values = values.astype(np.float64)
            values[np.isnan(values)] = 0 if dtype.kind != "f" else np.nan
            values = (values - scale[1]) / scale[0]
        yield to_dtype(values, dtype)


def _put(stream: BinaryIO, header: Any, planes: Iterator[Array]) -> None:
    write_first(stream, header.binaryblock + bytes(4))
    for plane in planes:
        little = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
        stream.write(np.ascontiguousarray(little).data)
