"""Contrast about the mean."""

from __future__ import annotations

import math
from typing import ClassVar

from medsataug.kernels.pointwise import stretch as kernel
from medsataug.ranges import NonNegative, Range
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform
from medsataug.values import Stat

__all__ = ["Contrast", "kernel"]


class Contrast(ValueTransform):
    """Stretch (factor > 1) or flatten (factor < 1) values about the channel's mean.

    Parameters
    ----------
    factor : range
        Of the distance from the mean.
    keep_range : bool
        Whether values stay within the channel's own least and greatest.
    scope : {"case", "output"}
        Whose mean and range: the whole case's, or those of the array as it is (a patch).

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 4 (contrast).
    """

    cases: ClassVar[Cases] = Cases(zero={"factor": 1}, full={"factor": (0.4, 0.5)})

    factor: NonNegative = Range.of((0.75, 1.25))
    keep_range: bool = True
    scope: str = "case"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the factor."""
        mean = Stat("mean", scope=self.scope)
        low, high = Stat("min", scope=self.scope), Stat("max", scope=self.scope)
        ends = (low, high) if self.keep_range else (-math.inf, math.inf)

        def draw():  # type: ignore[no-untyped-def]
            factor = draws.draw("factor", self.factor)
            return lambda _: (factor, mean, *ends) if factor != 1 else None

        return self.tile("contrast", self.for_each(draws, state, draw))
