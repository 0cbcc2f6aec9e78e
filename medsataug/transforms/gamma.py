"""Gamma curve."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medsataug.kernels.jit import bits_float, float_bits
from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.power import power
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
    scope : {"case", "output"}
        Whose least and greatest value.

    Source: Poynton, Digital Video and HD (2012), chapter 27; range-preserving form as in
    Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 4.
    """

    cases: ClassVar[Cases] = Cases(zero={"exponent": 1}, full={"exponent": (1.8, 2.2)})

    exponent: Positive = Range.of((0.7, 1.5))
    invert: bool = False
    scope: Literal["case", "output"] = "case"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the exponent."""
        low, high = Stat("min", scope=self.scope), Stat("max", scope=self.scope)
        ends = (high, low) if self.invert else (low, high)

        def draw():  # type: ignore[no-untyped-def]
            exponent = draws.draw("exponent", self.exponent)
            return lambda _: (exponent, *ends) if exponent != 1 else None

        return self.tile("gamma", self.for_each(draws, state, draw))


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
        bits = float_bits(t)
        sign = bits & np.uint32(0x80000000)
        bent = float_bits(power(bits_float(np.uint32(bits ^ sign)), exponent))
        x[i] = start + span * bits_float(np.uint32(bent | sign))
