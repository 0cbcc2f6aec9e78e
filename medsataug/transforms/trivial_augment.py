"""One random transform of a random magnitude."""

from __future__ import annotations

from typing import ClassVar

from medsataug.ranges import Range
from medsataug.transforms._policies import MOST, Magnitude, PolicyTransform
from medsataug.transforms.base import Cases, Draws, State, Step


class TrivialAugment(PolicyTransform):
    """Apply one transform of any magnitude, both drawn anew each time: nothing to tune.

    Parameters
    ----------
    domain : {"medical", "multispectral", "rgb", "sar"}
        What is drawn from, as in `RandAugment`.
    m : range
        Magnitude, 0 to 10, as in `RandAugment`.
    operations : list of str, optional
        Draw from these of the domain's alone.

    Source: Müller and Hutter, "TrivialAugment", ICCV (2021), algorithm 1; here the magnitude is
    any number rather than one of 31.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"domain": "medical", "m": 0},
        full={"domain": "medical", "m": 10, "operations": ["rotate", "scale"]},
    )

    m: Magnitude = Range.of((0, MOST))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the magnitude, then which."""
        return self.apply(draws, state, 1, draws.draw("m", self.m))
