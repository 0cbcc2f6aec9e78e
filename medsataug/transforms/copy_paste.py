"""Objects of another image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from medsataug.ranges import Length, LengthPerAxis, Range
from medsataug.transforms._mixing import (
    MixingTransform,
    are_named,
    boxes,
    fraction,
    named_classes,
    objects_in,
    word,
)
from medsataug.transforms.base import Cases, Draws, Probability, State, Step
from medsataug.transforms.translate import Translate

#: Standard deviations beyond which the edge of an object is no longer softened.
REACH = 4


class CopyPaste(MixingTransform):
    """Paste labelled objects of another image, with their label, over what is there.

    An object is what hangs together of the listed classes, corners counting; a tumour whose parts
    are classes of their own stays whole. It keeps the place it has in its own image, or moves.

    Parameters
    ----------
    classes : list of int, optional
        Label values that objects are made of; by default all but background and ignored ones.
    objects : float
        Chance of each object to be pasted; one always is.
    shift : range of lengths, or one for each of x, y, z
        How far the other image is moved before, in voxels or a length such as ``"5mm"``.
    edge : range of lengths
        Softens edges: the object's share rises across its edge like a step that was blurred with
        this standard deviation, one half on the edge itself. The label stays sharp.

    Source: Ghiasi et al., "Simple copy-paste", CVPR (2021), section 3 (objects drawn from a
    second image, its jitter, blended edges).
    """

    cases: ClassVar[Cases] = Cases(zero={"classes": []}, full={"objects": 1, "edge": 0.5})
    by_label: ClassVar[bool] = True

    classes: tuple[int, ...] | None = None
    objects: Probability = 0.5
    shift: LengthPerAxis = Range.of(0)
    edge: Length = Range.of(0)

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the softness and a partner; which objects follows from one number."""
        edge = Range("fixed", (self.edge.at(draws.uniform()),), self.edge.unit)
        sigma = state.voxels(edge, draws, "edge")
        params = (
            word(draws), float(self.objects), *map(float, sigma),
            *named_classes(self.classes, state),
        )  # fmt: skip
        moved = (("CopyPaste.shift", Translate(offset=self.shift)),)
        return self.mix(draws, state, "copy_paste", params, then=moved)


def kernel(label: Any, shape: tuple[int, ...], params: Any) -> NDArray[Any]:
    """Return the share of the partner's objects that are drawn."""
    sigma, values = np.array(params[2 : 2 + len(shape)]), params[2 + len(shape) :]
    found, count = objects_in(are_named(label, values))
    if not count:
        return np.zeros(shape, bool)
    luck = {number: fraction(params[0], number) for number in range(1, count + 1)}
    chosen = [n for n in luck if luck[n] < params[1]] or [min(luck, key=luck.__getitem__)]
    return _softened(found, chosen, sigma) if sigma.all() else np.isin(found, chosen)


def _softened(
    found: NDArray[np.int32], chosen: Sequence[int], sigma: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Share that rises from 0 to 1 across edges, and passes one half on them.

    An edge runs half-way between two voxels. Blurring the mask itself would leave small objects
    less than one half, and so without their label.
    """
    out, step = np.zeros(found.shape, np.float32), 1 / sigma
    half = step.min() / 2
    for box, near in boxes(found, chosen, REACH * sigma + 1):
        if near.all():
            out[box] = 1
            continue
        inside = ndimage.distance_transform_edt(near, sampling=step) - half
        outside = ndimage.distance_transform_edt(~near, sampling=step) - half
        away = np.where(near, inside, -outside)
        np.maximum(out[box], np.where(away < -REACH, 0, special.ndtr(away)), out=out[box])
    return out
