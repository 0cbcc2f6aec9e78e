"""Where DICOM frames are: one record a frame, and their order as one regular volume.

A classic file holds one frame, an enhanced file many; `frames_of` makes both the same, and
`arrange` decides, from positions alone, whether they make a volume. Positions and
directions in a header are LPS and in x, y, z; the Grid that leaves here is RAS+ in array order.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import GeometryError, MedSatAugWarning
from medsataug.grid import RAS_MM, Grid

Vector = NDArray[np.float64]

#: How far a slice may lie off the regular grid: a hundredth of the slice distance, which moves
#: no voxel by more than linear interpolation can show, but never less than the 0.01 mm to
#: which scanners round positions (where that is small against the distance itself).
OFF_GRID = 0.01
#: Largest difference between direction cosines of parallel slices; scanners write 6 digits.
SAME_DIRECTION = 1e-4
#: Shear (degrees) from which other readers refuse or misplace a volume.
TILT_DEG = 0.1
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COMPONENTS = {
    "M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase",
    "R": "real", "REAL": "real", "I": "imaginary", "IMAGINARY": "imaginary",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: the file and frame that hold it, its place (LPS mm) and its rescaling.

    ``axes`` is (3, 2): unit vectors along increasing row and column index; ``spacing`` are
    the steps along them. ``keys`` tells frames at one position apart and leaves no reader.
    """

    file: Path
    number: int
    size: tuple[int, int]
    position: Vector | None
    axes: Vector | None
    spacing: tuple[float, float] | None
    slope: float = 1.0
    intercept: float = 0.0
    keys: dict[str, Any] = field(default_factory=dict)


def frames_of(file: Path, header: Any) -> list[Frame]:
    """Frames of one header, in the order in which the file stores them."""
    count = int(header.get("NumberOfFrames") or 1)
    stored = len(header.get("PerFrameFunctionalGroupsSequence") or ())
    if count > 1 and stored == 0:
        raise GeometryError(
            f"{file}: {count} frames without functional groups, so no frame has a place; "
            "convert it with the vendor's tool, or use the enhanced or single-frame export"
        )
    if stored and stored != count:
        raise GeometryError(f"{file}: {count} frames, but functional groups for {stored}")
    return [_frame(file, header, number) for number in range(count)]


def _frame(file: Path, header: Any, number: int) -> Frame:
    def find(group: str, keyword: str) -> Any:
        """Value from this frame's functional group, the shared one, or the top level."""
        for sequence in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
            items = header.get(sequence) or ()
            item = items[number if sequence.startswith("Per") else 0] if len(items) else None
            inner = item.get(group) if item is not None else None
            if inner and inner[0].get(keyword) is not None:
                return inner[0].get(keyword)
        return header.get(keyword)

    position = _numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3)
    cosines = _numbers(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    spacing = _numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2)
    slope = _number(find("PixelValueTransformationSequence", "RescaleSlope"))
    intercept = _number(find("PixelValueTransformationSequence", "RescaleIntercept"))
    if spacing is not None and np.any(spacing <= 0):
        raise GeometryError(f"{file}: PixelSpacing {spacing.tolist()}; positive numbers expected")
    axes = None if cosines is None else _axes(file, cosines)
    placed = position is not None and axes is not None and spacing is not None
    return Frame(
        file=file,
        number=number,
        size=(int(header.Rows), int(header.Columns)),
        position=position if placed else None,
        axes=axes if placed else None,
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        keys=_keys(header, find),
    )


def _axes(file: Path, cosines: Vector) -> Vector:
    """Columns: direction of increasing row index, of increasing column index (array order)."""
    axes = np.stack([cosines[3:], cosines[:3]], axis=1)
    lengths = np.linalg.norm(axes, axis=0)
    if np.any(np.abs(lengths - 1) > 1e-2) or abs(axes[:, 0] @ axes[:, 1]) > 1e-3:
        raise GeometryError(
            f"{file}: ImageOrientationPatient {cosines.tolist()} is not two perpendicular unit "
            "vectors; the file does not say how the slice lies"
        )
    return np.asarray(axes / lengths)


def _keys(header: Any, find: Any) -> dict[str, Any]:
    """Collect what may tell frames at one position apart."""
    b_value = _number(find("MRDiffusionSequence", "DiffusionBValue"))
    direction = _numbers(header.get("DiffusionGradientOrientation"), 3)
    inner = find("MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    if inner:
        direction = _numbers(inner[0].get("DiffusionGradientOrientation"), 3)
    if b_value is None and str(header.get((0x0019, 0x0010), "")).find("SIEMENS MR HEADER") >= 0:
        b_value = _number(getattr(header.get((0x0019, 0x100C)), "value", None))
        direction = _numbers(getattr(header.get((0x0019, 0x100E)), "value", None), 3)
    kind = find("MRImageFrameTypeSequence", "FrameType") or header.get("ImageType") or ()
    words = [kind] if isinstance(kind, str) else [str(word) for word in kind]
    component = next((_COMPONENTS[w] for w in words[2:] if w in _COMPONENTS), None)
    component = component or _COMPONENTS.get(str(header.get("ComplexImageComponent")))
    echo = find("MREchoSequence", "EffectiveEchoTime") or header.get("EchoTime")
    temporal = find("FrameContentSequence", "TemporalPositionIndex")
    if temporal is None:
        temporal = header.get("TemporalPositionIdentifier")
    acquisition = find("FrameContentSequence", "FrameAcquisitionNumber")
    if acquisition is None:
        acquisition = header.get("AcquisitionNumber")
    moment = find("FrameContentSequence", "FrameAcquisitionDateTime")
    keys = {
        "b": b_value,
        "direction": None
        if b_value is None
        else tuple(np.round(direction, 4))
        if direction is not None
        else (0.0, 0.0, 0.0),
        "echo": _number(echo),
        "inversion": _number(header.get("InversionTime")),
        "temporal": _number(temporal),
        "trigger": _number(header.get("TriggerTime")),
        "component": component,
        "acquisition": _number(acquisition),
        "moment": str(moment or header.get("AcquisitionTime") or "") or None,
    }
    return {key: value for key, value in keys.items() if value is not None}


def _number(value: Any) -> float | None:
    numbers = _numbers(value, 1)
    return None if numbers is None else float(numbers[0])


def _numbers(value: Any, count: int) -> Vector | None:
    """``count`` finite numbers, or None for anything else: a bad tag is an absent tag."""
    if value is None or isinstance(value, bytes):
        return None
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        return None
    return array if array.shape == (count,) and np.all(np.isfinite(array)) else None


def arrange(frames: Sequence[Frame], where: str) -> tuple[Grid, list[list[Frame]], list[str]]:
    """Grid of ``frames``, and for each channel its frames in slice order and its name.

    Parameters
    ----------
    frames : sequence of Frame
        One series.
    where : str
        Folder or file and series, for messages.

    Returns
    -------
    grid : Grid
        ``(Z, Y, X)``, or ``(Y, X)`` for one slice.
    channels : list of list of Frame
    names : list of str
        Empty for a single channel.

    Raises
    ------
    GeometryError
        Where the frames are not one regular volume; the message says which and what to do.
    """
    first = frames[0]
    check_alike(frames, where)
    if first.position is None or first.axes is None or first.spacing is None:
        if len(frames) > 1:
            raise GeometryError(
                f"{where}: {len(frames)} slices without position, orientation or pixel spacing; "
                "their order cannot be known. Give one file at a time, or convert the series "
                "with a tool that knows this scanner"
            )
        return Grid.regular(first.size, first.spacing), [[first]], []
    places, steps = positions_of(frames), first.axes * np.array(first.spacing)
    clusters = at_positions(frames, places, where)
    channels, names = _split(clusters, where)
    volume = channels[0]
    if len(volume) == 1:
        return grid_of(first.size, steps, positions_of(volume)[0]), channels, names
    points = positions_of(volume)
    step = regular_step(points, normal_of(first), where)
    affine = np.column_stack([step, steps])
    return grid_of((len(volume), *first.size), affine, points[0]), channels, names


def normal_of(frame: Frame) -> Vector:
    """Return the unit vector (LPS) at right angles to the slice."""
    assert frame.axes is not None
    normal = np.cross(frame.axes[:, 1], frame.axes[:, 0])
    return np.asarray(normal / np.linalg.norm(normal))


def off_grid_mm(distance: float) -> float:
    """How far a slice may lie off the regular grid, in mm; see `OFF_GRID`."""
    return max(OFF_GRID * distance, min(0.01, 0.1 * distance))


def grid_of(shape: tuple[int, ...], linear: Vector, origin: Vector) -> Grid:
    """Return the RAS+ grid of ``shape`` from LPS steps (array order) and an LPS origin."""
    affine = np.zeros((4, len(shape) + 1))
    affine[:3, :-1], affine[:3, -1], affine[3, -1] = linear, origin, 1
    return Grid(shape, LPS_TO_RAS @ affine, RAS_MM, (1e-3,) * 3)


def positions_of(frames: Sequence[Frame]) -> Vector:
    """Return (Z, 3) positions, LPS mm."""
    return np.array([frame.position for frame in frames], dtype=np.float64)


def check_alike(frames: Sequence[Frame], where: str) -> None:
    """Refuse frames of different sizes, orientations or pixel spacings."""
    if len({f.position is None for f in frames}) > 1:
        placed = sum(f.position is not None for f in frames)
        raise GeometryError(
            f"{where}: {placed} of {len(frames)} slices have a position and orientation, the rest "
            "have none; move the others to their own folder"
        )
    sizes = Counter(f.size for f in frames)
    if len(sizes) > 1:
        listed = ", ".join(f"{n} of {size}" for size, n in sizes.items())
        raise GeometryError(
            f"{where}: slices of different sizes (rows, columns): {listed}; "
            "move each size to its own folder"
        )
    if frames[0].axes is None:
        return
    for what, rows, tolerance in (
        ("orientations", np.array([f.axes for f in frames]).reshape(-1, 6), SAME_DIRECTION),
        ("pixel spacings", np.log(np.array([f.spacing for f in frames])), 1e-3),
    ):
        groups: list[tuple[Vector, int]] = []
        for row in rows:
            for i, (known, count) in enumerate(groups):
                if np.abs(known - row).max() <= tolerance:
                    groups[i] = (known, count + 1)
                    break
            else:
                groups.append((row, 1))
        if len(groups) > 1:
            counts = " + ".join(str(count) for _, count in groups[:10])
            more = " + …" if len(groups) > 10 else ""
            hint = ", as in a localiser" if what == "orientations" else ""
            raise GeometryError(
                f"{where}: {len(groups)} {what} in one series ({counts}{more} slices){hint}; "
                "choose another series, or move the files of each to their own folder"
            )


def at_positions(frames: Sequence[Frame], places: Vector, where: str) -> list[list[Frame]]:
    """Frames in order along the normal, those at one position together."""
    spacing = frames[0].spacing
    assert spacing is not None
    # Far below any slice distance, above the rounding of one position written twice.
    same = min(0.01, 0.05 * min(spacing))
    heights = places @ normal_of(frames[0])
    clusters: list[list[int]] = []
    for i in np.argsort(heights, kind="stable"):
        if clusters and heights[i] - heights[clusters[-1][0]] <= same:
            if np.linalg.norm(places[i] - places[clusters[-1][0]]) > 2 * same:
                raise GeometryError(
                    f"{where}: two slices in one plane ({heights[i]:.2f} mm along the normal) "
                    "at different places; tiled images are not read"
                )
            clusters[-1].append(int(i))
        else:
            clusters.append([int(i)])
    return [[frames[i] for i in cluster] for cluster in clusters]


#: What tells the volumes of a 4D series apart, tried in this order: (words, keys, name).
_SPLITS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("b-value", ("b",), "b {:g}"),
    ("echo time", ("echo",), "TE {:g} ms"),
    ("inversion time", ("inversion",), "TI {:g} ms"),
    ("image component", ("component",), "{}"),
    ("b-value and gradient direction", ("b", "direction"), "b {:g} direction {}"),
    ("echo time and image component", ("echo", "component"), "TE {:g} ms {}"),
    ("temporal position", ("temporal",), "time {:g}"),
    ("trigger time", ("trigger",), "trigger {:g} ms"),
    ("acquisition number", ("acquisition",), "acquisition {:g}"),
    ("acquisition time", ("moment",), "time {}"),
)


def _split(clusters: list[list[Frame]], where: str) -> tuple[list[list[Frame]], list[str]]:
    """Volumes of a series whose positions repeat, told apart by one key of `_SPLITS`."""
    most = max(len(cluster) for cluster in clusters)
    if most == 1:
        return [[cluster[0] for cluster in clusters]], []
    partial = ""
    for words, keys, name in _SPLITS:
        tables = [_by_keys(cluster, keys) for cluster in clusters]
        if any(table is None for table in tables):
            continue
        found = [table for table in tables if table is not None]
        values = sorted(set().union(*found))
        if len(values) != most:
            continue
        lacking = [(v, sum(v not in table for table in found)) for v in values]
        gaps = [(values.index(v), n) for v, n in lacking if n]
        if gaps:
            listed = ", ".join(f"{n} of {len(clusters)} from volume {i + 1}" for i, n in gaps[:4])
            partial = partial or f"; by {words} there are {most} volumes, but missing is {listed}"
            continue
        # A clock time or a gradient's direction is replaced by its rank: it is not the user's.
        ranks = [(*v[:-1], i + 1) if keys[-1] in ("moment", "direction") else v
                 for i, v in enumerate(values)]  # fmt: skip
        return (
            [[table[v] for table in found] for v in values],
            [name.format(*rank) for rank in ranks],
        )
    twice = next(c for c in clusters if len(c) > 1)
    files = ", ".join(f"{f.file.parent.name}/{f.file.name} frame {f.number + 1}" for f in twice[:3])
    number = sum(len(cluster) for cluster in clusters)
    raise GeometryError(
        f"{where}: repeated positions: {number} slices at {len(clusters)} positions ({files} are "
        f"at one){partial}; no b-value, echo, component, time or acquisition number splits them "
        "into complete volumes. Remove the copies, or add the files that are missing"
    )


def _by_keys(cluster: list[Frame], keys: tuple[str, ...]) -> dict[tuple[Any, ...], Frame] | None:
    """Frames by the values of ``keys``; None where a value is absent or repeated."""
    if any(key not in f.keys for f in cluster for key in keys):
        return None
    table = {tuple(f.keys[key] for key in keys): f for f in cluster}
    return table if len(table) == len(cluster) else None


def regular_step(points: Vector, normal: Vector, where: str) -> Vector:
    """Vector from each slice to the next; missing and unevenly spaced slices are refused."""
    heights = points @ normal
    gaps = np.diff(heights)
    usual = float(gaps.min())
    step = (points[-1] - points[0]) / (len(points) - 1)
    off = np.linalg.norm(points - (points[0] + np.arange(len(points))[:, None] * step), axis=1)
    if off.max() > off_grid_mm(usual):
        multiples = np.round(gaps / usual)
        if np.all(np.abs(gaps - multiples * usual) <= 0.1 * usual) and multiples.max() >= 2:
            holes = np.flatnonzero(multiples >= 2)
            listed = ", ".join(
                f"{int(multiples[i]) - 1} after slice {i + 1} ({heights[i]:.2f} mm; the next is "
                f"at {heights[i + 1]:.2f} mm)" for i in holes[:3]
            )  # fmt: skip
            more = f" and {len(holes) - 3} more places" if len(holes) > 3 else ""
            raise GeometryError(
                f"{where}: missing slices: {int((multiples - 1).sum())} in all, {listed}{more}, "
                f"where slices are {usual:.4g} mm apart; add the files, or keep one gapless part"
            )
        raise GeometryError(
            f"{where}: uneven slice spacing: {gaps.min():.4g} to {gaps.max():.4g} mm, slices lie "
            f"up to {off.max():.3g} mm off a regular grid (allowed {off_grid_mm(usual):.3g} mm); "
            "resample the series to even spacing with a tool you trust, or keep one even part"
        )
    shear = np.degrees(np.arctan2(np.linalg.norm(step - (step @ normal) * normal), step @ normal))
    if shear > TILT_DEG:
        warnings.warn(
            f"{where}: gantry tilt: slices are stacked {shear:.2f}° off their normal. The exact, "
            "sheared affine is kept; ITK-based readers refuse it",
            MedSatAugWarning,
            stacklevel=2,
        )
    return np.asarray(step)
