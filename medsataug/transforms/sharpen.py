"""Unsharp masking."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from medsataug.kernels.blur import gaussian, reach
from medsataug.kernels.jit import inline
from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.pointwise import limit
from medsataug.ranges import NonNegative, Range
from medsataug.transforms._neighbours import NeighbourTransform, for_axes, zyx
from medsataug.transforms.base import Cases, Draws, State, Step
from medsataug.transforms.gaussian_blur import Sigma
from medsataug.values import Stat, Tile

__all__ = ["Sharpen", "kernel", "limit"]


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
    method : {"gaussian", "laplacian"}
        What a blur takes away, or how far a voxel is above its nearest neighbours, summed up over
        them (nnU-Net's way; no ``sigma`` then, and far stronger).
    keep_range : bool
        Whether values stay within the channel's least and greatest of before, as in nnU-Net.

    Source: Gonzalez and Woods, Digital Image Processing (2018), section 3.6, equations 3-56
    (unsharp masking) and 3-54 (Laplacian).
    """

    cases: ClassVar[Cases] = Cases(zero={"strength": 0}, full={"strength": (1.5, 2)})

    strength: NonNegative = Range.of((0, 1))
    sigma: Sigma = Range.of(1)
    isotropic: bool = True
    method: Literal["gaussian", "laplacian"] = "gaussian"
    keep_range: bool = False

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw strength and sigma."""

        def draw() -> tuple[float, ...] | None:
            strength = draws.draw("strength", self.strength)
            if self.method == "laplacian":
                return (strength,) if strength else None
            given = for_axes(self.sigma, self.isotropic, draws)
            sigma = zyx(state.voxels(given, draws, "sigma"), 0.0)
            return (*sigma, strength) if strength and any(map(reach, sigma)) else None

        def halo(params: Any) -> tuple[int, ...]:
            return tuple(map(reach, params[:3])) if len(params) > 1 else (1, 1, 1)

        name = "sharpen" if self.method == "gaussian" else "sharpen:laplacian"
        made = self.stencil(name, draws, state, draw, halo)
        if made and self.keep_range:
            ends = tuple(Stat(n, scope="output", before=True) for n in ("min", "max"))
            params = tuple(None if p is None else ends for p in made[0].params)
            return (*made, Tile("sharpen:limit", params, where=self.where))
        return made


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


@compiled
def laplacian(source, p, z, y, out):  # type: ignore[no-untyped-def]
    """Add ``p[0]`` times the sum of what a voxel is above each of its neighbours."""
    nz, ny, nx = source.shape
    strength = np.float32(p[0])
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            k, m = z + i, y + j
            line, into = source[k, m], out[i, j]
            back, front = source[max(k - 1, 0), m], source[min(k + 1, nz - 1), m]
            above, below = source[k, max(m - 1, 0)], source[k, min(m + 1, ny - 1)]
            for x in range(nx):
                v = line[x]
                more = _rise(v, back[x]) + _rise(v, front[x])
                into[x] = more + (_rise(v, above[x]) + _rise(v, below[x]))
            for x in range(nx - 1):
                into[x] += _rise(line[x], line[x + 1])
            for x in range(1, nx):
                into[x] += _rise(line[x], line[x - 1])
            for x in range(nx):
                into[x] = line[x] + strength * into[x]


@inline
def _rise(v, other):  # type: ignore[no-untyped-def]
    """How far ``v`` is above its neighbour; 0 where either holds no data."""
    rise = v - other
    return rise if rise == rise else np.float32(0)
