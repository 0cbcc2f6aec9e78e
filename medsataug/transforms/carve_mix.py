"""Lesions of another image, with what surrounds them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsataug.ranges import rounded
from medsataug.transforms._mixing import (
    MixingTransform,
    are_named,
    boxes,
    named_classes,
    objects_in,
)
from medsataug.transforms.base import Cases, Draws, State, Step


class CarveMix(MixingTransform):
    """Replace a region about another image's lesions by theirs: their core, or with a rim.

    With D the signed distance to the lesions' edge, negative within, all voxels with D < λ are
    pasted with their labels. λ lies, at even odds, between −½ d and 0 or between 0 and d, where d
    is the largest depth within a lesion.

    Parameters
    ----------
    classes : list of int, optional
        Label values that are lesion; by default all but background and ignored ones.

    Source: Zhang et al., "CarveMix", MICCAI (2021), section 2.2, equations 3 to 6.
    """

    cases: ClassVar[Cases] = Cases(zero={"classes": []}, full={})
    by_label: ClassVar[bool] = True

    classes: tuple[int, ...] | None = None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw λ in depths, and a partner."""
        u = 2 * draws.uniform() - 1
        part = rounded(u / 2 if u < 0 else u)
        draws.note("lambda", f"{part:.3g} of the depth")
        size = state.grid.spacing_m
        spacing = np.ones(state.ndim) if size is None else size / size.min()
        params = (part, *spacing.tolist(), *named_classes(self.classes, state))
        return self.mix(draws, state, "carve_mix", params)


def kernel(label: Any, shape: tuple[int, ...], params: Any) -> NDArray[np.bool_]:
    """Return True where the signed distance to the partner's lesions is below λ."""
    spacing = np.array(params[1 : 1 + len(shape)])
    found, count = objects_in(are_named(label, params[1 + len(shape) :]))
    out, numbers = found > 0, range(1, count + 1)
    if not count or out.all():
        return out
    within = [
        (box, ndimage.distance_transform_edt(own, sampling=spacing))
        for box, own in boxes(found, numbers, np.ones(len(shape)))
    ]
    limit = params[0] * max(distance.max() for _, distance in within)
    if limit <= 0:
        out[...] = False
        for box, distance in within:
            out[box] |= -distance < limit
        return out
    for box, own in boxes(found, numbers, limit / spacing):  # nothing beyond is nearer than λ
        out[box] |= ndimage.distance_transform_edt(~own, sampling=spacing) < limit
    return out
