"""DICOM series, classic and enhanced, and DICOM segmentations; read only.

Only the tags named in this file are ever parsed, so that no patient field can reach a result
or a message. Uncompressed pixels are taken from the file as they are; compressed ones are
decoded by SimpleITK from a stripped copy, because it brings every codec with it and because
the copy has no rescaling: stored values are what padding and inversion are defined on.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import generate_uid

from medsataug.errors import ConfigError, FormatError, GeometryError
from medsataug.grid import Grid
from medsataug.io.base import Loaded, ReadOptions
from medsataug.io.dicom_geometry import Frame, arrange, frames_of
from medsataug.io.dicom_seg import (
    SEGMENTATIONS,
    check_pixels,
    describe_segmentation,
    dicom_files,
    guarded,
    is_segmentation,
    loaded_label,
    own_grid,
    parse,
    quiet,
    read_segmentation,
    segments,
    sop_class,
)
from medsataug.io.limits import check_cap
from medsataug.types import Array, Channel, Sample

_MODALITIES = frozenset("CR CT DX IO MG MR NM OT PT PX RF RTIMAGE SEG SM US XA XC OCT OP".split())
#: Technical numbers that may leave a header, and their names in ``meta``.
_TECHNICAL = {
    "MagneticFieldStrength": "field_strength_t", "RepetitionTime": "repetition_time_ms",
    "EchoTime": "echo_time_ms", "InversionTime": "inversion_time_ms",
    "FlipAngle": "flip_angle_deg", "SliceThickness": "slice_thickness_mm",
    "KVP": "peak_kilovoltage_kv",
}  # fmt: skip
#: Where enhanced files keep them: functional group and keyword.
_GROUPS = {
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
}
_PIXEL_TAGS = [
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
]  # fmt: skip
_TAGS: list[Any] = [
    *_PIXEL_TAGS, *_TECHNICAL, "SOPClassUID", "SeriesInstanceUID", "SeriesNumber", "Modality",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ImageType",
    "ComplexImageComponent", "AcquisitionNumber", "AcquisitionTime", "TriggerTime",
    "TemporalPositionIdentifier", "DiffusionBValue", "DiffusionGradientOrientation",
    0x00190010, 0x0019100C, 0x0019100E,
]  # fmt: skip


@dataclass
class Series:
    """Files of one series with their parsed headers."""

    number: int | None
    modality: str
    headers: list[tuple[Path, Any]]

    @property
    def slices(self) -> int:
        """Number of frames in all files."""
        return sum(int(h.get("NumberOfFrames") or 1) for _, h in self.headers)

    @property
    def name(self) -> str:
        """Words for messages."""
        return "series" if self.number is None else f"series {self.number}"


class Dicom:
    """DICOM files or folders; what is read is written as NIfTI."""

    name = "dicom"

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is a DICOM file, or a folder with one (one level down included)."""
        return next(dicom_files(path), None) is not None

    def read(self, path: Path, options: ReadOptions) -> Loaded:
        """Read one series as a volume, or one file as a slice or multi-frame volume.

        Raises
        ------
        ConfigError
            Several series, and ``options.series`` does not choose one.
        FormatError
            Truncated files, pixels that cannot be decoded, sizes beyond the cap.
        GeometryError
            Slices that are not one regular volume.
        """
        if is_segmentation(path):
            if options.role != "label":
                raise FormatError(f"{path}: a DICOM segmentation; give it as the label")
            return self.read_label_on(path, own_grid(path))
        series = _choose(_scan(path), path, options.series)
        grid, channels, names = _arrange(series, path)
        check_cap(path, len(channels) * int(np.prod(grid.shape)) * _item_bytes(series))
        stored, valid = _stored(series, channels, grid)
        image = _rescale(stored, channels, grid)
        meta = {"format": "nifti", "dtype": image.dtype.name, "modality": series.modality}
        if options.role == "label" and image.dtype.kind == "f":
            raise FormatError(f"{path}: {series.name} holds fractions; a label must be integral")
        return Loaded(
            image=image,
            grid=grid,
            channels=tuple(Channel(n) for n in names or [series.modality]),
            valid=valid,
            meta=meta | _technical(series),
        )

    def read_label_on(self, path: Path, grid: Grid) -> Loaded:
        """Read a DICOM segmentation as a label on the image's ``grid``; see `read_segmentation`."""
        return loaded_label(read_segmentation(path, grid), grid, segments(path))

    def suffix(self, sample: Sample) -> str:
        """Return ``".nii.gz"``: DICOM is read only."""
        return ".nii.gz"

    def write(self, sample: Sample, path: Path, role: str) -> None:
        """Refuse: a derived DICOM object would need the identity that is never read."""
        raise ConfigError(f"{path}: DICOM is not written; save as NIfTI (.nii.gz)")

    def describe(self, path: Path) -> dict[str, Any]:
        """Facts from the headers: the series, and each one's grid or why it has none."""
        if is_segmentation(path):
            return describe_segmentation(path)
        return {"format": self.name, "series": [_describe(s, path) for s in _scan(path)]}


def _header(file: Path) -> Any | None:
    """Return the allowed tags of an image's header, None for what is no image (a report, …)."""
    kind = sop_class(file)
    if str(kind) in SEGMENTATIONS:
        return None
    header = parse(file, _TAGS)
    if header.get("Rows") and header.get("Columns") and header.get("BitsAllocated"):
        _check_values(file, header)
        return header
    if getattr(kind, "name", "").endswith("Image Storage"):
        raise FormatError(f"{file}: an image without Rows, Columns or BitsAllocated: truncated?")
    return None


def _check_values(file: Path, header: Any) -> None:
    """Refuse what is not one grey value a pixel as stored, or is cut off."""
    stored = int(header.get("BitsStored") or header.BitsAllocated)
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise FormatError(f"{file}: colour DICOM is not read; convert it to grey values or TIFF")
    if int(header.get("HighBit") or stored - 1) != stored - 1:
        raise FormatError(f"{file}: HighBit is not BitsStored - 1; such packed pixels are not read")
    if header.get("ModalityLUTSequence"):
        raise FormatError(
            f"{file}: values need a modality lookup table, which is not read; export the series "
            "with rescale slope and intercept"
        )
    check_pixels(file, header)


def _scan(path: Path) -> list[Series]:
    """Image series at ``path``, by series number."""
    groups: dict[str, list[tuple[Path, Any]]] = {}
    for file in dicom_files(path):
        header = _header(file)
        if header is not None:
            key = str(header.get("SeriesInstanceUID") or header.get("SeriesNumber") or "")
            groups.setdefault(key, []).append((file, header))
    if not groups:
        raise FormatError(f"{path}: no DICOM images here")
    found = []
    for headers in groups.values():
        first = headers[0][1]
        modality = str(first.get("Modality") or "OT").strip()
        text = str(first.get("SeriesNumber") or "").strip()
        number = int(text) if re.fullmatch(r"-?\d{1,12}", text) else None
        found.append(Series(number, modality if modality in _MODALITIES else "OT", headers))
    return sorted(found, key=lambda s: (s.number is None, s.number or 0, s.headers[0][0]))


def _choose(found: Sequence[Series], path: Path, wanted: str | None) -> Series:
    if wanted is None and len(found) == 1:
        return found[0]
    numbers = [s.number for s in found]
    clear = None not in numbers and len(set(numbers)) == len(numbers)
    if wanted is not None:
        keys = [str(n) for n in (numbers if clear else range(1, len(found) + 1))]
        if str(wanted).strip() in keys:
            return found[keys.index(str(wanted).strip())]
    listed = "\n".join(
        f"  {i}. series number {s.number}: {s.modality}, {s.slices} slices of "
        f"{s.headers[0][1].Rows} x {s.headers[0][1].Columns}"
        for i, s in enumerate(found, 1)
    )
    what = "the series number" if clear else "the place in this list, as series numbers repeat"
    said = f"{len(found)} series" if wanted is None else f"there is no series {wanted!r}"
    raise ConfigError(
        f"{path}: {said}; choose one with --series N (series=N), where N is {what}:\n{listed}"
    )


def _arrange(series: Series, path: Path) -> tuple[Grid, list[list[Frame]], list[str]]:
    frames: list[Frame] = []
    for file, header in series.headers:
        frames += guarded(file, partial(frames_of, file, header))
    return arrange(frames, f"{path}: {series.name}")


def _item_bytes(series: Series) -> int:
    return max(1, *((int(h.BitsAllocated) + 7) // 8 for _, h in series.headers))


def _stored(
    series: Series, channels: list[list[Frame]], grid: Grid
) -> tuple[Array, NDArray[np.bool_] | None]:
    """(C, [Z,] Y, X) values as stored (MONOCHROME1 inverted), and where they are not padding."""
    shape = (len(channels), len(channels[0]), *grid.shape[-2:])
    places = {(f.file, f.number): (c, z) for c, v in enumerate(channels) for z, f in enumerate(v)}
    image: Array | None = None
    valid = np.ones(shape, dtype=bool)
    for file, header in series.headers:
        frames = _decode(file, header)
        dtype = frames.dtype if image is None else np.promote_types(image.dtype, frames.dtype)
        if image is None:
            image = np.zeros(shape, dtype)
        elif image.dtype != dtype:
            image = image.astype(dtype)
        padding = _padding(header)
        for number, frame in enumerate(frames):
            place = places[file, number]
            if padding is not None:
                valid[place] = (frame < padding[0]) | (frame > padding[1])
            image[place] = _upright(frame, header)
    assert image is not None
    whole = (len(channels), *grid.shape)
    return image.reshape(whole), None if valid.all() else valid.reshape(whole)


def _decode(file: Path, header: Any) -> Array:
    """(frames, rows, columns) stored values, unused bits cleared."""
    count = int(header.get("NumberOfFrames") or 1)
    compressed = header.file_meta.TransferSyntaxUID.is_compressed
    read = partial(_decode_itk, file) if compressed else partial(pixel_array, file, raw=True)
    encoding = f"pixels ({header.file_meta.TransferSyntaxUID.name})"
    array = np.asarray(guarded(file, read, encoding))
    shape = (count, int(header.Rows), int(header.Columns))
    if array.size != np.prod(shape):
        raise FormatError(f"{file}: decoded to {array.shape}, but the header declares {shape}")
    array = array.reshape(shape)
    spare = array.dtype.itemsize * 8 - int(header.get("BitsStored") or header.BitsAllocated)
    if array.dtype.kind in "iu" and spare > 0 and int(header.BitsAllocated) > 1:
        # Old scanners put overlays above BitsStored; the shift back extends the sign.
        array = (array << spare) >> spare
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _decode_itk(file: Path) -> Array:
    """Decode with SimpleITK a copy that holds the pixels and nothing else of the header."""
    import SimpleITK as sitk

    whole = pydicom.dcmread(file, specific_tags=[*_PIXEL_TAGS, "PixelData"])
    whole.pop("SpecificCharacterSet", None)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = whole.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = whole.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = whole.SOPInstanceUID = generate_uid(prefix=None)
    whole.file_meta, whole.PhotometricInterpretation = meta, "MONOCHROME2"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        whole.save_as(copy, enforce_file_format=True)
        try:
            image = sitk.ReadImage(str(copy), imageIO="GDCMImageIO")
        except RuntimeError:
            # High-throughput JPEG 2000 is unknown to it; pydicom may have a plugin.
            return np.asarray(pixel_array(file, raw=True))
        return np.asarray(sitk.GetArrayFromImage(image))


def _range(header: Any) -> tuple[int, int]:
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    signed = int(header.get("PixelRepresentation") or 0) == 1
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _padding(header: Any) -> tuple[int, int] | None:
    """Lowest and highest padding value, brought into the range of the stored values."""
    low, high = _range(header)
    ends = []
    for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = header.get(tag)
        if isinstance(value, int):
            # The tag's sign may be lost: 63536 in a signed image means -2000.
            wrapped = value if low <= value <= high else (value - low) % (high - low + 1) + low
            ends.append(wrapped)
        elif not ends:
            return None
    return min(ends), max(ends)


def _upright(frame: Array, header: Any) -> Array:
    """Invert MONOCHROME1, except where values are physical units (CT, PT) however shown."""
    shown = str(header.get("PhotometricInterpretation") or "").strip()
    quantitative = str(header.get("Modality") or "").strip() in ("CT", "PT")
    if shown != "MONOCHROME1" or quantitative or frame.dtype.kind == "f":
        return frame
    low, high = _range(header)
    return np.asarray((low + high) - frame.astype(np.int64))


def _rescale(stored: Array, channels: list[list[Frame]], grid: Grid) -> Array:
    """Apply slope and intercept: integers where all are equal and integral, else floats."""
    pairs = np.array([[(f.slope, f.intercept) for f in volume] for volume in channels])
    slope, intercept = pairs[0, 0]
    if np.all(pairs == pairs[0, 0]):
        if (slope, intercept) == (1, 0):
            return stored
        if stored.dtype.kind in "iu" and slope == round(slope) and intercept == round(intercept):
            ends = [int(x) * int(slope) + int(intercept) for x in (stored.min(), stored.max())]
            for dtype in (np.int16, np.int32):
                if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                    whole = stored.astype(np.int32 if stored.dtype.itemsize <= 2 else np.int64)
                    return np.asarray((whole * int(slope) + int(intercept)).astype(dtype))
    exact = stored.dtype.itemsize <= 2 or stored.dtype == np.float32
    out = np.empty(stored.shape, np.float32 if exact else np.float64)
    flat = (-1, *grid.shape[-2:])
    for into, values, (m, b) in zip(
        out.reshape(flat), stored.reshape(flat), pairs.reshape(-1, 2), strict=True
    ):
        into[...] = values.astype(np.float64) * m + b
    return out


def _technical(series: Series) -> dict[str, float]:
    """Technical numbers that all files agree on."""
    found = {}
    for keyword, name in _TECHNICAL.items():
        with quiet():
            values = {text for _, h in series.headers for text in _texts(h, keyword)}
        if len(values) == 1 and re.fullmatch(r"[\d.]{1,12}", text := values.pop()):
            found[name] = float(text)
    return found


def _texts(header: Any, keyword: str) -> set[str]:
    """All values of a technical number in one header, as text."""
    if header.get(keyword) is not None or keyword not in _GROUPS:
        return {str(header.get(keyword))}
    group, inner = _GROUPS[keyword]
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    return {str(item.get(group)[0].get(inner)) for item in (*shared, *frames) if item.get(group)}


def _describe(series: Series, path: Path) -> dict[str, Any]:
    first = series.headers[0][1]
    facts: dict[str, Any] = {
        "number": series.number, "modality": series.modality, "slices": series.slices,
        "size": [int(first.Rows), int(first.Columns)], "files": len(series.headers),
        "encoding": first.file_meta.TransferSyntaxUID.name, **_technical(series),
    }  # fmt: skip
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            grid, channels, names = _arrange(series, path)
    except (GeometryError, FormatError) as error:
        return facts | {"problem": str(error)}
    facts |= {
        "shape": [len(channels), *grid.shape], "spacing_mm": grid.spacing.tolist(),
        "world": grid.world, "orientation": grid.orientation, "channels": names,
    }  # fmt: skip
    return facts | ({"warnings": [str(w.message) for w in said]} if said else {})
