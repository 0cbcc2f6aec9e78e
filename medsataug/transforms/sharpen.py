"""Unsharp masking."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from medsataug.kernels.blur import gaussian, reach
from medsataug.kernels.jit import kernel as compiled
from medsataug.ranges import NonNegative, Range
from medsataug.transforms._neighbours import NeighbourTransform, for_axes, zyx
from medsataug.transforms.base import Cases, Draws, State, Step
from medsataug.transforms.gaussian_blur import Sigma

__all__ = ["Sharpen", "kernel"]


class Sharpen(NeighbourTransform):
    """Sharpen, as reconstruction kernels and cameras do: add what a blur would take away.

    y = x + strength · (x − blur of x). It overshoots beside edges, below zero where they are
    dark: strengths up to 1 look natural, and `clip` after it keeps reflectance or counts in range.

    Parameters
    ----------
    strength : range
        Times the detail is added once more; 0 changes nothing.
    sigma : range of lengths, or one for each of x, y, z
        Of the blur: voxels, or a length such as ``"1mm"``; larger sharpens coarser detail.
    isotropic : bool
        Whether one range gives one sigma for all axes.

    Source: Gonzalez and Woods, Digital Image Processing (2018), section 3.6, equation 3-56
    (unsharp masking).
    """

    cases: ClassVar[Cases] = Cases(zero={"strength": 0}, full={"strength": (1.5, 2)})

    strength: NonNegative = Range.of((0, 1))
    sigma: Sigma = Range.of(1)
    isotropic: bool = True

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw strength and sigma."""

        def draw() -> tuple[float, ...] | None:
            strength = draws.draw("strength", self.strength)
            given = for_axes(self.sigma, self.isotropic, draws)
            sigma = zyx(state.voxels(given, draws, "sigma"), 0.0)
            return (*sigma, strength) if strength and any(map(reach, sigma)) else None

        def halo(params: Any) -> tuple[int, ...]:
            return tuple(map(reach, params[:3]))

        return self.stencil("sharpen", draws, state, draw, halo)


def kernel(source: Any, p: Any, z: int, y: int, out: Any) -> None:
    """Add ``p[3]`` times what a blur by ``p[:3]`` takes away."""
    gaussian(source, p, z, y, out)
    nz, ny, _ = out.shape
    near = source[z : z + nz, y : y + ny].reshape(-1)
    _overshoot(near, np.float32(p[3]), out.reshape(-1))


@compiled
def _overshoot(x, strength, out):  # type: ignore[no-untyped-def]
    """(n,) ``out``, which holds the blur of ``x``, becomes ``x`` + ``strength`` · (x − blur)."""
    for i in range(out.shape[0]):
        out[i] = x[i] + strength * (x[i] - out[i])
