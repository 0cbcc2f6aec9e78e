"""Bringing cases to one scale."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medsataug.errors import ConfigError
from medsataug.kernels.jit import kernel as compiled
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform
from medsataug.values import Stat


class Normalize(ValueTransform):
    """Rescale each channel by its own statistics; the result is float32.

    ``zscore``: mean 0 and standard deviation 1. ``minmax``: least 0 and greatest 1.
    ``percentile``: the two percentiles become 0 and 1, and what lies outside is kept there.
    A channel that does not vary becomes 0.

    Parameters
    ----------
    method : {"zscore", "minmax", "percentile"}
        To mean 0 and deviation 1; least and greatest to 0 and 1; or the percentiles to 0 and 1.
    percentiles : (float, float)
        The two of ``percentile``.
    scope : {"case", "output"}
        Whose statistics: the whole case's (a patch is normalised like its case), or those of
        the array as it is.

    Source: z-score and percentile normalisation as in Isensee et al., "nnU-Net", Nature Methods
    18 (2021), methods; Nyúl and Udupa, Magn. Reson. Med. 42 (1999), for percentiles.
    """

    cases: ClassVar[Cases] = Cases(None, {"method": "zscore"}, why="it changes the unit")
    changes_unit: ClassVar[bool] = True

    method: Literal["zscore", "minmax", "percentile"] = "zscore"
    percentiles: tuple[float, float] = (0.5, 99.5)
    scope: Literal["case", "output"] = "case"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        first, last = self.percentiles
        if not 0 <= first < last <= 100:
            raise ConfigError(
                f"Normalize.percentiles: {self.percentiles}; two rising numbers of 0 to 100 "
                "expected"
            )
        low, high, clip = {
            "zscore": ("mean", "std", 0.0),
            "minmax": ("min", "max", 0.0),
            "percentile": (f"q{first:g}", f"q{last:g}", 1.0),
        }[self.method]
        # For the z-score the second number is the divisor itself, else the upper end.
        ends = Stat(low, scope=self.scope), Stat(high, scope=self.scope)
        params = (*ends, 0.0 if self.method == "zscore" else 1.0, clip)
        return self.tile("normalize", self.for_each(draws, state, lambda: lambda _: params))


@compiled
def kernel(x, p, first, key):  # type: ignore[no-untyped-def]
    """(x − p[0]) / p[1], or / (p[1] − p[0]) where p[2]; kept in 0 … 1 where p[3]."""
    start = np.float32(p[0])
    divisor = p[1] - p[0] if p[2] else p[1]
    factor = np.float32(1.0 / divisor if divisor > 0 else 0.0)
    clip = p[3] != 0
    for i in range(x.shape[0]):
        v = (x[i] - start) * factor
        if clip:
            v = np.float32(0) if v < 0 else v
            v = np.float32(1) if v > 1 else v
        x[i] = v
