"""The classical random elastic field of document recognition."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medsataug.draws import Draws
from medsataug.errors import ConfigError
from medsataug.maps import SpatialMap
from medsataug.ranges import NonNegative, Range
from medsataug.transforms._lattice import displacement, layout
from medsataug.transforms.base import Cases, State, Step, Transform


class SimardElastic(Transform):
    """Bend the content by smoothed white noise, as in Simard's paper.

    It may fold; the plan reports its smallest Jacobian determinant.

    A field of uniform noise in (−1, 1) convolved with a Gaussian of standard deviation ``sigma``
    and multiplied by ``alpha``: its root mean square is α · √(1/3) · (2 σ √π)^(−N/2) along each
    axis, its correlation exp(−d² / 4σ²). Both are reproduced by a B-spline lattice of spacing
    about σ whose controls are smoothed by what the spline itself lacks. For a displacement you
    can read, use `Elastic`.

    Parameters
    ----------
    alpha : range
        Voxels.
    sigma : range
        Voxels, at least 2.

    Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks
    applied to visual document analysis", ICDAR 2003, section 2.
    """

    cases: ClassVar[Cases] = Cases(zero={"alpha": 0}, full={"alpha": 120, "sigma": 4})

    alpha: NonNegative = Range.of(34)
    sigma: NonNegative = Range.of(4)

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw white noise on the lattice and smooth it."""
        alpha = draws.draw("alpha", self.alpha)
        sigma = draws.draw("sigma", self.sigma)
        n = state.ndim
        if sigma < 2:
            raise ConfigError(f"SimardElastic.sigma: {sigma:g}; at least 2 voxels expected")
        if alpha == 0:
            return ()
        cells, origin, spacing = layout(state.grid.shape, np.full(n, sigma))
        # A cubic B-spline smooths by a variance of spacing² / 3; the controls by the rest.
        rest = np.sqrt(np.maximum(sigma**2 - spacing**2 / 3, 0)) / spacing
        reach = np.ceil(4 * rest).astype(int)
        noise = draws.uniforms(n, *(c + 3 + 2 * r for c, r in zip(cells, reach, strict=True)))
        smooth = np.stack([gaussian_filter(axis, rest, mode="wrap", truncate=4) for axis in noise])
        inside = tuple(slice(r, r + c + 3) for c, r in zip(cells, reach, strict=True))
        wanted = alpha * np.sqrt(1 / 3) * (2 * sigma * np.sqrt(np.pi)) ** (-n / 2)
        controls = np.round(smooth[(slice(None), *inside)] * (wanted / _rms(rest)), 6)
        part = displacement(controls, origin, spacing)
        return (SpatialMap(state.grid.shape, (part,)),)


def _rms(rest: NDArray[np.float64]) -> float:
    """Root mean square of the spline of uniform noise smoothed by ``rest`` lattice units."""
    total = 1.0 / 3
    for r in rest:
        half = int(4 * r + 0.5)
        taps = np.exp(-0.5 * (np.arange(-half, half + 1) / max(r, 1e-9)) ** 2)
        taps /= taps.sum()
        # Mean over a cell of (Σ taps · B-spline)²: the autocorrelation of the taps weighed by
        # the autocorrelation of the cubic B-spline (a B-spline of order 7 at the integers).
        septic = np.array([1, 120, 1191, 2416, 1191, 120, 1]) / 5040
        auto = np.correlate(np.pad(taps, 3), np.pad(taps, 3), "full")
        middle = len(auto) // 2
        total *= float(auto[middle - 3 : middle + 4] @ septic)
    return float(np.sqrt(total))
