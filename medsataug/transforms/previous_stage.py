"""A segmentation that an earlier network made, as more channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from medsataug.errors import ConfigError
from medsataug.kernels.ball import squared_distances
from medsataug.kernels.pointwise import scale_shift as plus
from medsataug.ranges import Range, Spec
from medsataug.transforms.base import Cases, Draws, Probability, State, Step, Transform
from medsataug.types import Array
from medsataug.values import ChannelAffine, LabelStep, Tile

__all__ = ["PreviousStage", "plus"]

Voxels = Annotated[Range, Spec(ge=0, le=100, what="voxels")]
Mask = NDArray[np.bool_]
WAYS = ("grown", "shrunk", "closed", "opened")


class PreviousStage(Transform):
    """Show an earlier network's segmentation as more channels, with errors such as networks make.

    The segmentation is a second layer of the label (``np.stack([label, earlier])``) and goes with
    it through every spatial transform. Here each class becomes a channel of 0 and 1, named
    ``previous 1``, …. Before that classes grow, shrink, close or open by a ball, one after the
    other in random order, and lose one of their components: what grows takes from other classes,
    what is lost becomes background. Place it last. With `p` below 1 the channels are sometimes
    empty, and with 0 there are none.

    Parameters
    ----------
    labels : list of int
        Classes that become channels.
    layer : int
        Layer of the label that holds the segmentation; the first is 0.
    keep : bool
        Whether the layer stays in the label, too.
    morphology_p, removal_p : float
        Probability that classes change their shape, and that they lose a component.
    label_p : float
        Probability of each class to take part in either.
    radius : range
        Of the ball, in voxels, drawn for each class.
    largest : float
        Components of this part of all voxels, or more, are not lost.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 4 (cascade);
    batchgeneratorsv2 0.3.6, ``MoveSegAsOneHotToDataTransform``,
    ``ApplyRandomBinaryOperatorTransform`` and
    ``RemoveRandomConnectedComponentFromOneHotEncodingTransform``.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"labels": ()},
        full={"labels": (1, 4), "layer": 0, "keep": True, "morphology_p": 1, "removal_p": 1},
    )

    labels: tuple[int, ...]
    layer: Annotated[int, Field(ge=0)] = 1
    keep: bool = False
    morphology_p: Probability = 0.4
    removal_p: Probability = 0.2
    label_p: Probability = 0.5
    radius: Voxels = Range.of((1, 8))
    largest: Probability = 0.15

    def steps(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Return channels, whatever the chance: samples would not fit together otherwise."""
        if not self.p or not self.labels:
            return ()
        if self.layer >= state.facts.layers:
            raise ConfigError(
                f"PreviousStage.layer: {self.layer}, counted from 0, but the label has "
                f"{state.facts.layers} layer(s); give the earlier segmentation as one of them: "
                "label=np.stack([label, earlier])"
            )
        made = super().steps(draws, state)
        if not made:
            draws.note("shown", "nothing")
        place = (float(self.layer), float(self.keep))
        return (
            LabelStep("previous_stage:in_front", place, kind="layers"),
            *(made or self._channels(state)[:1]),
            LabelStep("previous_stage:put_away", place, kind="layers"),
        )

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw what happens to which classes."""
        changes = (self._reshaping(draws), self._removal(draws))
        return (*(step for step in changes if step is not None), *self._channels(state))

    def _hit(self, draws: Draws) -> list[int]:
        """Classes that take part, in random order."""
        left = [v for v in self.labels if draws.uniform() < self.label_p]
        return [left.pop(draws.below(len(left))) for _ in range(len(left))]

    def _reshaping(self, draws: Draws) -> LabelStep | None:
        if draws.uniform() >= self.morphology_p:
            return None
        params: list[float] = []
        for value in self._hit(draws):
            way, radius = draws.below(len(WAYS)), self.radius.at(draws.uniform())
            draws.note(WAYS[way], f"{value} by {radius:.3g}")
            params += [value, way, radius]
        return (
            LabelStep("previous_stage:reshaped", tuple(params), kind="layers") if params else None
        )

    def _removal(self, draws: Draws) -> LabelStep | None:
        if draws.uniform() >= self.removal_p:
            return None
        params: list[float] = []
        for value in self._hit(draws):
            draws.note("lost a component", str(value))
            params += [value, self.largest, float(f"{draws.uniform():.9f}")]
        return LabelStep("previous_stage:robbed", tuple(params), kind="layers") if params else None

    def _channels(self, state: State) -> tuple[Step, ...]:
        """Channels of 0 for the classes, then 1 where each is."""
        old, new = len(state.channels), len(self.labels)
        names = (*(c.name for c in state.channels), *(f"previous {v}" for v in self.labels))
        steps: list[Step] = [ChannelAffine(np.eye(old + new, old), np.zeros(old + new), names)]
        for k, value in enumerate(self.labels, start=old):
            params = tuple((1.0, 1.0) if c == k else None for c in range(old + new))
            steps.append(Tile("previous_stage:plus", params, where=(value,)))
        return tuple(steps)


def in_front(label: Array, image: Any, params: Sequence[float], key: int) -> Array:
    """Label with a copy of one layer before all others, where steps on values look for labels."""
    layer = int(params[0])
    if layer >= len(label):  # a step before this one took layers away
        raise ConfigError(f"PreviousStage.layer: {layer}, but {len(label)} layer(s) are left")
    return np.concatenate([label[layer : layer + 1], label])


def put_away(label: Array, image: Any, params: Sequence[float], key: int) -> Array:
    """Label without what `in_front` put there, and without the layer it was unless kept."""
    layer, keep = int(params[0]), bool(params[1])
    return label[1:] if keep else np.delete(label[1:], layer, axis=0)


def reshaped(label: Array, image: Any, params: Sequence[float], key: int) -> Array:
    """Label whose first layer's classes are changed by triples (class, number in WAYS, radius)."""
    label = label.copy()
    first = label[0]
    for value, way, radius in zip(params[::3], params[1::3], params[2::3], strict=True):
        where = first == value
        box = around(where, 2 * math.floor(radius) + 1)
        if box is None:
            continue
        part, before = first[box], where[box]
        after = CHANGES[int(way)](before, radius)
        part[before & ~after] = 0
        part[after & ~before] = value
    return label


def robbed(label: Array, image: Any, params: Sequence[float], key: int) -> Array:
    """Label without a component of the first layer's classes: (class, largest, which of them).

    Voxels that touch in any way are connected. Components are counted in the order of their
    first voxels; the last number, of 0 to 1, picks one of those that are small enough.
    """
    label = label.copy()
    first = label[0]
    for value, largest, which in zip(params[::3], params[1::3], params[2::3], strict=True):
        where = first == value
        box = around(where, 0)
        if box is None:
            continue
        number, _ = ndimage.label(where[box], np.ones((3,) * first.ndim))
        counts = np.bincount(number.reshape(-1))[1:]
        small = 1 + np.flatnonzero(counts < largest * first.size)
        if len(small):
            first[box][number == small[int(which * len(small))]] = 0
    return label


def around(where: Mask, margin: int) -> tuple[slice, ...] | None:
    """Box of a mask and of a margin around it, within the frame; None where it is empty."""
    found = ndimage.find_objects(where.view(np.uint8))
    if not found:
        return None
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, n))
        for s, n in zip(found[0], where.shape, strict=True)
    )


def grown(where: Mask, radius: float) -> Mask:
    """Voxels within ``radius`` of a mask."""
    volume = np.ascontiguousarray(where).reshape((1,) * (3 - where.ndim) + where.shape)
    rows, away = np.empty(volume.shape, np.uint16), np.empty(volume.shape, np.uint16)
    squared_distances(volume, math.floor(radius), rows, away)
    return np.asarray(away <= radius**2).reshape(where.shape)


def shrunk(where: Mask, radius: float) -> Mask:
    """Voxels of a mask farther than ``radius`` from what is not of it; the frame does not count."""
    return ~grown(~where, radius)


CHANGES = (
    grown,
    shrunk,
    lambda where, radius: shrunk(grown(where, radius), radius),
    lambda where, radius: grown(shrunk(where, radius), radius),
)
