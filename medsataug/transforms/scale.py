"""Magnification about the centre."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.ranges import PositivePerAxis, Range
from medsataug.transforms._linear import shown
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, drawn_per_axis


class Scale(Transform):
    """Enlarge (factor > 1) or shrink (factor < 1) the content about its centre.

    The array keeps its shape and voxel size; `Resize` and `Resample` change those.

    Parameters
    ----------
    factor : range, or a range for each of x, y, z
        Above 1 the content grows.
    isotropic : bool
        Whether one range gives one factor for all axes.

    Source: homogeneous scaling, Foley et al., Computer Graphics (1996), section 5.2.
    """

    cases: ClassVar[Cases] = Cases(zero={"factor": 1}, full={"factor": (1.4, 1.5)})

    factor: PositivePerAxis = Range.of((0.9, 1.1))
    isotropic: bool = True

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the factors."""
        if isinstance(self.factor, Range) and self.isotropic:
            factors = np.full(state.ndim, draws.draw("factor", self.factor))
        else:
            drawn = drawn_per_axis(self.factor, draws, "factor", state.ndim, default=1.0)
            factors = np.array([v for _, v, _ in drawn])
        if np.all(factors == 1):
            return ()
        return (shown(state.grid, np.diag(1 / factors), "index"),)
