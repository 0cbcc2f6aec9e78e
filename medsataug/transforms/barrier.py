"""A point where voxels are made."""

from __future__ import annotations

from typing import ClassVar

from medsataug.transforms.base import Cases, Draws, State, Step, Transform
from medsataug.values import Barrier as BarrierStep


class Barrier(Transform):
    """Carry out what stands before; what a crop cut away stays away.

    Without it, neighbouring spatial transforms become one resampling, in which a rotation may
    bring back into view what a crop before it had cut off.
    """

    cases: ClassVar[Cases] = Cases(zero={}, full={}, why="it changes nothing by itself")

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        return (BarrierStep(),)
