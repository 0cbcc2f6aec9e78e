"""Additive normal noise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.random import add_normal
from medsataug.ranges import PositiveAmount, Range
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform, amount


class GaussianNoise(ValueTransform):
    """Add independent normal noise to every voxel.

    The value added to a voxel depends on the key and the voxel's number alone.

    Parameters
    ----------
    std : range of amounts
        Standard deviation: stored units, ``"10%"`` of the channel's standard deviation, or
        ``"0.01rho"``.

    Source: Box and Muller, Annals of Mathematical Statistics 29 (1958) 610.
    """

    cases: ClassVar[Cases] = Cases(zero={"std": 0}, full={"std": "50%"})

    std: PositiveAmount = Range.of(("0%", "10%"))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the standard deviation and the noise's key."""
        key = draws.key()

        def draw():  # type: ignore[no-untyped-def]
            value, unit = draws.draw("std", self.std), self.std.unit
            return lambda c: (amount(value, unit, c, "GaussianNoise.std"),) if value else None

        return self.tile("gaussian_noise", self.for_each(draws, state, draw), key)


@compiled
def kernel(x, p, first, key):  # type: ignore[no-untyped-def]
    """Add normal values of standard deviation ``p[0]``."""
    add_normal(key, first, np.float32(p[0]), x)
