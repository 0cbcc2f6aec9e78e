"""A random box, brought to a fixed size."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.maps import Affine, SpatialMap, homogeneous
from medsataug.ranges import Positive, Range
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, sizes

_TRIES = 10


class RandomResizedCrop(Transform):
    """Cut a box of random size, proportions and place, and bring it to a fixed size.

    Cut and resampling are one map: voxels are interpolated once, and the box need not end between
    voxels. A box that does not fit is drawn anew, up to ten times; then the largest one in the
    middle is taken whose proportions are allowed.

    Parameters
    ----------
    size : int or list of int
        Voxels of the result along (z, y, x).
    area : range
        Share of the image's area or volume that the box covers, at most 1.
    aspect : range
        How much the content is compressed along x compared with y; in a volume, then along z
        compared with the mean of both. At 1 the box has the proportions of ``size``. Of a square
        result it is the box's width by its height.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.
    """

    cases: ClassVar[Cases] = Cases(
        None, {"size": 9, "area": (0.3, 0.5)}, why="a part of the image, at another size"
    )

    size: int | tuple[int, ...]
    area: Positive = Range.of((0.08, 1))
    aspect: Positive = Range.of({"log_uniform": [0.75, 4 / 3]})

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the box."""
        if self.area.bounds[1] > 1:
            raise ConfigError(f"RandomResizedCrop.area: {self.area}; at most 1 expected")
        shape = np.array(state.grid.shape, dtype=np.float64)
        size = sizes(self.size, state.ndim, "RandomResizedCrop.size")
        if min(size) < 1:
            raise ConfigError(f"RandomResizedCrop.size: {list(size)}; 1 or more expected")
        out = np.array(size, dtype=np.float64)
        for _ in range(_TRIES):
            area = self.area.at(draws.uniform())
            ratios = [self.aspect.at(draws.uniform()) for _ in range(state.ndim - 1)]
            box = out * _proportions(ratios)
            box *= (area * shape.prod() / box.prod()) ** (1 / state.ndim)
            if np.all(box <= shape * (1 + 1e-9)):
                break
        else:
            low, high = self.aspect.bounds
            box = out * _proportions([min(max(r, low), high) for r in _ratios(shape / out)])
            box *= (shape / box).min()
        box = np.minimum(box, shape)
        at = np.array([draws.uniform() for _ in range(state.ndim)])
        edge = np.round(at * (shape - box), 6)  # where the box begins; the frame does at 0
        draws.note("share", f"{box.prod() / shape.prod():.4g}")
        draws.note("box", " x ".join(f"{b:.4g}" for b in box))
        draws.note("from", ", ".join(f"{e:.4g}" for e in edge))
        step = box / out
        if size == state.grid.shape and np.all(step == 1):
            return ()
        matrix = homogeneous(np.diag(step), edge + step / 2 - 0.5)
        return (SpatialMap(size, (Affine(matrix),), regrids=True),)


def _proportions(ratios: list[float]) -> NDArray[np.float64]:
    """(N,) sides with x : y the first of ``ratios`` and z : √(x·y) the second; product 1."""
    half = math.sqrt(ratios[0])
    sides = np.array([1 / half, half])
    if len(ratios) == 1:
        return sides
    sides = np.array([ratios[1], *sides])
    return np.asarray(sides / sides.prod() ** (1 / 3))


def _ratios(sides: NDArray[np.float64]) -> list[float]:
    """Return what `_proportions` makes such sides of."""
    y, x = sides[-2:].tolist()
    return [x / y] if len(sides) == 2 else [x / y, float(sides[0]) / math.sqrt(x * y)]
