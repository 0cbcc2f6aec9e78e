"""A few random transforms, all of one magnitude."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from medsataug.ranges import Range
from medsataug.transforms._policies import Magnitude, PolicyTransform
from medsataug.transforms.base import Cases, Draws, State, Step


class RandAugment(PolicyTransform):
    """Apply a few transforms, drawn anew each time, each of which shows as much as the others.

    Each is drawn from those that suit the domain, "identity" among them; geometry acts first, then
    values, blur and noise. Turns by 90° and mirrors have no strength and are none of them: put `D4`
    or `Flip` beside it. Put `Patch` before it.

    Parameters
    ----------
    domain : {"medical", "multispectral", "rgb", "sar"}
        What is drawn from.
    n : int
        How many, drawn with repetition as in the paper.
    m : range
        Magnitude, 0 to 10. Whatever is drawn, each step shows as much as a shift by 5 % of the
        image's standard deviation, measured on the bundled samples by
        ``tests/benchmarks/calibrate.py``.
    operations : list of str, optional
        Draw from these of the domain's alone.

    Source: Cubuk et al., "RandAugment", NeurIPS (2020), section 3.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"domain": "medical", "m": 0},
        full={
            "domain": "medical",
            "n": 3,
            "m": 10,
            "operations": ["brightness", "contrast", "gamma"],
        },
    )

    n: Annotated[int, Field(ge=0, le=20)] = 2
    m: Magnitude = Range.of(5)

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the magnitude, then which."""
        return self.apply(draws, state, self.n, draws.draw("m", self.m))
