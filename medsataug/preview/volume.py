"""Three orthogonal planes of a volume, as a radiologist reads them.

Patient right is on the viewer's left, anterior and superior are up, and in the sagittal plane
anterior is on the left. Once a volume is turned to run inferior, posterior, left, each plane is
a plain slice of it, whatever order it was stored in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsataug.grid import RAS_MM, Grid
from medsataug.preview.panels import (
    Column,
    Floats,
    Panel,
    class_counts,
    count_texts,
    ignored_values,
    label_layers,
    marked,
    other_unit,
    page_spacing,
    size_text,
    spread,
    stored_alike,
    thinned,
    to_bytes,
)
from medsataug.types import Array, Sample

CT_WINDOW = (-160.0, 240.0)  # 40 ± 200 HU, soft tissue
_NAMES = ("superior-inferior", "anterior-posterior", "left-right")
_TARGET = "IPL"
_OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))
#: Display axes that run down and across in each of the three planes.
PLANES = ((1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Reading:
    """How a stored volume is turned for display.

    ``axes[k]`` is the array axis behind display axis k (down the body, front to back, right to
    left of the patient), reversed where ``flips[k]``.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    known: bool

    @classmethod
    def of(cls, grid: Grid) -> Reading:
        """Return the reading order of ``grid``: as stored where the orientation is unknown."""
        if grid.world != RAS_MM:
            z, y, x = grid.shape
            return cls((0, 1, 2), (False,) * 3, (z, y, x), False)
        letters = grid.orientation or ""
        a, b, c = (grid.axis(name) for name in _NAMES)
        flips = tuple(letters[k] != t for k, t in zip((a, b, c), _TARGET, strict=True))
        shape = (grid.shape[a], grid.shape[b], grid.shape[c])
        return cls((a, b, c), (flips[0], flips[1], flips[2]), shape, True)

    @property
    def names(self) -> tuple[str, str, str]:
        """Name of each plane."""
        return ("axial", "coronal", "sagittal") if self.known else ("z plane", "y plane", "x plane")

    def turned(self, volume: Array) -> Array:
        """View of a (Z, Y, X) array in reading order."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return volume.transpose(self.axes)[steps]

    def index_of(self, points: Floats) -> Floats:
        """(P, 3) stored index coordinates of (P, 3) display coordinates."""
        index = np.empty_like(points)
        for k, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            index[:, axis] = self.shape[k] - 1 - points[:, k] if flip else points[:, k]
        return index

    def marks(self, down: int, across: int) -> tuple[str, str, str, str]:
        """Return the marks at the left, right, top and bottom edges of a plane."""
        if not self.known:
            return "", f"{'zyx'[across]}\u2009→", "", f"{'zyx'[down]}\u2009↓"
        right, bottom = _TARGET[across], _TARGET[down]
        return _OPPOSITE[right], right, _OPPOSITE[bottom], bottom


def largest_object_centre(mask: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """Voxel of the largest connected object that is nearest to its centre of mass, or None."""
    box = ndimage.find_objects(mask.view(np.uint8))
    if not box:
        return None
    parts, _ = ndimage.label(mask[box[0]])  # a lesion's box is far smaller than its volume
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    profiles = (_profile(largest, axis) for axis in range(mask.ndim))
    centre = np.array([p @ np.arange(len(p)) / p.sum() for p in profiles])
    nearest = np.rint(centre).astype(int)
    if not largest[tuple(nearest)]:
        where = np.argwhere(largest)
        nearest = where[np.argmin(((where - centre) ** 2).sum(axis=1))]
    return tuple(int(i) + s.start for i, s in zip(nearest, box[0], strict=True))


def _profile(mask: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    others = tuple(k for k in range(mask.ndim) if k != axis)
    return np.asarray(np.count_nonzero(mask, axis=others))


def volume_columns(
    samples: Sequence[Sample], channels: Sequence[int], one_place: bool = False
) -> list[Column]:
    """Columns of three planes; the first sample is the original and sets the window.

    Where all share a grid, ``one_place`` shows them in the first one's planes.
    """
    place = _place(samples[0]) if one_place else None
    known = all(s.grid.metres is not None for s in samples)
    ct = samples[0].meta.get("modality") == "CT"
    shared: tuple[float, float] | None = None
    range0: tuple[float, float] = (0.0, 1.0)
    columns = []
    for number, (sample, channel) in enumerate(zip(samples, channels, strict=True)):
        volume = np.asarray(sample.image)[channel]
        some = thinned(volume)
        own = spread(some[some != 0], 0.5, 99.5)
        notes = []
        if shared is None:
            range0, shared = own, CT_WINDOW if ct else own
            notes = [size_text(sample), _reading_text(sample.grid)]
        window = shared
        if number and not stored_alike(samples[0], sample) and other_unit(range0, own):
            window = own
            notes.append(f"own window {own[0]:.3g} to {own[1]:.3g} (another unit)")
        elif number == 0:
            unit = " HU" if ct else ""
            name = sample.channels[channel].name  # type: ignore[union-attr]
            notes.append(f"{name}, window {window[0]:.3g} to {window[1]:.3g}{unit}")
        own_place = place or _place(sample)
        if not (one_place and number):
            notes.append("planes through z {}, y {}, x {}".format(*own_place))
        spacings = page_spacing(sample, known)
        columns.append(_column(sample, volume, window, notes, spacings, own_place))
    return columns


def _place(sample: Sample) -> tuple[int, ...]:
    """Voxel that the planes go through: of the largest labelled object, or the middle."""
    layers, found = label_layers(sample), None
    if layers is not None:
        anything = layers != 0
        for value in ignored_values(sample):
            anything &= layers != value
        found = largest_object_centre(np.asarray(anything.any(axis=0)))
    return found or tuple(n // 2 for n in sample.grid.shape)


def _column(
    sample: Sample,
    volume: Array,
    window: tuple[float, float],
    notes: list[str],
    spacing: Floats,
    stored: tuple[int, ...],
) -> Column:
    reading = Reading.of(sample.grid)
    layers = label_layers(sample)
    ignored = ignored_values(sample)
    counts = class_counts(layers, ignored)
    shown = reading.turned(volume)
    labels = None if layers is None else [reading.turned(layer) for layer in layers]
    centre = [
        reading.shape[k] - 1 - stored[axis] if flip else stored[axis]
        for k, (axis, flip) in enumerate(zip(reading.axes, reading.flips, strict=True))
    ]
    panels = []
    for across_plane, (down, across) in enumerate(PLANES):
        cut = tuple(centre[k] if k == across_plane else slice(None) for k in range(3))
        grey = to_bytes(shown[cut], window)
        axes = (reading.axes[down], reading.axes[across])
        panels.append(
            Panel(
                pixels=np.repeat(grey[..., None], 3, axis=-1),
                size=(
                    float(grey.shape[0] * spacing[axes[0]]),
                    float(grey.shape[1] * spacing[axes[1]]),
                ),
                label=None
                if labels is None
                else marked(np.stack([part[cut] for part in labels]), ignored),
                marks=reading.marks(down, across),
                axes=axes,
                index_of=_plane_index(reading, across_plane, centre[across_plane]),
            )
        )
    return Column(tuple(panels), count_texts(sample, counts), tuple(notes))


def _plane_index(reading: Reading, plane: int, at: int) -> Callable[[Floats], Floats]:
    def index_of(points: Floats) -> Floats:
        return reading.index_of(np.insert(points, plane, at, axis=1))

    return index_of


def _reading_text(grid: Grid) -> str:
    if grid.orientation is None:
        return "orientation unknown"
    x_y_z = "-".join(grid.orientation[::-1])
    unit = grid.affine[:-1, :-1] / grid.spacing
    angle = np.degrees(np.arccos(np.clip(np.abs(unit).max(axis=0), 0, 1))).max()
    turned = f", turned {angle:.0f}°" if angle > 0.5 else ""
    return f"stored {x_y_z} (x-y-z){turned}"
