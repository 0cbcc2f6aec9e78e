"""Steps that change labels, and steps that bring in another sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsataug import transforms
from medsataug.errors import GeometryError
from medsataug.types import Array, Sample
from medsataug.values import LabelStep, Mix


def changed_label(image: NDArray[np.float32], label: Array | None, step: LabelStep) -> Array | None:
    """(L, …) label as the step's function makes it, of the same dtype."""
    if label is None:
        return None
    new = transforms.function(step.function)(label, image, step.params, step.key)
    return np.ascontiguousarray(new, dtype=label.dtype)


def blended(
    image: NDArray[np.float32], label: Array | None, step: Mix, partner: Sample
) -> tuple[NDArray[np.float32], Array | None]:
    """Image and label with the partner brought in by the step's function."""
    if tuple(partner.image.shape) != image.shape:
        raise GeometryError(
            f"mix: the partner {step.partner!r} is {list(partner.image.shape)}, the sample "
            f"{list(image.shape)}; give both a Patch or Resize of one size"
        )
    theirs = partner.label
    if theirs is not None:
        theirs = np.asarray(theirs).reshape(-1, *image.shape[1:])
    values = np.array(partner.image, dtype=np.float32)
    if partner.valid is not None:
        values[np.broadcast_to(~partner.valid, values.shape)] = np.nan
    function = transforms.function(step.function)
    out: tuple[NDArray[np.float32], Array | None] = function(
        image, label, values, theirs, step.params
    )
    return out
