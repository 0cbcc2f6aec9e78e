"""Places where the image says nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np

from medsataug.kernels.jit import kernel as compiled
from medsataug.ranges import Range, Spec
from medsataug.transforms._channels import ChannelTransform
from medsataug.transforms.base import Cases, Draws, State, Step
from medsataug.values import Whole

Side = Annotated[Range, Spec(gt=0, le=1, what="part of the frame's side")]


class BlankRectangle(ChannelTransform):
    """Blank some boxes: each takes the mean of what it covers. Labels stay.

    Parameters
    ----------
    count : int or (int, int)
        How many boxes; of a pair, any number from the first to the second.
    size : range
        Part of the frame's side along each axis, drawn for each.

    Source: DeVries and Taylor, "Cutout", arXiv:1708.04552 (2017), section 3.2; boxes of their own
    mean as in nnU-Net 2, trainer "DA5", and batchgeneratorsv2 0.3.6, ``BlankRectangleTransform``.
    """

    cases: ClassVar[Cases] = Cases(zero={"count": 0}, full={"count": 5, "size": (0.5, 0.7)})

    count: int | tuple[int, int] = (1, 4)
    size: Side = Range.of((0.1, 1 / 3))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw which channels, then boxes."""
        params: list[tuple[float, ...] | None] = [None] * len(state.channels)
        boxes: tuple[float, ...] | None = None
        for c in self.hit(draws, state):
            if boxes is None or self.per_channel:
                boxes = self._boxes(draws, state)
            params[c] = boxes or None
        if not any(params):
            return ()
        return (Whole("blank_rectangle", tuple(params), where=self.where),)

    def _boxes(self, draws: Draws, state: State) -> tuple[float, ...]:
        """Start and end along z, y, x of each box."""
        low, high = (self.count,) * 2 if isinstance(self.count, int) else self.count
        out: list[float] = []
        for _ in range(low + draws.below(max(high - low, 0) + 1)):
            start, end = [0] * (3 - state.ndim), [1] * (3 - state.ndim)
            for n in state.grid.shape:
                size = min(max(round(self.size.at(draws.uniform()) * n), 1), n)
                start.append(draws.below(n - size + 1))
                end.append(start[-1] + size)
            out += [*map(float, start), *map(float, end)]
        draws.note("boxes", len(out) // 6)
        return tuple(out)


@compiled
def kernel(channel, p, key, out):  # type: ignore[no-untyped-def]
    """Blank boxes of ``p`` (z, y, x from, to, …) one after the other."""
    out[:] = channel
    for k in range(0, p.shape[0], 6):
        z0, y0, x0 = np.int64(p[k]), np.int64(p[k + 1]), np.int64(p[k + 2])
        z1, y1, x1 = np.int64(p[k + 3]), np.int64(p[k + 4]), np.int64(p[k + 5])
        total, count = 0.0, 0
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    v = out[z, y, x]
                    if v == v:
                        total += v
                        count += 1
        mean = np.float32(total / max(count, 1))
        for z in range(z0, z1):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if out[z, y, x] == out[z, y, x]:
                        out[z, y, x] = mean
