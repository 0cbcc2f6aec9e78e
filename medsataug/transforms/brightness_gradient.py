"""A smooth bright or dark place."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from medsataug.kernels.jit import kernel as compiled
from medsataug.ranges import PositiveAmount, Range
from medsataug.transforms._local import WINDOW, LocalTransform, fill_window, mean_of
from medsataug.transforms.base import Cases, Draws, State, Step, amount


class BrightnessGradient(LocalTransform):
    """Brighten or darken one place, or one side, and fade out from there.

    y = x + strength · window, the sign drawn.

    Parameters
    ----------
    strength : range of amounts
        At the brightest or darkest place: stored units, ``"100%"`` of the channel's standard
        deviation, or ``"0.01rho"``.
    mean_centered : bool
        Whether the image's mean stays: then the place becomes brighter and the rest darker, and
        ``strength`` is the greatest change of either.

    Source: Isensee et al., nnU-Net 2, trainer "DA5" (brightness gradient); batchgeneratorsv2
    0.3.6, ``BrightnessGradientAdditiveTransform``.
    """

    cases: ClassVar[Cases] = Cases(zero={"strength": 0}, full={"strength": ("80%", "100%")})

    strength: PositiveAmount = Range.of(("0%", "100%"))
    mean_centered: bool = False

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw place, width, strength and sign."""

        def draw() -> Any:
            drawn, unit = draws.draw("strength", self.strength), self.strength.unit
            sign = 1.0 if draws.uniform() < 0.5 else -1.0
            place = "BrightnessGradient.strength"
            return lambda c: (
                (amount(sign * drawn, unit, state.channels[c], place),) if drawn else None
            )

        params = self.each(draws, state, draw)
        centred = [None if p is None else (*p, *self._centring(p[:WINDOW])) for p in params]
        return self.tile("brightness_gradient", centred)

    def _centring(self, window: Any) -> tuple[float, float]:
        """Return what is taken from the window, and what it is divided by then."""
        if not self.mean_centered:
            return 0.0, 1.0
        mean = mean_of(window)
        return mean, max(mean, 1 - mean)


@compiled
def kernel(x, p, first, key):  # type: ignore[no-untyped-def]
    """Add ``p[11]`` · (window − ``p[12]``) / ``p[13]``."""
    window = np.empty(x.shape[0], np.float32)
    fill_window(p, first, window)
    gain = np.float32(p[11] / p[13])
    mean = np.float32(p[12])
    for i in range(x.shape[0]):
        x[i] += gain * (window[i] - mean)
