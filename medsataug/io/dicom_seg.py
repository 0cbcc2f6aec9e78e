"""DICOM files found and opened safely, and DICOM segmentations placed on an image's grid.

A segmentation stores only the frames that hold something, in any order, one segment a frame;
frames go to the image's slices by world position, never by number. It needs highdicom, the
extra ``[dicomseg]``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medsataug.errors import ConfigError, FormatError, GeometryError
from medsataug.grid import RAS_MM, Grid
from medsataug.io.base import Loaded
from medsataug.io.dicom_geometry import (
    LPS_TO_RAS,
    Frame,
    at_positions,
    check_alike,
    frames_of,
    grid_of,
    normal_of,
    off_grid_mm,
    positions_of,
)
from medsataug.io.limits import check_cap
from medsataug.types import Array, Channel

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_TAGS = [
    "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SegmentationType", "SegmentSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


def is_segmentation(path: Path) -> bool:
    """Whether ``path`` is a DICOM segmentation file, or a folder with nothing else."""
    kinds = {str(sop_class(file)) in SEGMENTATIONS for file in dicom_files(path)}
    return kinds == {True}


def segmentation_file(path: Path) -> Path:
    """Return the one segmentation file at ``path``."""
    files = [f for f in dicom_files(path) if str(sop_class(f)) in SEGMENTATIONS]
    if len(files) != 1:
        raise ConfigError(f"{path}: one DICOM segmentation expected, found {len(files)}; name one")
    return files[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom: its warnings repeat the values of elements, names of people included."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def guarded(file: Path, action: Callable[[], Any], what: str = "DICOM header") -> Any:
    """Return ``action()``, with any failure told as a damaged file and without header text."""
    try:
        with quiet():
            return action()
    except (FormatError, GeometryError, ConfigError, MemoryError):
        raise
    except Exception as error:
        raise FormatError(
            f"{file}: {what} cannot be read ({type(error).__name__}); the file is truncated or "
            "damaged (copy it again), or its encoding is not supported (convert it)"
        ) from None


def dicom_files(path: Path) -> Iterator[Path]:
    """DICOM files at ``path`` in the order of their names: the folder's, then one level down."""
    if not path.is_dir():
        if path.is_file() and _is_dicom(path):
            yield path
        return
    entries = sorted(path.iterdir())
    for folder in [path, *(e for e in entries if e.is_dir())]:
        for file in entries if folder == path else sorted(folder.iterdir()):
            if file.is_file() and file.name.upper() != "DICOMDIR" and _is_dicom(file):
                yield file


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise FormatError.of(f"{file}: cannot be opened ({error.strerror})", error) from None


def sop_class(file: Path) -> Any:
    """Return what kind of object ``file`` says it is."""
    return guarded(file, lambda: read_file_meta_info(file).get("MediaStorageSOPClassUID", ""))


def parse(file: Path, tags: Sequence[Any]) -> Any:
    """Return the header of ``file`` with nothing but ``tags``."""
    syntax = guarded(file, lambda: read_file_meta_info(file).get("TransferSyntaxUID"))
    if syntax is None:
        raise FormatError(f"{file}: no transfer syntax in the header; it is truncated or damaged")
    if syntax == DeflatedExplicitVRLittleEndian:
        # Parsing such a file inflates all of it, however large it may grow.
        raise FormatError(f"{file}: deflated DICOM is not read; convert it (dcmconv +te)")

    def read() -> Any:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
        # Values are converted when first looked at; here, damage is told with the file's name.
        for _ in header:
            pass
        return header

    return guarded(file, read)


def check_pixels(file: Path, header: Any) -> int:
    """Return the bytes of pixels declared; refuse more than an uncompressed file can hold."""
    pixels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
    declared, size = (pixels * int(header.BitsAllocated) + 7) // 8, file.stat().st_size
    if not header.file_meta.TransferSyntaxUID.is_compressed and declared > size:
        raise FormatError(
            f"{file}: truncated: the header declares {declared} bytes of pixels, the file has "
            f"{size} bytes; copy it again"
        )
    return declared


def read_segmentation(path: Path, grid: Grid) -> NDArray[Any]:
    """Labels of a DICOM segmentation on ``grid``; 0 where no frame says anything.

    Parameters
    ----------
    path : Path
        The segmentation, or a folder with one.
    grid : Grid
        The image's.

    Returns
    -------
    ([L,] [Z,] Y, X) array of uint8 or uint16
        Segment numbers. Where segments overlap, one layer a segment in order of number.

    Raises
    ------
    ConfigError
        highdicom is not installed.
    FormatError
        Fractional segmentations and damaged files.
    GeometryError
        Frames that do not lie on the grid's voxels, or labels outside it.
    """
    file = segmentation_file(path)
    header, frames, numbers = _open(file)
    stored = _pixels(file, header)
    known = _numbers(header, numbers)
    dtype = np.uint8 if max(known, default=0) <= 255 else np.uint16
    index_from_world, shape = _volume_of(grid, file)
    targets = [_target(f, grid, index_from_world, shape, file) for f in frames]
    flat = np.zeros((1, *shape), dtype)
    layers = {number: 0 for number in known}
    if not _paint(flat, layers, stored, numbers, targets, file):
        flat = np.zeros((len(known), *shape), dtype)
        _paint(flat, {n: i for i, n in enumerate(known)}, stored, numbers, targets, file)
    flat = flat.reshape(len(flat), *grid.shape)
    return flat[0] if len(flat) == 1 else flat


def segments(path: Path) -> list[int]:
    """Numbers of the segments, ascending; background (0) is none."""
    header, _, numbers = _open(segmentation_file(path))
    return _numbers(header, numbers)


def _numbers(header: Any, used: Sequence[int | None]) -> list[int]:
    declared = {int(s.SegmentNumber) for s in header.get("SegmentSequence") or ()}
    return sorted((declared | {n for n in used if n}) - {0})


def loaded_label(label: Array, grid: Grid, numbers: Sequence[int]) -> Loaded:
    """Return ``label`` with the names and facts of a loaded file."""
    layers = label.reshape(-1, *grid.shape)
    names = [f"segment {n}" for n in numbers] if len(layers) > 1 else ["segments"]
    return Loaded(
        image=layers,
        grid=grid,
        channels=tuple(Channel(name) for name in names),
        meta={"format": "nifti", "dtype": label.dtype.name, "modality": "SEG"},
    )


def own_grid(path: Path) -> Grid:
    """Grid that a segmentation's own frames span; empty slices between them are counted."""
    file = segmentation_file(path)
    frames = _open(file)[1]
    first, where = frames[0], str(file)
    check_alike(frames, where)
    if first.axes is None or first.spacing is None:
        raise GeometryError(f"{file}: frames without a position; give the image they belong to")
    points = positions_of([c[0] for c in at_positions(frames, positions_of(frames), where)])
    steps = first.axes * np.array(first.spacing)
    if len(points) == 1:
        return grid_of(first.size, steps, points[0])
    heights = (points - points[0]) @ normal_of(first)
    slices = np.round(heights / np.diff(heights).min())
    step = (points[-1] - points[0]) / slices[-1]
    off = np.abs(points - points[0] - slices[:, None] * step).max()
    if off > off_grid_mm(float(np.linalg.norm(step))):
        raise GeometryError(
            f"{file}: uneven spacing: frames lie up to {off:.3g} mm off a regular grid; load the "
            "segmentation as the label of its image"
        )
    return grid_of((int(slices[-1]) + 1, *first.size), np.column_stack([step, steps]), points[0])


def describe_segmentation(path: Path) -> dict[str, Any]:
    """Facts for ``medsataug info``."""
    file = segmentation_file(path)
    header, frames, numbers = _open(file)
    facts: dict[str, Any] = {
        "format": "dicom", "modality": "SEG", "frames": len(frames), "size": list(frames[0].size),
        "segments": _numbers(header, numbers),
    }  # fmt: skip
    try:
        grid = own_grid(path)
    except GeometryError as error:
        return facts | {"problem": str(error)}
    return facts | {
        "shape": list(grid.shape), "spacing_mm": grid.spacing.tolist(),
        "world": grid.world, "orientation": grid.orientation,
    }  # fmt: skip


def _open(file: Path) -> tuple[Any, list[Frame], list[int | None]]:
    """Header, frames, and each frame's segment number (None in a label map)."""
    header = parse(file, _TAGS)
    if not (header.get("Rows") and header.get("Columns") and header.get("BitsAllocated")):
        raise FormatError(f"{file}: a segmentation without Rows or Columns: truncated?")
    check_cap(file, check_pixels(file, header) * (8 if int(header.BitsAllocated) == 1 else 1))
    kind = str(header.get("SegmentationType") or "")
    if kind not in ("BINARY", "LABELMAP"):
        raise FormatError(
            f"{file}: a {kind.lower() or 'nameless'} segmentation is no label; threshold it and "
            "save it as BINARY"
        )
    frames = guarded(file, lambda: frames_of(file, header))
    numbers = guarded(file, lambda: [_segment(header, f.number, kind) for f in frames])
    return header, frames, numbers


def _segment(header: Any, frame: int, kind: str) -> int | None:
    if kind == "LABELMAP":
        return None
    own = header.PerFrameFunctionalGroupsSequence[frame].get("SegmentIdentificationSequence")
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    found = own or shared[0].get("SegmentIdentificationSequence")
    return int(found[0].ReferencedSegmentNumber)


def _pixels(file: Path, header: Any) -> Array:
    try:
        import highdicom
    except ImportError:
        raise ConfigError(
            f"{file}: a DICOM segmentation needs highdicom: pip install medsataug[dicomseg]"
        ) from None
    stored = guarded(file, lambda: highdicom.seg.segread(file).get_stored_frames(), "pixels")
    return np.asarray(stored).reshape(-1, int(header.Rows), int(header.Columns))


def _volume_of(grid: Grid, file: Path) -> tuple[Array, tuple[int, ...]]:
    """(4, 4) index from world, and the shape, of ``grid`` with a slice axis in any case."""
    if grid.world != RAS_MM:
        raise GeometryError(
            f"{file}: a segmentation is placed by world position, and the image's world is "
            f"{grid.world!r}; load the image from DICOM or from NIfTI with a qform or sform"
        )
    if grid.ndim == 3:
        return np.asarray(np.linalg.inv(grid.affine)), grid.shape
    normal = np.cross(grid.affine[:3, 1], grid.affine[:3, 0])
    across = np.append(normal / np.linalg.norm(normal), 0)
    return np.asarray(np.linalg.inv(np.column_stack([across, grid.affine]))), (1, *grid.shape)


Target = tuple[list[int], NDArray[np.intp]]


def _target(
    frame: Frame,
    grid: Grid,
    index_from_world: Array,
    shape: tuple[int, ...],
    file: Path,
) -> Target:
    """Axes of the volume that rows, columns and the normal follow, and (3, 3) integer steps."""
    if frame.position is None or frame.axes is None or frame.spacing is None:
        raise GeometryError(f"{file}: frame {frame.number + 1} has no position or orientation")
    plane = np.zeros((4, 3))
    plane[:3] = np.column_stack([frame.axes * np.array(frame.spacing), frame.position])
    plane[3, 2] = 1
    exact = (index_from_world @ LPS_TO_RAS @ plane)[:3]
    whole = np.round(exact)
    rows, columns = frame.size
    corners = np.array([[0, 0, 1], [rows - 1, 0, 1], [0, columns - 1, 1]]).T
    spacing = np.append(np.ones(3 - grid.ndim), grid.spacing)
    off = np.abs((exact - whole) @ corners).max(axis=1) * spacing
    axes = [int(np.argmax(np.abs(whole[:, k]))) for k in (0, 1)]
    aligned = np.array_equal(np.sort(np.abs(whole[:, :2]), axis=0), [[0, 0], [0, 0], [1, 1]])
    if not aligned or axes[0] == axes[1] or any(
        o > off_grid_mm(s) for o, s in zip(off, spacing, strict=True)
    ):  # fmt: skip
        raise GeometryError(
            f"{file}: frame {frame.number + 1} does not lie on the image's voxels (up to "
            f"{off.max():.3g} mm off, image shape {shape}); choose the image series that was "
            "segmented, or resample the segmentation to this image first"
        )
    return [*axes, 3 - axes[0] - axes[1]], whole.astype(np.intp)


def _paint(
    volume: Array,
    layers: dict[int, int],
    stored: Array,
    numbers: Sequence[int | None],
    targets: Sequence[Target],
    file: Path,
) -> bool:
    """Write every frame into its layer; False as soon as two segments claim one voxel."""
    for n, (frame, number, ((a, b, c), step)) in enumerate(
        zip(stored, numbers, targets, strict=True)
    ):
        values = frame if number is None else np.where(frame != 0, volume.dtype.type(number), 0)
        ia = step[a, 2] + step[a, 0] * np.arange(frame.shape[0])
        ib = step[b, 2] + step[b, 1] * np.arange(frame.shape[1])
        sizes = volume.shape[1:]
        inside_a, inside_b = (ia >= 0) & (ia < sizes[a]), (ib >= 0) & (ib < sizes[b])
        if not 0 <= step[c, 2] < sizes[c]:
            inside_a = inside_a & False
        kept = values[np.ix_(inside_a, inside_b)]
        if np.count_nonzero(kept) < np.count_nonzero(values):
            raise GeometryError(
                f"{file}: frame {n + 1} has labels outside the image; choose the image series "
                "that was segmented, or give all of its files"
            )
        if not kept.any():
            continue
        layer = volume[0 if number is None else layers[number]]
        plane = np.moveaxis(layer, c, 0)[step[c, 2]]
        plane = plane if a < b else plane.T
        place = np.ix_(ia[inside_a], ib[inside_b])
        before = plane[place]
        if np.any((before != 0) & (kept != 0) & (before != kept)):
            return False
        plane[place] = np.where(kept != 0, kept, before)
    return True
