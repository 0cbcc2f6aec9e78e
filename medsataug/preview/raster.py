"""A raster or 2D image as one panel: a colour composite of three bands, or grey.

Pixels without data become transparent, so that the page shows through: they never look black.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.grid import MM, RAS_MM, Grid
from medsataug.preview.panels import (
    Column,
    Floats,
    Panel,
    channel_number,
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
    to_bytes,
)
from medsataug.types import Sample

#: Centre of red, green and blue in µm, and the band names that mean them.
_COLOURS = (
    (0.665, ("red", "r", "b4", "b04")),
    (0.560, ("green", "g", "b3", "b03")),
    (0.490, ("blue", "b", "b2", "b02")),
)
_REACH_UM = 0.045  # how far a band's centre may be from a colour's
LONGEST = 1600  # longest side shown; more pixels than the page has add nothing


def composite_bands(
    sample: Sample, bands: Sequence[str] | None, channel: str | int | None
) -> tuple[int, ...]:
    """Channel numbers of red, green and blue, or of the one shown in grey.

    Wavelengths decide, then names, then the first three; fewer than three channels are grey.
    """
    if channel is not None:
        return (channel_number(sample, channel),)
    if bands is not None:
        if len(bands) not in (1, 3):
            raise ConfigError(f"bands: one or three are shown, got {len(bands)}: {list(bands)}")
        return tuple(channel_number(sample, b) for b in bands)
    count = len(sample.channels)
    if count < 3:
        return (0,)
    found = [_nearest(sample, um, names) for um, names in _COLOURS]
    if None in found or len(set(found)) < 3:
        return (0, 1, 2)
    return tuple(int(f) for f in found if f is not None)


def _nearest(sample: Sample, wavelength_um: float, names: Sequence[str]) -> int | None:
    best, apart = None, _REACH_UM
    for number, channel in enumerate(sample.channels):
        um = getattr(channel, "wavelength_um", None)
        if um is not None and abs(um - wavelength_um) < apart:
            best, apart = number, abs(um - wavelength_um)
    if best is not None:
        return best
    for number, channel in enumerate(sample.channels):
        name = re.split(r"[\s:(]", getattr(channel, "name", "").lower().strip())[0]
        if name in names:
            return number
    return None


def raster_columns(samples: Sequence[Sample], chosen: Sequence[Sequence[int]]) -> list[Column]:
    """Columns of one panel; the first sample is the original and sets the stretch."""
    known = all(s.grid.metres is not None for s in samples)
    shared: list[tuple[float, float]] = []
    columns = []
    for number, (sample, bands) in enumerate(zip(samples, chosen, strict=True)):
        step = -(-max(sample.grid.shape) // LONGEST)
        values = np.asarray(sample.image)[list(bands), ::step, ::step]
        valid = _valid(sample, bands)[..., ::step, ::step]
        valid &= np.isfinite(values)
        own = [spread(band[ok], 2, 98) for band, ok in zip(values, valid, strict=True)]
        notes = [] if number else [size_text(sample), *_world_text(sample.grid)]
        shared = shared or own
        stretch = shared
        alike = stored_alike(samples[0], sample)
        if not alike and any(other_unit(a, b) for a, b in zip(shared, own, strict=True)):
            stretch = own
            notes.append("own stretch, 2\u2009–\u200998 % (another unit)")
        elif number == 0:
            names = ", ".join(sample.channels[b].name for b in bands)  # type: ignore[union-attr]
            colours = " as red, green, blue" if len(bands) == 3 else ""
            notes.append(f"{names}{colours}; stretch 2\u2009–\u200998 %")
        pixels = [to_bytes(v, w) for v, w in zip(values, stretch, strict=True)]
        rgb = np.stack(pixels if len(pixels) == 3 else pixels * 3, axis=-1)
        shown = np.where(valid.all(axis=0), 255, 0).astype(np.uint8)
        layers = label_layers(sample)
        ignored = ignored_values(sample)
        counts = count_texts(sample, class_counts(layers, ignored))
        size = page_spacing(sample, known) * sample.grid.shape
        panel = Panel(
            pixels=np.concatenate([rgb, shown[..., None]], axis=-1),
            size=(float(size[0]), float(size[1])),
            label=None if layers is None else marked(layers[:, ::step, ::step], ignored),
            marks=_marks(sample.grid),
            axes=(0, 1),
            index_of=_scaled(step),
            north_up=north_up(sample.grid),
        )
        columns.append(Column((panel,), counts, tuple(notes)))
    return columns


def _scaled(step: int) -> Callable[[Floats], Floats]:
    def index_of(points: Floats) -> Floats:
        return points * step

    return index_of


def _valid(sample: Sample, bands: Sequence[int]) -> NDArray[np.bool_]:
    shape = (len(bands), *sample.grid.shape)
    if sample.valid is None:
        return np.ones(shape, dtype=bool)
    valid = sample.valid if sample.valid.shape[0] == 1 else sample.valid[list(bands)]
    return np.broadcast_to(valid, shape).copy()


def _marks(grid: Grid) -> tuple[str, str, str, str]:
    letters = grid.orientation
    if letters is None:
        return ("", "", "", "")
    opposite = dict(zip("LRPAIS", "RLAPSI", strict=True))
    down, across = letters[0], letters[1]
    return opposite[across], across, opposite[down], down


def north_up(grid: Grid) -> bool:
    """Whether rows run due south and columns due east in a map's coordinates."""
    if grid.world in (None, MM, RAS_MM):
        return False
    (x_row, x_col), (y_row, y_col) = grid.affine[:2, :2]
    level = 1e-6 * float(np.abs(grid.affine[:2, :2]).max())
    return bool(y_row < 0 < x_col and abs(x_row) <= level and abs(y_col) <= level)


def _world_text(grid: Grid) -> list[str]:
    world = grid.world
    if world is None or world == MM:
        return []
    return [world if len(world) < 24 else "own map projection"]
