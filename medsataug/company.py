"""Who may be mixed into a sample: drawn, planned for, and refused where both do not fit.

What is asked of a partner, its frame's shape apart, follows from the two samples and never from
what is drawn: a case that does not fit is refused by every mix, not by some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medsataug.draws import Draws
from medsataug.errors import ConfigError, GeometryError, MedSatAugError
from medsataug.maps import signed_permutation
from medsataug.partners import Partners
from medsataug.roles import ignored
from medsataug.types import Sample

if TYPE_CHECKING:
    from medsataug.plan import Plan
    from medsataug.transforms.base import Named, State

#: How far voxel sizes may lie apart, as a part of the size.
APART = 0.01


@dataclass(frozen=True)
class Company:
    """Who may be mixed into a sample, and how what stands before the mix is planned for them.

    ``plan`` takes a sample, the stream of each transform by name, and the transforms. ``classes``
    are those that class probabilities are made of; ``changes_unit`` is whether the result is
    float32, whatever was stored.
    """

    sample: Sample
    partners: Partners | None
    plan: Callable[[Sample, Callable[[str], Draws], tuple[Named, ...]], tuple[Plan, State]]
    classes: tuple[int, ...] = ()
    changes_unit: bool = False

    def invite(
        self, draws: Draws, state: State, name: str, number: int = 0, then: tuple[Named, ...] = ()
    ) -> tuple[str, Sample, Plan]:
        """Draw a partner, and plan for it what stands before; ``then`` comes after that.

        ``number`` tells several partners of one mix apart.
        """
        if self.partners is None:
            raise ConfigError(
                f"{name}: other samples are needed to mix with; give them as partners=[…], on the "
                "command line as --partners (medsataug.torch.Dataset takes its own cases)"
            )
        key, found = self.partners.draw(draws, self.sample)
        streams = (*draws.parts, key, number)
        try:
            plan, after = self.plan(found, lambda own: Draws(*streams, own), (*state.before, *then))
        except MedSatAugError as error:
            raise type(error)(f"{name}: partner {key!r}: {error}") from None
        place = f"{name}: partner {key!r}"
        _check_frames(state, after, place)
        _check_channels(state, after, place)
        _check_labels(state, after, self.sample, found, place)
        _check_soft(self.sample, found, self.classes, place)
        if not self.changes_unit:
            _check_numbers(self.sample, found, place)
        draws.note("partner", key)
        return key, found, plan


def _check_frames(ours: State, theirs: State, place: str) -> None:
    """Refuse a partner whose voxels are not comparable one by one."""
    if ours.grid.shape != theirs.grid.shape:
        raise GeometryError(
            f"{place} is {list(theirs.grid.shape)} there, the sample {list(ours.grid.shape)}; put "
            "a Patch or Resize of one size before the mix"
        )
    turned = [None if s.source is None else s.source.orientation for s in (ours, theirs)]
    if turned[0] is not None and turned[1] is not None and turned[0] != turned[1]:
        raise GeometryError(
            f"{place} is stored in {turned[1]} orientation, the sample in {turned[0]}, so that the "
            "same voxel is not the same side; store both in one orientation"
        )
    regridded = any(s.regrids and signed_permutation(s.matrix) is None for s in ours.path)
    sizes = [None if s.source is None else s.source.spacing_m for s in (ours, theirs)]
    if not regridded and sizes[0] is not None and sizes[1] is not None:
        if not np.allclose(sizes[0], sizes[1], rtol=APART):
            shown = [" x ".join(f"{m * 1e3:.4g}" for m in s) for s in sizes if s is not None]
            raise GeometryError(
                f"{place} has voxels of {shown[1]} mm, the sample of {shown[0]} mm; put a Resample "
                "(or Resize) before the mix"
            )


def _check_channels(ours: State, theirs: State, place: str) -> None:
    """Refuse a partner whose channels show something else."""
    a, b = ours.channels, theirs.channels
    names, others = [c.name for c in a], [c.name for c in b]
    waves = [(c.wavelength_um, d.wavelength_um) for c, d in zip(a, b, strict=False)]
    if len(a) != len(b) or (names != others and set(names) == set(others)):
        raise ConfigError(
            f"{place} has the channels {', '.join(others)}, the sample {', '.join(names)}; load "
            "both with the same channels in the same order"
        )
    if any(u and v and abs(u - v) > APART * u for u, v in waves):
        raise ConfigError(f"{place} has bands of other wavelengths; load the same bands of both")
    scales = [(c.name, c.reflectance, d.reflectance) for c, d in zip(a, b, strict=True)]
    for name, u, v in scales:
        if u is not None and v is not None and not np.allclose(u, v, rtol=1e-6, atol=1e-12):
            raise ConfigError(
                f"{place} has reflectance {v[0]:g} * stored {v[1]:+g} in {name}, the sample "
                f"{u[0]:g} * stored {u[1]:+g}; bring both to one, or put a Normalize before the mix"
            )


def _check_labels(ours: State, theirs: State, sample: Sample, partner: Sample, place: str) -> None:
    """Refuse a partner whose label says something else by the same numbers."""
    if not ours.has_label or sample.label is None:
        return
    if not theirs.has_label or partner.label is None:
        raise ConfigError(f"{place} has no label, and the sample has one; give it a label too")
    if ours.facts.layers != theirs.facts.layers:
        raise ConfigError(
            f"{place} has {theirs.facts.layers} label(s), the sample {ours.facts.layers}; give "
            "both the same"
        )
    nothing = [ignored(s) for s in (sample, partner)]
    if nothing[0] != nothing[1]:
        shown = [", ".join(map(str, values)) or "none" for values in nothing]
        raise ConfigError(
            f"{place} has {shown[1]} for label values that are no class (nodata), the sample "
            f"{shown[0]}; store both labels with one nodata value"
        )
    if not np.can_cast(partner.label.dtype, sample.label.dtype):
        limits, values = np.iinfo(sample.label.dtype), theirs.facts.classes
        if not limits.min <= min(values) <= max(values) <= limits.max:
            raise ConfigError(
                f"{place} has label values from {min(values)} to {max(values)}, which do not fit "
                f"the sample's {sample.label.dtype} label; store both labels in one type that "
                "holds them"
            )


def _check_soft(sample: Sample, partner: Sample, classes: Sequence[int], place: str) -> None:
    """Refuse what class probabilities of both cannot be made of."""
    made = [None if s.soft is None else len(s.soft) for s in (sample, partner)]
    bare = sample.soft is None and sample.label is None  # then there is nothing to mix into
    if bare or made == [None, None]:
        return
    for case, count in zip((sample, partner), made, strict=True):
        if count is None and (case.label is None or not classes):
            raise ConfigError(
                f"{place}: one of it and the sample has class probabilities (soft), the other has "
                f"{'none' if case.label is None else 'a label alone'}; give both of them soft, or "
                "labels and MixUp its classes"
            )
    counts = [len(classes) if count is None else count for count in made]
    if counts[0] != counts[1]:
        raise ConfigError(
            f"{place} has {counts[1]} class probabilities, the sample {counts[0]}; both need the "
            "same classes"
        )


def _check_numbers(sample: Sample, partner: Sample, place: str) -> None:
    """Refuse a partner whose values the type of the sample, which the result has, cannot hold."""
    kind, other = sample.image.dtype, partner.image.dtype
    if kind.kind == "f" or np.can_cast(other, kind):
        return
    limits = np.iinfo(kind)
    known = [partner.facts.distribution(c) for c in range(len(partner.channels))]
    low, high = min(d.stat("min") for d in known), max(d.stat("max") for d in known)
    if low < limits.min or high > limits.max:
        raise ConfigError(
            f"{place} has {other} values from {low:g} to {high:g}, and the sample's {kind} ends at "
            f"{limits.min} and {limits.max}; store both in one type, or put a Normalize before the "
            "mix"
        )
