"""What transforms share that act in one place of the image, and fade out around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from medsataug.kernels.jit import inline
from medsataug.ranges import Range, Spec
from medsataug.transforms._channels import ChannelTransform
from medsataug.transforms.base import Draws, State
from medsataug.values import Number

Share = Annotated[Range, Spec(gt=0, what="part of the frame's side")]
Place = Annotated[Range, Spec(what="part of the frame's side")]
#: Numbers that describe a window: frame, centre and width along z, y, x, least value and span.
WINDOW = 11


class LocalTransform(ChannelTransform):
    """Base of transforms whose strength is a Gaussian of the position.

    The window is 1 where the Gaussian is greatest in the frame and 0 where it is least.

    Parameters
    ----------
    width : range
        Standard deviation along each axis, drawn for each, as part of the frame's side.
    centre : range
        Along each axis, drawn for each, as part of the frame's side; below 0 and above 1 it lies
        outside, and the image is shaded from there.
    """

    width: Share = Range("log_uniform", (1 / 6, 1.0))
    centre: Place = Range.of((-0.5, 1.5))

    def each(
        self,
        draws: Draws,
        state: State,
        draw: Callable[[], Callable[[int], tuple[Number, ...] | None]],
    ) -> list[tuple[Number, ...] | None]:
        """Parameters of each channel that is hit: a window, then what is drawn."""
        out: list[tuple[Number, ...] | None] = [None] * len(state.channels)
        drawn: tuple[tuple[float, ...], Callable[[int], tuple[Number, ...] | None]] | None = None
        for c in self.hit(draws, state):
            if drawn is None or self.per_channel:
                drawn = self._window(draws, state), draw()
            more = drawn[1](c)
            out[c] = None if more is None else (*drawn[0], *more)
        return out

    def _window(self, draws: Draws, state: State) -> tuple[float, ...]:
        frame = (1,) * (3 - state.ndim) + state.grid.shape
        centres, widths, lines = [0.0] * 3, [0.0] * 3, [np.ones(1)] * 3
        for k in range(3 - state.ndim, 3):
            centres[k] = draws.draw("centre", self.centre) * frame[k]
            widths[k] = max(draws.draw("width", self.width) * frame[k], 0.5)
            lines[k] = profile(frame[k], centres[k], widths[k])
        low = math.prod(float(line.min()) for line in lines)
        high = math.prod(float(line.max()) for line in lines)
        return (*map(float, frame), *centres, *widths, low, max(high - low, 1e-8))


def profile(n: int, centre: float, width: float) -> NDArray[np.float64]:
    """(n,) share of a normal distribution that lies in each voxel along an axis."""
    edges = (np.arange(n + 1) - 0.5 - centre) / width
    # From the side on which numbers are small, where differences keep their digits.
    edges = np.where(edges[:-1].mean() > 0, -edges, edges)
    return np.asarray(np.abs(np.diff(ndtr(edges))))


def mean_of(window: Sequence[float]) -> float:
    """Mean of a window over its frame."""
    frame, centres, widths, (low, span) = window[:3], window[3:6], window[6:9], window[9:11]
    lines = zip(frame, centres, widths, strict=True)
    whole = math.prod(float(profile(int(n), c, w).mean()) if w else 1.0 for n, c, w in lines)
    return (whole - low) / span


@inline
def share(i, centre, width):  # type: ignore[no-untyped-def]
    """`profile` of one voxel; 1 along an axis that is not there."""
    if width == 0:
        return 1.0
    a, b = (i - 0.5 - centre) / width, (i + 0.5 - centre) / width
    if a + b > 0:
        a, b = -b, -a
    return 0.5 * (math.erfc(-b * 0.7071067811865476) - math.erfc(-a * 0.7071067811865476))


@inline
def fill_window(p, first, out):  # type: ignore[no-untyped-def]
    """(n,) window at the voxels from number ``first`` on, rows one after the other."""
    ny, nx = np.int64(p[1]), np.int64(p[2])
    size = np.int64(p[0]) * ny * nx
    along = np.empty(nx)
    for x in range(nx):
        along[x] = share(x, p[5], p[8])
    at, done = np.int64(first) % size, np.int64(0)
    while done < out.shape[0]:
        row, x0 = at // nx, at % nx
        count = min(nx - x0, out.shape[0] - done)
        across = share(row // ny, p[3], p[6]) * share(row % ny, p[4], p[7])
        part, line = out[done : done + count], along[x0 : x0 + count]
        for k in range(count):
            part[k] = np.float32((across * line[k] - p[9]) / p[10])
        at, done = at + count, done + count
