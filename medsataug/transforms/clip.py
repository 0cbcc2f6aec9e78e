"""Clipping."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from medsataug.errors import ConfigError
from medsataug.kernels.pointwise import limit as kernel
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform
from medsataug.values import Number, Stat

__all__ = ["Clip", "kernel"]


class Clip(ValueTransform):
    """Keep values within limits.

    Parameters
    ----------
    low, high : float, optional
        In stored units; None is no limit.
    percentiles : (float, float), optional
        Instead: limits at these percentiles of each channel over ``where``.
    scope : {"case", "output"}
        Whose percentiles: the whole case's, or those of the array as it is (a patch).

    Source: percentile clipping as in Isensee et al., "nnU-Net", Nature Methods 18 (2021),
    methods, intensity normalisation of CT.
    """

    cases: ClassVar[Cases] = Cases(zero={}, full={"percentiles": (20, 80)})

    low: float | None = None
    high: float | None = None
    percentiles: tuple[float, float] | None = None
    scope: Literal["case", "output"] = "case"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        low: Number = -math.inf if self.low is None else self.low
        high: Number = math.inf if self.high is None else self.high
        if self.percentiles is not None:
            first, last = self.percentiles
            if not 0 <= first < last <= 100:
                raise ConfigError(
                    f"Clip.percentiles: {self.percentiles}; two rising numbers of 0 to 100 expected"
                )
            low = Stat(f"q{first:g}", scope=self.scope)
            high = Stat(f"q{last:g}", scope=self.scope)
        elif self.low is None and self.high is None:
            return ()
        elif self.low is not None and self.high is not None and self.low > self.high:
            raise ConfigError(f"Clip: low {self.low:g} is above high {self.high:g}")
        return self.tile("clip", self.for_each(draws, state, lambda: lambda _: (low, high)))
