"""A gamma curve in one place."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.power import signed_power
from medsataug.ranges import Positive, Range
from medsataug.transforms._local import LocalTransform, fill_window
from medsataug.transforms.base import Cases, Draws, State, Step
from medsataug.values import Stat


class LocalGamma(LocalTransform):
    """Bend the grey values in one place, or at one side, and leave them as they are elsewhere.

    With t = (x − low) / (high − low): t' = (1 − window) · t + window · t^exponent. Low and high
    are the channel's least and greatest value; beyond them the curve goes on as in `Gamma`.

    Parameters
    ----------
    exponent : range
        Where the window is 1; 1 changes nothing.
    scope : {"case", "output"}
        Whose least and greatest value.

    Source: Isensee et al., nnU-Net 2, trainer "DA5" (local gamma); batchgeneratorsv2 0.3.6,
    ``LocalGammaTransform``.
    """

    cases: ClassVar[Cases] = Cases(zero={"exponent": 1}, full={"exponent": (2.5, 3)})

    exponent: Positive = Range.of((0.5, 2))
    scope: Literal["case", "output"] = "case"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw place, width and exponent."""
        ends = Stat("min", scope=self.scope), Stat("max", scope=self.scope)

        def draw() -> Any:
            exponent = draws.draw("exponent", self.exponent)
            return lambda _: (exponent, *ends) if exponent != 1 else None

        return self.tile("local_gamma", self.each(draws, state, draw))


@compiled
def kernel(x, p, first, key):  # type: ignore[no-untyped-def]
    """Exponent ``p[11]`` between ``p[12]`` and ``p[13]``."""
    exponent, start, span = np.float32(p[11]), np.float32(p[12]), np.float32(p[13] - p[12])
    if span == 0:
        return
    window = np.empty(x.shape[0], np.float32)
    fill_window(p, first, window)
    inverse = np.float32(1) / span
    for i in range(x.shape[0]):
        t = (x[i] - start) * inverse
        x[i] += span * window[i] * (signed_power(t, exponent) - t)
