"""NRRD (``.nrrd``, ``.nhdr``) and MetaImage (``.mha``, ``.mhd``).

SimpleITK reads. Files are written here: ITK would state an orientation that nobody knows, and
both headers are a few lines of text. ITK's world is LPS; ours is RAS.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import SimpleITK as sitk
from isal import igzip
from numpy.typing import NDArray

from medsataug.errors import FormatError, GeometryError
from medsataug.grid import Grid
from medsataug.io.base import Loaded, ReadOptions, stem_of
from medsataug.io.encode import integral, nan_where_invalid, not_nan, to_dtype
from medsataug.io.limits import DEFLATE_RATIO, check_cap, check_size
from medsataug.io.packed import deflate, write_first
from medsataug.io.xyz import (
    grid_of_xyz,
    placeable,
    plain_grid,
    slice_mm,
    spacing_xyz_mm,
    xyz_of_grid,
)
from medsataug.types import Array, Channel, LazyImage, Sample

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WRITTEN = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}
_HEADER_BYTES = 1 << 16
#: Most bytes of values that one stored byte can make; None: no useful bound.
_RATIOS = {
    "raw": 1, "gzip": DEFLATE_RATIO, "gz": DEFLATE_RATIO, "bzip2": None, "bz2": None,
    "hex": 1, "ascii": 8, "text": 8, "txt": 8,
}  # fmt: skip
_UNITS_MM = {"um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "cm": 10.0, "m": 1e3}
_NRRD_TYPES = {
    "uint8": "uint8", "int8": "int8", "uint16": "uint16", "int16": "int16", "uint32": "uint32",
    "int32": "int32", "uint64": "uint64", "int64": "int64", "float32": "float",
    "float64": "double",
}  # fmt: skip
_META_TYPES = {
    "uint8": "MET_UCHAR", "int8": "MET_CHAR", "uint16": "MET_USHORT", "int16": "MET_SHORT",
    "uint32": "MET_UINT", "int32": "MET_INT", "uint64": "MET_ULONG_LONG",
    "int64": "MET_LONG_LONG", "float32": "MET_FLOAT", "float64": "MET_DOUBLE",
}  # fmt: skip


@dataclass(frozen=True)
class _Header:
    """What a file declares; ``thickness`` is that of a single slice."""

    grid: Grid
    thickness: float
    channels: int
    dtype: str


class Itk:
    """NRRD and MetaImage files; detached headers are read, one file is written."""

    name = "itk"

    def matches(self, path: Path) -> bool:
        """Whether ``path`` has one of the four suffixes."""
        return path.suffix.lower() in _WRITTEN and path.is_file()

    def read(self, path: Path, options: ReadOptions) -> Loaded:
        """Read a volume; several components, or a fourth axis, become channels.

        Raises
        ------
        FormatError
            Missing, damaged or truncated files, complex values, more bytes than the file or
            the cap allow, voxels outside the header's folder, a label with fractions.
        GeometryError
            Directions that cannot be inverted.
        """
        path = Path(path)
        reader, header = _open(path)
        array = np.asarray(sitk.GetArrayFromImage(_guarded(path, reader.Execute)))
        if reader.GetNumberOfComponents() > 1:
            array = np.moveaxis(array, -1, 0)
        image = np.ascontiguousarray(array).reshape(header.channels, *header.grid.shape)
        meta: dict[str, Any] = {
            "format": self.name,
            "dtype": image.dtype.name,
            "suffix": _WRITTEN[path.suffix.lower()],
            "slice_mm": header.thickness,
        }
        valid: NDArray[np.bool_] | None = None
        if options.role == "label":
            image = integral(image, path)
            meta["dtype"] = image.dtype.name
        elif (valid := not_nan(image)) is not None:
            meta["nodata"] = float("nan")
        return Loaded(image, header.grid, _channels(header, path), valid, meta)

    def suffix(self, sample: Sample) -> str:
        """``".nrrd"``, or ``".mha"`` where the sample came from a MetaImage."""
        return str(_WRITTEN.get(str(sample.meta.get("suffix")), ".nrrd"))

    def write(self, sample: Sample, path: Path, role: str) -> None:
        """Write the image or label, compressed, with nothing but shape, type and place.

        Raises
        ------
        FormatError
            For another suffix than ``.nrrd`` or ``.mha``, or a lazy image.
        """
        path = Path(path)
        if path.suffix.lower() not in (".nrrd", ".mha"):
            raise FormatError(f"{path}: these files are written as .nrrd or .mha")
        meta: dict[str, Any] = sample.meta
        pixels: Array | LazyImage | None = sample.image
        if role == "label":
            meta, pixels = sample.meta.get("label_meta") or {}, sample.label
        if pixels is None or isinstance(pixels, LazyImage):
            raise FormatError(f"{path}: there is no {role} in memory to write")
        grid = sample.grid
        assert grid is not None
        dtype = np.dtype(pixels.dtype if role == "label" else meta.get("dtype") or pixels.dtype)
        if dtype.kind == "b":
            dtype = np.dtype(np.uint8)
        elif dtype == np.float16:
            dtype = np.dtype(np.float32)
        values = pixels.reshape(-1, *grid.shape)
        if (
            role == "image"
            and dtype.kind == "f"
            and (known := nan_where_invalid(sample)) is not None
        ):
            values = np.where(known, values, np.nan)
        values = to_dtype(values, dtype)
        thickness = float(meta.get("slice_mm") or 1.0)
        write = _write_nrrd if path.suffix.lower() == ".nrrd" else _write_meta
        little = values.astype(dtype.newbyteorder("<"), copy=False)
        write(path, np.ascontiguousarray(np.moveaxis(little, 0, -1)), grid, thickness)

    def describe(self, path: Path) -> dict[str, Any]:
        """Header facts for ``medsataug info``; no voxel is read."""
        path = Path(path)
        header = _open(path)[1]
        grid = header.grid
        return {
            "format": self.name,
            "shape": [header.channels, *grid.shape],
            "dtype": header.dtype,
            "channels": [c.name for c in _channels(header, path)],
            "world": grid.world,
            "orientation": grid.orientation,
            "spacing_mm": [float(s) for s in grid.spacing] if grid.world else None,
        }


def _guarded(path: Path, action: Any) -> Any:
    """Return ``action()``; what ITK says of a failure may repeat the header, so it is dropped."""
    try:
        return action()
    except RuntimeError:
        raise FormatError(
            f"{path}: cannot be read as NRRD or MetaImage; it is truncated, damaged or of an "
            "unsupported kind; copy it again or convert it"
        ) from None


def _channels(header: _Header, path: Path) -> tuple[Channel, ...]:
    if header.channels == 1:
        return (Channel(stem_of(path)),)
    return tuple(Channel(f"channel {i}") for i in range(header.channels))


def _fields(path: Path) -> dict[str, str]:
    """Fields of a header in lower case; keys that users add (``key:=value``) are left out."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_HEADER_BYTES).decode("latin-1")
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror})", error) from None
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    if nrrd != text.startswith("NRRD0"):
        raise FormatError(
            f"{path}: not a{'n NRRD' if nrrd else ' MetaImage'} file; check its suffix"
        )
    fields = {}
    for line in text.splitlines():
        if nrrd and not line.strip():
            break
        key, mark, value = line.partition(":" if nrrd else "=")
        if mark and not (nrrd and value.startswith("=")):
            fields[key.strip().lower()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields


def _voxel_file(path: Path, fields: dict[str, str]) -> Path:
    """Return the file that holds the voxels: this one, or one other in its folder."""
    name = fields.get("data file") or fields.get("datafile") or fields.get("elementdatafile")
    if not name or name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise FormatError(f"{path}: its voxels are spread over several files; join them first")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise FormatError(f"{path}: its voxels lie outside its folder; move them beside it")
    if not (path.parent / name).is_file():
        raise FormatError(f"{path}: the file with its voxels, {name}, is not beside it")
    return path.parent / name


def _check(path: Path, fields: dict[str, str], stored: int, declared: int) -> None:
    """Check the declared bytes against what ``stored`` bytes in the file's encoding can make."""
    packed = "gzip" if fields.get("compresseddata", "").lower() == "true" else "raw"
    ratio = _RATIOS.get(fields.get("encoding", packed).lower(), 1)
    if ratio is None:
        check_cap(path, declared)
    else:
        check_size(path, declared, stored=stored, ratio=ratio)


def _open(path: Path) -> tuple[sitk.ImageFileReader, _Header]:
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file")
    fields = _fields(path)
    stored = _voxel_file(path, fields).stat().st_size
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    reader.SetImageIO("NrrdImageIO" if nrrd else "MetaImageIO")
    _guarded(path, reader.ReadImageInformation)
    kind = str(sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    bits = re.search(r"(\d+)-bit", kind)
    if "complex" in kind or not bits:
        raise FormatError(f"{path}: voxels are {kind}; real numbers are needed")
    whole = [int(n) for n in reader.GetSize()]
    sizes, more = [*whole, 1][:3], [n for n in whole[3:] if n > 1]
    components = int(reader.GetNumberOfComponents())
    channels = math.prod(more) * components
    if len(more) + (components > 1) > 1:
        raise FormatError(f"{path}: several axes beyond x, y, z; one can be channels; split it")
    _check(path, fields, stored, math.prod(sizes) * channels * int(bits[1]) // 8)
    grid, thickness = _place(reader, sizes, fields, path)
    word = "float" if "float" in kind else "uint" if "unsigned" in kind else "int"
    return reader, _Header(grid, thickness, channels, f"{word}{bits[1]}")


def _place(
    reader: sitk.ImageFileReader, sizes: list[int], fields: dict[str, str], path: Path
) -> tuple[Grid, float]:
    """Grid, in RAS where the file says what its axes mean, and a single slice's thickness."""
    unit = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    unit_mm = _UNITS_MM.get(unit[0].strip().lower(), 1.0) if unit else 1.0
    n = int(reader.GetDimension())
    spacing = [float(s) * unit_mm for s in [*reader.GetSpacing(), 1.0][:3]]
    # The letters of "left-posterior-superior", or of "LPS"; scanner spaces name no anatomy.
    anatomical = re.match(r"(left|right)-|[lr][ap]s", fields.get("space", "").lower())
    turned = {"transformmatrix", "rotation", "orientation"} & set(fields)
    if n < 3 or not (anatomical or turned):
        stated = {"spacings", "space directions", "elementspacing"} & set(fields)
        return plain_grid(sizes, spacing if stated else None), spacing[2]
    affine = np.eye(4)
    direction = np.reshape(reader.GetDirection(), (n, n))[:3, :3]
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = np.asarray(reader.GetOrigin()[:3]) * unit_mm
    affine = LPS @ affine
    if not placeable(affine):
        raise GeometryError(f"{path}: its directions cannot be inverted; repair the header")
    return grid_of_xyz(sizes, affine), slice_mm(affine)


def _lps(grid: Grid, thickness: float) -> NDArray[np.float64] | None:
    affine = xyz_of_grid(grid, thickness)
    return None if affine is None else LPS @ affine


def _numbers(values: Any) -> str:
    return " ".join(repr(float(v)) for v in values)


def _write_nrrd(path: Path, values: Array, grid: Grid, thickness: float) -> None:
    """Write (Z, Y, X, C) ``values``. Source: NRRD file format, teem.sourceforge.net/nrrd."""
    affine, several = _lps(grid, thickness), values.shape[-1] > 1
    sizes = list(grid.shape[::-1]) + [1] * (affine is not None and grid.ndim == 2)
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[values.dtype.name]}",
        f"dimension: {len(sizes) + several}",
        *(["space: left-posterior-superior"] if affine is not None else []),
        "sizes: " + " ".join(map(str, [values.shape[-1]] * several + sizes)),
    ]
    if affine is not None:
        steps = [f"({_numbers(column).replace(' ', ',')})" for column in affine[:3, :3].T]
        lines += ["space directions: " + " ".join(["none"] * several + steps)]
        lines += [f"space origin: ({_numbers(affine[:3, 3]).replace(' ', ',')})"]
    elif grid.world is not None:
        unknown = ["nan"] * several
        lines += ["spacings: " + " ".join([*unknown, _numbers(spacing_xyz_mm(grid)[: grid.ndim])])]
    lines += ["kinds: " + " ".join(["list"] * several + ["domain"] * len(sizes))]
    lines += ["endian: little", "encoding: gzip", "", ""]
    with path.open("wb") as file:
        file.write("\n".join(lines).encode("ascii"))
        with igzip.IGzipFile("", "wb", 1, cast(Any, file), mtime=0) as stream:
            data = values.reshape(-1).view(np.uint8).data
            write_first(cast(BinaryIO, stream), data)


def _write_meta(path: Path, values: Array, grid: Grid, thickness: float) -> None:
    """Write (Z, Y, X, C) ``values``. Source: MetaIO, itk.org/Wiki/ITK/MetaIO/Documentation."""
    affine = _lps(grid, thickness)
    sizes = list(grid.shape[::-1]) + [1] * (affine is not None and grid.ndim == 2)
    spacing = spacing_xyz_mm(grid, thickness)[: len(sizes)]
    packed = deflate(values, 1)
    lines = [
        "ObjectType = Image",
        f"NDims = {len(sizes)}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(packed)}",
    ]
    if affine is not None:
        lines += [f"TransformMatrix = {_numbers((affine[:3, :3] / spacing).T.ravel())}"]
        lines += [f"Offset = {_numbers(affine[:3, 3])}"]
    if grid.world is not None:
        lines += [f"ElementSpacing = {_numbers(spacing)}"]
    lines += [
        f"DimSize = {' '.join(map(str, sizes))}",
        f"ElementNumberOfChannels = {values.shape[-1]}",
        f"ElementType = {_META_TYPES[values.dtype.name]}",
        "ElementDataFile = LOCAL",
        "",
    ]
    path.write_bytes("\n".join(lines).encode("ascii") + packed)
