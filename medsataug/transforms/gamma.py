"""Gamma curve."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.power import signed_power
from medsataug.kernels.vectors import wide_vectors
from medsataug.ranges import Positive, Range
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform
from medsataug.values import Stat


class Gamma(ValueTransform):
    """Bend the grey values: exponent > 1 darkens the middle, < 1 brightens it.

    y = low + (high − low) · ((x − low) / (high − low))^exponent, with the channel's least and
    greatest value as low and high. The curve goes on beyond high, and beyond low as its mirror
    image, so that nothing is clipped.

    Parameters
    ----------
    exponent : range
        1 changes nothing.
    invert : bool
        Whether the curve is applied to the negative image.
    keep_stats : bool
        Whether mean and standard deviation are afterwards brought back to what they were, as
        nnU-Net does; the least and the greatest value then change.
    scope : {"case", "output"}
        Whose least and greatest value (and mean and deviation): the whole case's, or those of the
        array as it is (a patch).

    Source: Poynton, Digital Video and HD (2012), chapter 27; range-preserving form and kept
    statistics as in Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 4.
    """

    cases: ClassVar[Cases] = Cases(zero={"exponent": 1}, full={"exponent": (1.8, 2.2)})

    exponent: Positive = Range.of((0.7, 1.5))
    invert: bool = False
    keep_stats: bool = False
    scope: Literal["case", "output"] = "case"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the exponent."""
        low, high = Stat("min", scope=self.scope), Stat("max", scope=self.scope)
        ends = (high, low) if self.invert else (low, high)

        def draw():  # type: ignore[no-untyped-def]
            exponent = draws.draw("exponent", self.exponent)
            return lambda _: (exponent, *ends) if exponent != 1 else None

        params = self.for_each(draws, state, draw)
        curve = self.tile("gamma", params)
        if not self.keep_stats:
            return curve
        mean, std = Stat("mean", scope=self.scope), Stat("std", scope=self.scope)
        both = (mean, std, replace(mean, before=True), replace(std, before=True))
        back = self.tile("gamma:restore", [None if p is None else both for p in params])
        return (*curve, *back)


@compiled
def kernel(x, p, first, key):  # type: ignore[no-untyped-def]
    """Exponent ``p[0]`` between ``p[1]`` (stays) and ``p[2]`` (stays)."""
    wide_vectors()
    exponent, start = np.float32(p[0]), np.float32(p[1])
    span = np.float32(p[2] - p[1])
    if span == 0:
        return
    inverse = np.float32(1) / span
    for i in range(x.shape[0]):
        t = (x[i] - start) * inverse
        x[i] = start + span * signed_power(t, exponent)


@compiled
def restore(x, p, first, key):  # type: ignore[no-untyped-def]
    """From mean ``p[0]`` and deviation ``p[1]`` to mean ``p[2]`` and deviation ``p[3]``."""
    now, then = np.float32(p[0]), np.float32(p[2])
    factor = np.float32(p[3] / p[1] if p[1] > 0 else 1.0)
    for i in range(x.shape[0]):
        x[i] = (x[i] - now) * factor + then
