"""Shifting."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.ranges import LengthPerAxis, Range
from medsataug.transforms._linear import shown
from medsataug.transforms.base import Cases, Draws, State, Step, Transform


class Translate(Transform):
    """Move the content along the axes; positive moves it towards higher indices.

    Parameters
    ----------
    offset : range of lengths, or one for each of x, y, z
        Voxels, or a length such as ``"5mm"``.

    Source: homogeneous translation, Foley et al., Computer Graphics (1996), section 5.2.
    """

    cases: ClassVar[Cases] = Cases(zero={"offset": 0}, full={"offset": (2.3, 3.4)})

    offset: LengthPerAxis = Range.of((-5, 5))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw an offset for each axis."""
        offset = state.voxels(self.offset, draws, "offset")
        if not offset.any():
            return ()
        return (shown(state.grid, np.eye(state.ndim), "index", offset),)
