"""What transforms share whose voxels depend on their neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medsataug.draws import Draws
from medsataug.ranges import PerAxis, Range
from medsataug.transforms._channels import ChannelTransform
from medsataug.transforms.base import State
from medsataug.values import Number, Stencil


class NeighbourTransform(ChannelTransform):
    """Base of transforms that make a voxel of its neighbours.

    Beyond the border the image goes on as its mirror image (half-sample symmetric). Voxels
    without data stay as they are, and count nowhere. Statistics of the case know nothing of what
    neighbours do: after such a step take ``scope: output``.
    """

    def stencil(
        self,
        kernel: str,
        draws: Draws,
        state: State,
        draw: Callable[[], tuple[Number, ...] | None],
        reach: Callable[[tuple[Number, ...]], tuple[int, ...]],
    ) -> tuple[Stencil, ...]:
        """Return a `Stencil` of what is drawn for each channel, or none where nothing changes.

        ``draw`` gives a channel's parameters, or None; ``reach`` how far they reach along z, y, x.
        """
        hit = self.hit(draws, state)
        params: list[tuple[Number, ...] | None] = [None] * len(state.channels)
        for number, c in enumerate(hit):
            params[c] = draw() if self.per_channel or not number else params[hit[0]]
        halos = [reach(p) for p in params if p is not None]
        if not halos:
            return ()
        halo = tuple(max(along) for along in zip(*halos, strict=True))
        return (Stencil(kernel, tuple(params), halo, self.where),)


def for_axes(given: PerAxis, isotropic: bool, draws: Draws) -> PerAxis:
    """Draw one number for all axes where ``isotropic`` and one range is given."""
    if isotropic and isinstance(given, Range):
        return Range("fixed", (given.at(draws.uniform()),), given.unit)
    return given


def zyx(values: NDArray[np.float64], missing: float) -> tuple[float, ...]:
    """Three numbers for z, y, x; an image has no z."""
    return tuple([missing] * (3 - len(values)) + values.tolist())
