"""Whole classes of another image."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.transforms._mixing import MixingTransform, are_named, fraction, word
from medsataug.transforms.base import Cases, Draws, State, Step


class ClassMix(MixingTransform):
    """Replace what another image shows of half of its classes, with the labels.

    Half of the classes that the other image shows where it is mixed in are drawn (rounded up),
    and all their voxels pasted.

    Parameters
    ----------
    classes : list of int, optional
        Label values to draw from; by default all that are there, background too, but ignored
        values. Without background only objects are pasted.

    Source: Olsson et al., "ClassMix", WACV (2021), section 3.2 (with true labels in place of
    predicted ones).
    """

    cases: ClassVar[Cases] = Cases(zero={"classes": []}, full={})
    by_label: ClassVar[bool] = True

    classes: tuple[int, ...] | None = None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw a partner; which of its classes follows from one number once they are known."""
        listed = self.classes is not None
        values = self.classes if self.classes is not None else state.ignore
        params = (word(draws), float(listed), *map(float, values))
        return self.mix(draws, state, "class_mix", params)


def kernel(label: Any, shape: Any, params: Any) -> NDArray[np.bool_]:
    """Return True where the partner shows one of the classes drawn."""
    present = np.unique(label[0][are_named(label, params[1:])]).tolist()
    order = sorted(present, key=lambda value: fraction(params[0], value))
    return np.isin(label[0], order[: (len(order) + 1) // 2])
