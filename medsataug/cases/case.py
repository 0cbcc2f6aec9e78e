"""One case of a data set: where its files are, and how they become a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medsataug.errors import ConfigError, GeometryError, MedSatAugError, told
from medsataug.io import load
from medsataug.roles import ignored
from medsataug.types import Array, Sample, Window, as_label, is_lazy

if TYPE_CHECKING:
    from medsataug.cases.store import Cache


@dataclass(frozen=True)
class Case:
    """Files of one case, not read yet.

    Parameters
    ----------
    id : str
        Its name, which random numbers are keyed by; never a path.
    images : tuple of Path
        Files (or DICOM folders) whose channels become one image.
    label : Path or None
    window : tuple of slices, optional
        The part of a large raster that the case is: pixels along (y, x), or voxels (z, y, x).
    group : str, optional
        Patient, scene or block: what a split keeps together.
    channels : tuple of str
        The data set's names of the channels; empty leaves the files' own.
    values : tuple of int, optional
        Label values that the data set names; others are an error. None allows all.
    cache : Cache, optional
        Where it is stored for reading by patches; see `medsataug.cases.cached`.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None
    window: Window | None = None
    group: str | None = None
    channels: tuple[str, ...] = ()
    values: tuple[int, ...] | None = None
    cache: Cache | None = field(default=None, repr=False)

    def __hash__(self) -> int:  # slices have no hash of their own before Python 3.12
        return hash((self.id, self.images, self.label, self.group))

    def load(self, cache: Cache | None = None) -> Sample:
        """Return the sample: out of the cache, where there is one, else from the files.

        Raises
        ------
        FormatError, GeometryError, ConfigError
            Naming the case, where files are missing or damaged, grids differ, or channels or
            label values are not those of the data set.
        """
        cache = cache or self.cache
        return self.read() if cache is None else cache.load(self)

    def read(self) -> Sample:
        """Return the sample from its files, whether there is a cache or not."""
        try:
            sample = load(self.images, self.label, id=self.id)
            if self.window is not None:
                sample = cut(sample, self.window)
            self._check_values(sample)
            return self._named(sample)
        except MedSatAugError as error:
            raise told(error, f"case {self.id}: {error}") from None

    def _named(self, sample: Sample) -> Sample:
        """Sample with the data set's channel names."""
        if not self.channels:
            return sample
        if len(self.channels) != len(sample.channels):
            names = ", ".join(self.channels)
            raise ConfigError(
                f"its files hold {len(sample.channels)} channels, the data set names "
                f"{len(self.channels)} ({names}); give the case as many as the others have"
            )
        known: Sequence[Any] = sample.channels
        channels = tuple(replace(c, name=n) for c, n in zip(known, self.channels, strict=True))
        sources, start = [], 0
        for source in sample.meta["sources"]:
            stop = start + source["channels"]
            sources.append(source | {"channel_names": list(self.channels[start:stop])})
            start = stop
        return _kept(sample, channels=channels, meta=sample.meta | {"sources": sources})

    def _check_values(self, sample: Sample) -> None:
        """Refuse label values that the data set does not name; of lazy labels none is read."""
        if self.values is None or sample.label is None or is_lazy(sample.label):
            return
        strange = set(sample.facts.classes) - set(self.values) - set(ignored(sample))
        if strange:
            raise ConfigError(
                f"its label holds {_listed(strange)}, but the data set names only "
                f"{_listed(self.values)}; correct the label, or name the class in the data set's "
                "labels"
            )


def cut(sample: Sample, window: Window) -> Sample:
    """Part of a sample, in memory; of a lazy one nothing else is read.

    Raises
    ------
    GeometryError
        Where the window does not lie inside the image.
    """
    shape = sample.grid.shape
    spans = [(s.start, s.stop) for s in window]
    inside = len(spans) == len(shape) and all(
        0 <= a < b <= n for (a, b), n in zip(spans, shape, strict=True)
    )
    if not inside:
        raise GeometryError(f"the window {spans} does not lie inside the image of {list(shape)}")
    if is_lazy(sample.image):
        image, valid = sample.image.read(window), sample.image.read_valid(window)
    else:
        image = sample.image[:, *window].copy()
        valid = None if sample.valid is None else sample.valid[:, *window].copy()
    shift = np.eye(len(shape) + 1)
    shift[:-1, -1] = [a for a, _ in spans]
    return sample.replace(
        image=image,
        label=_cut_label(sample, window),
        valid=valid,
        grid=sample.grid.moved(shift, [b - a for a, b in spans]),
    )


def _cut_label(sample: Sample, window: Window) -> Array | None:
    label = sample.label
    if is_lazy(label):
        return as_label(label.read(window))
    return (
        None
        if label is None
        else np.ascontiguousarray(label[(slice(None),) * (label.ndim - len(window)) + window])
    )


def _kept(sample: Sample, **changes: Any) -> Sample:
    """Sample with changes that leave its voxels as they are: what is known of them stays."""
    changed = sample.replace(**changes)
    if "facts" in sample.__dict__:
        changed.__dict__["facts"] = sample.facts
    return changed


def _listed(values: Any) -> str:
    some = sorted(int(v) for v in values)
    return ", ".join(map(str, some[:10])) + (", …" if len(some) > 10 else "")
