"""Gaussian blur."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from medsataug.kernels.blur import gaussian as kernel
from medsataug.kernels.blur import reach
from medsataug.ranges import METRES, PerAxis, Range, Spec
from medsataug.transforms._neighbours import NeighbourTransform, for_axes, zyx
from medsataug.transforms.base import Cases, Draws, State, Step

__all__ = ["GaussianBlur", "kernel"]

Sigma = Annotated[
    PerAxis, Spec(tuple(METRES), ge=0, per_axis=True, what="voxels, or a length with unit")
]


class GaussianBlur(NeighbourTransform):
    """Blur, as a wider point spread of the scanner or sensor does.

    The kernel ends at 3.9 σ, half a voxel rounded up: less than 1e-4 of its weight is left out.

    Parameters
    ----------
    sigma : range of lengths, or one for each of x, y, z
        Standard deviation of the kernel: voxels, or a length such as ``"1mm"``; axes not named
        stay sharp.
    isotropic : bool
        Whether one range gives one sigma for all axes.

    Source: Gonzalez and Woods, Digital Image Processing (2018), section 3.5, equation 3-45;
    Knutsson and Westin, CVPR (1993) 515, for voxels without data.
    """

    cases: ClassVar[Cases] = Cases(zero={"sigma": 0}, full={"sigma": (1.5, 2)})

    sigma: Sigma = Range.of((0.5, 1))
    isotropic: bool = True

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw sigma for each axis."""

        def draw() -> tuple[float, ...] | None:
            given = for_axes(self.sigma, self.isotropic, draws)
            sigma = zyx(state.voxels(given, draws, "sigma"), 0.0)
            return sigma if any(map(reach, sigma)) else None

        def halo(params: Any) -> tuple[int, ...]:
            return tuple(map(reach, params))

        return self.stencil("gaussian_blur", draws, state, draw, halo)
