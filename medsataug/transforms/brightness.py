"""Additive brightness."""

from __future__ import annotations

from typing import ClassVar

from medsataug.kernels.pointwise import scale_shift as kernel
from medsataug.ranges import Amount, Range
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform, amount

__all__ = ["Brightness", "kernel"]


class Brightness(ValueTransform):
    """Add a constant.

    Parameters
    ----------
    offset : range of amounts
        Stored units, ``"10%"`` of the channel's standard deviation, or ``"0.01rho"``.

    Source: Gonzalez and Woods, Digital Image Processing, section 3.2 (grey-level shift).
    """

    cases: ClassVar[Cases] = Cases(zero={"offset": 0}, full={"offset": ("40%", "50%")})

    offset: Amount = Range.of(("-10%", "10%"))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the offset."""

        def draw():  # type: ignore[no-untyped-def]
            value = draws.draw("offset", self.offset)
            unit = self.offset.unit
            return lambda c: (1.0, amount(value, unit, c, "Brightness.offset")) if value else None

        return self.tile("brightness", self.for_each(draws, state, draw))
