"""The formats, in the order in which they are tried, each imported when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from medsataug.errors import FormatError
from medsataug.io.base import Format


@dataclass(frozen=True)
class LazyFormat:
    """A format that has not been imported yet.

    ``may_match`` looks at the name or the first bytes only, so that loading one format imports
    no library of another; ``files`` are words for messages.
    """

    name: str
    module: str
    type_name: str
    files: str
    may_match: Callable[[Path], bool]

    @property
    def format(self) -> Format:
        """The format itself."""
        return cast(Format, getattr(import_module(self.module), self.type_name)())

    def matches(self, path: Path) -> bool:
        """Whether this format reads ``path``."""
        return self.may_match(path) and self.format.matches(path)


def _ends(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.name.lower().endswith(suffixes)


def _dicom(path: Path) -> bool:
    if path.is_dir():
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


formats: tuple[LazyFormat, ...] = (
    LazyFormat("dicom", "medsataug.io.dicom", "Dicom", "DICOM (a file or folder)", _dicom),
    LazyFormat(
        "geotiff",
        "medsataug.io.geotiff",
        "GeoTiff",
        "GeoTIFF (.tif .tiff .jp2 .vrt)",
        _ends(".tif", ".tiff", ".jp2", ".vrt"),
    ),
    LazyFormat(
        "nifti",
        "medsataug.io.nifti",
        "Nifti",
        "NIfTI (.nii .nii.gz .hdr/.img)",
        _ends(".nii", ".nii.gz", ".hdr", ".img"),
    ),
    LazyFormat(
        "itk",
        "medsataug.io.itk",
        "Itk",
        "NRRD and MetaImage (.nrrd .nhdr .mha .mhd)",
        _ends(".nrrd", ".nhdr", ".mha", ".mhd"),
    ),
    LazyFormat(
        "image",
        "medsataug.io.image",
        "Image",
        "images (.png .jpg .bmp .tif)",
        _ends(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
    ),
)


def format_named(name: str) -> Format:
    """Return the format called ``name``."""
    return next(f.format for f in formats if f.name == name)


def format_of(path: Path) -> Format:
    """Return the first format that reads ``path``.

    Raises
    ------
    FormatError
        For what is missing or what no format reads, listing the formats known.
    """
    known = "formats known: " + ", ".join(f.files for f in formats)
    try:
        if not path.exists():
            raise FormatError(f"{path}: there is no such file or folder; check the path")
        if path.is_file() and path.stat().st_size == 0:
            raise FormatError(f"{path}: the file is empty; copy it again")
        found = next((f.format for f in formats if f.matches(path)), None)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror or error})", error) from None
    if found is not None:
        return found
    if path.is_dir():
        raise FormatError(f"{path}: a folder without DICOM files; name the files in it; {known}")
    raise FormatError(f"{path}: of no known format; {known}")
