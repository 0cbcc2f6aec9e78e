"""Coarser acquisition."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from medsataug.kernels.lowres import coarsen as kernel
from medsataug.ranges import PerAxis, Range, Spec
from medsataug.transforms._linear import is_thin
from medsataug.transforms._neighbours import NeighbourTransform, for_axes, zyx
from medsataug.transforms.base import Cases, Draws, State, Step, drawn_per_axis

__all__ = ["LowResolution", "kernel"]

ZoomOut = Annotated[PerAxis, Spec(gt=0, le=1, per_axis=True, what="part of the voxels")]


class LowResolution(NeighbourTransform):
    """Go down to fewer voxels and up again, as nnU-Net does; ``mean`` is a coarser acquisition.

    Down to round(n · scale) voxels an axis; up by linear interpolation.

    Parameters
    ----------
    scale : range, or a range for each of x, y, z
        Part of the voxels along an axis, above 0 and at most 1; axes not named keep all.
    isotropic : bool
        Whether one range gives one scale for all axes.
    in_plane : bool or "auto"
        Whether a volume keeps its slices, and becomes coarser within them (y, x) only.
        ``"auto"``, as in nnU-Net: where its longest side is more than 3 times its first one.
    method : {"nearest", "mean"}
        What a coarse voxel shows: the voxel at its centre, which lets fine detail through as
        false detail (nnU-Net's way), or the mean over its cell, as a scanner or sensor does.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 4 (simulation
    of low resolution); Knutsson and Westin, CVPR (1993) 515, for voxels without data.
    """

    cases: ClassVar[Cases] = Cases(zero={"scale": 1}, full={"scale": (0.3, 0.5)})

    scale: ZoomOut = Range.of((0.5, 1))
    isotropic: bool = True
    in_plane: bool | Literal["auto"] = False
    method: Literal["nearest", "mean"] = "nearest"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the scale for each axis."""
        shape = state.grid.shape
        thin = is_thin(shape) if self.in_plane == "auto" else self.in_plane and state.ndim == 3

        def draw() -> tuple[float, ...] | None:
            given = for_axes(self.scale, self.isotropic, draws)
            drawn = drawn_per_axis(given, draws, "scale", state.ndim, default=1.0)
            scale = np.array([v for _, v, _ in drawn])
            if thin:
                scale[0] = 1
            sizes = [max(1, round(n * s)) for n, s in zip(shape, scale.tolist(), strict=True)]
            if tuple(sizes) == shape:
                return None
            return (*zyx(np.array(sizes, np.float64), 1.0), float(self.method == "mean"))

        def halo(params: Any) -> tuple[int, ...]:
            full = zyx(np.array(shape, np.float64), 1.0)
            pairs = zip(full, params[:3], strict=True)
            return tuple(0 if n == m else math.ceil(2 * n / m) for n, m in pairs)

        return self.stencil("low_resolution", draws, state, draw, halo)
