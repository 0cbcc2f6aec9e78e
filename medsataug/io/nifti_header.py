"""NIfTI headers: what they declare, checked against the file before anything is allocated.

Only the fixed block of 348 or 540 bytes is parsed. Header extensions, which may hold a whole
DICOM header, are never looked at.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medsataug.errors import FormatError, GeometryError, MedSatAugWarning
from medsataug.grid import Grid
from medsataug.io.limits import DEFLATE_RATIO, check_size
from medsataug.io.xyz import corners_apart, grid_of_xyz, placeable, plain_grid, slice_mm

Matrix = NDArray[np.float64]

#: Largest difference between sform and qform that is not mentioned, in voxels at a corner.
FORMS_AGREE_VOX = 1e-3
#: ``xyzt_units & 7`` to millimetres; unknown counts as millimetres.
_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_MAGIC = {348: (b"n+1\0", b"ni1\0"), 540: (b"n+2\0", b"ni2\0")}


@dataclass(frozen=True)
class Header:
    """What a NIfTI header declares.

    ``sizes`` are (X, Y, Z); ``dtype`` has the file's byte order; ``colours`` is 3 for RGB, 4
    for RGBA, else 0; ``voxels`` is the file that holds them, after ``offset`` bytes.
    """

    voxels: Path
    offset: int
    sizes: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    colours: int
    slope: float
    inter: float
    grid: Grid
    slice_mm: float
    version: int
    sform_code: int
    qform_code: int

    @property
    def scaled(self) -> bool:
        """Whether values are not simply the stored ones."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def count(self) -> int:
        """Numbers stored."""
        return math.prod(self.sizes) * self.channels * max(1, self.colours)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open ``path``, unpacked where it is a gzip file whatever its name; damage in one line."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            if not packed:
                yield stream
                return
            with igzip.IGzipFile(fileobj=stream, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
    # ISA-L's stub says that its exception is an instance.
    except (EOFError, isal_zlib.IsalError, igzip.BadGzipFile) as error:  # type: ignore[misc]
        raise FormatError(
            f"{path}: truncated or damaged: its gzip data end early or do not check "
            f"({type(error).__name__}); copy the file again"
        ) from None
    except FormatError:
        raise
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror or error})", error) from None


def paths_of(path: Path) -> tuple[Path, Path]:
    """Return the files with the header and the voxels, which are two for ``.hdr``/``.img``."""
    suffix = path.suffix.lower()
    if suffix not in (".hdr", ".img"):
        return path, path
    pair = []
    for wanted in (".hdr", ".img"):
        spelled = wanted.upper() if path.suffix.isupper() else wanted
        pair.append(path if suffix == wanted else path.with_suffix(spelled))
    for file in pair:
        if not file.is_file():
            raise FormatError(f"{path}: half of a pair; {file.name} is not beside it")
    return pair[0], pair[1]


def read_header(path: Path) -> Header:
    """Parse and check the header of ``path``.

    Raises
    ------
    FormatError
        Not NIfTI, damaged, a dtype that is no real number, several axes beyond the third, or
        more voxels than the file can hold.
    GeometryError
        An sform or qform that no voxel can be placed by.
    """
    if not path.is_file():
        raise FormatError(f"{path}: there is no such file")
    head, voxels = paths_of(path)
    raw, version, single = _parse(head)
    sizes, channels = _sizes(raw, path)
    dtype, colours = _dtype(raw, path)
    offset = _offset(raw, 4 + (352 if version == 2 else 348) if single else 0, path)
    if version == 2 and single:
        offset = max(offset, 544)
    declared = math.prod(sizes) * channels * dtype.itemsize * max(1, colours)
    with voxels.open("rb") as stream:
        ratio = DEFLATE_RATIO if stream.read(2) == b"\x1f\x8b" else 1
    stored = max(0, voxels.stat().st_size - (offset if ratio == 1 else 0))
    check_size(voxels, declared, stored=stored, ratio=ratio)
    try:
        slope, inter = raw.get_slope_inter()
    except HeaderDataError:
        raise FormatError(f"{path}: its scl_inter is not a number; repair the header") from None
    grid, thickness = _place(raw, sizes, path)
    return Header(
        voxels=voxels,
        offset=offset,
        sizes=sizes,
        channels=channels,
        dtype=dtype,
        colours=colours,
        slope=1.0 if slope is None or colours else float(slope),
        inter=0.0 if slope is None or colours else float(inter),
        grid=grid,
        slice_mm=thickness,
        version=version,
        sform_code=int(raw["sform_code"]),
        qform_code=int(raw["qform_code"]),
    )


def looks_like_nifti(path: Path) -> bool:
    """Whether ``path``, a header file, begins with the size of a NIfTI header."""
    with opened(path) as stream:
        start = stream.read(4)
    return any(int.from_bytes(start, order) in _MAGIC for order in _ORDERS)


def _parse(path: Path) -> tuple[Any, int, bool]:
    """Header, version 1 or 2, and whether voxels follow in the same file."""
    with opened(path) as stream:
        block = stream.read(540)
    sizes = [int.from_bytes(block[:4], order) for order in _ORDERS]
    size = next((s for s in sizes if s in _MAGIC), None)
    magic = block[4:8] if size == 540 else block[344:348]
    if size is None or (len(block) >= size and magic not in _MAGIC[size]):
        raise FormatError(
            f"{path}: not a NIfTI file: its header is neither NIfTI-1 nor NIfTI-2; convert it, or "
            "give it the suffix of what it is"
        )
    if len(block) < size:
        raise FormatError(
            f"{path}: truncated: {len(block)} bytes, and a header alone has {size}; copy it again"
        )
    kind = nib.Nifti1Header if size == 348 else nib.Nifti2Header
    raw = kind(block[:size], check=False)
    return raw, 1 if size == 348 else 2, magic == _MAGIC[size][0]


def _sizes(raw: Any, path: Path) -> tuple[tuple[int, int, int], int]:
    """(X, Y, Z) and channels."""
    dim = [int(n) for n in raw["dim"]]
    rank = dim[0]
    if not 1 <= rank <= 7 or any(n < 1 for n in dim[1 : rank + 1]):
        raise FormatError(f"{path}: its header declares an impossible shape {dim[1 : rank + 1]}")
    sizes = [*dim[1 : rank + 1], 1, 1]
    more = [n for n in sizes[3:] if n > 1]
    if len(more) > 1:
        raise FormatError(
            f"{path}: shape {tuple(dim[1 : rank + 1])} has several axes beyond x, y, z, and one "
            "can be channels; split the file first"
        )
    return (sizes[0], sizes[1], sizes[2]), more[0] if more else 1


def _dtype(raw: Any, path: Path) -> tuple[np.dtype[Any], int]:
    """Dtype of one number in the file's byte order, and how many make a colour."""
    try:
        dtype = np.dtype(raw.get_data_dtype())
    except (KeyError, HeaderDataError):
        code = int(raw["datatype"])
        raise FormatError(f"{path}: its data type code {code} is not one of NIfTI's") from None
    if dtype.names:
        return np.dtype(np.uint8), len(dtype.names)
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        raise FormatError(
            f"{path}: voxels are {dtype.name or 'untyped'}; real numbers are needed: convert "
            "complex values to magnitude or phase first"
        )
    return dtype, 0


def _offset(raw: Any, least: int, path: Path) -> int:
    value = float(raw["vox_offset"])
    if not (math.isfinite(value) and value >= 0 and value == int(value)):
        raise FormatError(f"{path}: voxels begin at byte {value}, which is impossible")
    return max(int(value), least)


def _place(raw: Any, sizes: tuple[int, int, int], path: Path) -> tuple[Grid, float]:
    """Grid, and the signed thickness of a single slice in mm."""
    unit_mm = _MM.get(int(raw["xyzt_units"]) & 7, 1.0)
    forms = {}
    if int(raw["sform_code"]) > 0:
        forms["sform"] = np.asarray(raw.get_sform(), np.float64)
    if int(raw["qform_code"]) > 0:
        if abs(float(raw["pixdim"][0])) != 1:
            raw["pixdim"][0] = 1  # the standard's reading of 0
        try:
            forms["qform"] = np.asarray(raw.get_qform(), np.float64)
        except (HeaderDataError, ValueError):
            forms["qform"] = np.full((4, 4), np.nan)
    usable = {}
    for name, form in forms.items():
        affine = _with_normal(np.diag([unit_mm, unit_mm, unit_mm, 1]) @ form, sizes)
        if placeable(affine):
            usable[name] = affine
        else:
            warnings.warn(
                f"{path.name}: its {name} is singular and is not used", MedSatAugWarning, 2
            )
    if forms and not usable:
        raise GeometryError(
            f"{path}: its {' and '.join(forms)} cannot be inverted, so no voxel has a place; "
            "repair the header, or set both codes to 0 for an unknown orientation"
        )
    if not usable:
        spacing = [float(s) * unit_mm for s in raw["pixdim"][1:4]]
        needed = spacing[: 2 if sizes[2] == 1 else 3]
        known = all(math.isfinite(s) and s > 0 for s in needed)
        thick = spacing[2] if math.isfinite(spacing[2]) and spacing[2] > 0 else 1.0
        return plain_grid(sizes, spacing if known else None), thick
    affine = next(iter(usable.values()))
    if len(usable) == 2:
        apart = corners_apart(sizes, usable["sform"], usable["qform"])
        if apart > FORMS_AGREE_VOX:
            warnings.warn(
                f"{path.name}: its sform and qform disagree by {apart:.3g} voxels; the sform is "
                "used",
                MedSatAugWarning,
                2,
            )
    return grid_of_xyz(sizes, affine), slice_mm(affine)


def _with_normal(affine: Matrix, sizes: tuple[int, int, int]) -> Matrix:
    """Return ``affine``, whose missing z column becomes a unit normal in a file of one slice."""
    if sizes[2] > 1 or affine[:3, 2].any():
        return affine
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    length = float(np.linalg.norm(normal))
    affine[:3, 2] = normal / length if length else normal
    return affine
