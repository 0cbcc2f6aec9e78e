"""The cases of a training, looked through once before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medsataug.draws import stream_key
from medsataug.errors import ConfigError, MedSatAugError, told
from medsataug.io import load
from medsataug.io.base import stem_of
from medsataug.pipeline import Pipeline
from medsataug.roles import ignored
from medsataug.train.prepare import for_prediction
from medsataug.types import Sample, is_lazy

#: Most names listed in a message.
SHOWN = 5


class Case(Protocol):
    """One case: its name, and how its image and label are read."""

    @property
    def id(self) -> str:
        """Its name, unlike any other's."""
        ...

    def load(self) -> Sample:
        """Image and label."""
        ...


@dataclass(frozen=True)
class Files:
    """A case of files; several images are channels."""

    id: str
    images: Any
    label: Any

    def load(self) -> Sample:
        """Read them; a large raster stays on disk."""
        return load(self.images, self.label, id=self.id)


@dataclass(frozen=True)
class Held:
    """A case that is in memory."""

    id: str
    sample: Sample

    def load(self) -> Sample:
        """Return the sample, under its name."""
        return self.sample.replace(id=self.id)


def as_cases(given: Sequence[Any]) -> list[Case]:
    """Cases of (image or images, label) pairs, samples, and of what has ``id`` and ``load``."""
    made: list[Case] = []
    for number, case in enumerate(given):
        if isinstance(case, Sample):
            made.append(Held(case.id or f"case {number}", case))
        elif isinstance(case, tuple) and len(case) == 2:
            made.append(Files(_name(case[0]), *case))
        elif hasattr(case, "load") and hasattr(case, "id"):
            made.append(case)
        else:
            raise ConfigError(
                f"cases[{number}]: {case!r}; a Sample or an (image, label) pair expected, since "
                "training needs labels"
            )
    names = [case.id for case in made]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(f"cases: {listed(sorted(twice))} given more than once")
    return made


@dataclass(frozen=True)
class Survey:
    """What was found in the cases.

    Attributes
    ----------
    training, test : list of Sample
        Each called by its case's name.
    channels : tuple of str
    shape, spacing : tuple
        Medians, of what the recipe's resampling makes of the cases.
    counts : list of {label value: voxels}
        Of the cases, those to train with first; ignored values apart.
    ignore : int or None
        Label value that is no class.
    """

    training: list[Sample]
    test: list[Sample]
    channels: tuple[str, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    counts: list[dict[int, int]]
    ignore: int | None

    @property
    def values(self) -> tuple[int, ...]:
        """Label values of all cases; of volumes 0 is one in any case, since it fills borders."""
        found = {value for counts in self.counts for value in counts}
        return tuple(sorted(found if self.ignore is not None else found | {0}))

    def check_classes(self, wanted: Sequence[Any], regions: bool) -> None:
        """Refuse classes without a voxel to learn from, and label values that are no class.

        ``wanted`` are label values, or lists of them (regions), beyond which there may be others.
        """
        known = {v for w in wanted for v in ([w] if isinstance(w, int) else w)} | {0}
        cases = [*self.training, *self.test]
        for case, counts in zip(cases, self.counts, strict=True):
            strange = sorted(set(counts) - known)
            if strange and not regions:
                raise ConfigError(
                    f"case {case.id!r}: label value(s) {strange}, which are none of the classes "
                    f"{sorted(known)}; list them in labels, or mend the label"
                )
        seen = set().union(*self.counts[: len(self.training)])
        absent = sorted(known - seen - {0})
        if absent:
            having = [c.id for c, n in zip(cases, self.counts, strict=True) if set(absent) & set(n)]
            where = f"only in the test case(s) {listed(having)}" if having else "in no case"
            raise ConfigError(
                f"class(es) {absent}: no voxel in any of the {len(self.training)} training cases, "
                f"{where}; nothing can be learnt of them: move such a case to training, or leave "
                "them out of labels"
            )


def survey(
    training: Sequence[Case], test: Sequence[Case], pipeline: Pipeline, ignore: int | None = None
) -> Survey:
    """Read every case once, and say what they have in common.

    Raises
    ------
    ConfigError, FormatError, GeometryError
        Naming the case: without a label, of other channels or axes than the first, with infinite
        values, or also among those to test with.
    """
    if not training:
        raise ConfigError("no case to train with")
    both = {c.id for c in training} & {c.id for c in test}
    if both:
        raise ConfigError(f"{listed(sorted(both))}: to train and to test with; one of both only")
    samples = [_checked(case, sample) for case, sample in _loaded([*training, *test])]
    first = samples[0]
    for sample in samples:
        channels = len(sample.channels)
        if channels != len(first.channels) or sample.ndim != first.ndim:
            raise ConfigError(
                f"case {sample.id!r}: {channels} channel(s) in {sample.ndim}D, but "
                f"{len(first.channels)} in {first.ndim}D in case {first.id!r}; all cases need the "
                "same"
            )
    still = for_prediction(pipeline, first, None)
    grids = [still.plan(s.replace(label=None), seed=0).grid for s in samples]
    nothing = {ignore} if ignore is not None else {v for s in samples for v in ignored(s)}
    if len(nothing) > 1:
        raise ConfigError(f"labels: {sorted(nothing)} mark what is ignored; set ignore to one")
    counts = [{v: n for v, n in s.facts.classes.items() if v not in nothing} for s in samples]
    return Survey(
        samples[: len(training)],
        samples[len(training) :],
        tuple(c.name for c in first.channels),  # type: ignore[union-attr]
        tuple(int(n) for n in np.median([g.shape for g in grids], axis=0)),
        tuple(float(n) for n in np.median([g.spacing for g in grids], axis=0)),
        counts,
        next(iter(nothing), None),
    )


def contents(sample: Sample) -> str:
    """Digest of a case: its voxels, and where they are."""
    grid = sample.grid
    return f"{sample.digest} {stream_key(grid.affine.tolist(), grid.world):016x}"


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(n) for n in names[:SHOWN]) + more


def _loaded(cases: Sequence[Case]) -> Iterator[tuple[Case, Sample]]:
    for case in cases:
        try:
            yield case, case.load().replace(id=case.id)
        except MedSatAugError as error:
            raise told(error, f"case {case.id!r}: {error}") from None


def _checked(case: Case, sample: Sample) -> Sample:
    if sample.label is None:
        raise ConfigError(f"case {case.id!r}: without its label; give one, or leave the case out")
    if sample.facts.layers > 1:
        raise ConfigError(
            f"case {case.id!r}: a label of {sample.facts.layers} layers; training takes one layer "
            "of class numbers (regions are made of it)"
        )
    image = sample.image
    if not is_lazy(image) and image.dtype.kind == "f":
        if np.isinf(image).any() or np.isnan(image).all():
            raise ConfigError(
                f"case {case.id!r}: infinite values, or none at all; mend it, or leave it out"
            )
    return sample


def _name(path: Any) -> str:
    """Return a file's name without its endings; of several files, that of the first."""
    return stem_of(Path(path[0] if isinstance(path, (list, tuple)) else path))
