"""Grid lines that move apart and together."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.maps import SpatialMap
from medsataug.ranges import Range, Spec
from medsataug.transforms._lattice import displacement
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, sizes

Share = Annotated[Range, Spec(ge=0, le=0.33, what="share of a cell")]


class GridDistortion(Transform):
    """Stretch and squeeze the cells of a grid, each row and column of cells as a whole.

    Each axis is divided into equal cells; a cell of the result shows 1 − ``strength`` to
    1 + ``strength`` cells of the image, before all are brought to the length of the frame, whose
    edges stay. Lines stay straight. Unlike Albumentations' piecewise linear map, which has a kink
    at every grid line, the spline through the same lines is smooth. It cannot fold: up to a
    strength of 1/3 its slope is positive, since the inverse of the spline's matrix has norm 3.

    Parameters
    ----------
    cells : int or list of int
        Number of cells along (z, y, x); fewer where they would have less than 2 voxels.
    strength : range
        Share of a cell by which it grows or shrinks, at most 0.33.
    axes : str
        The axes that are distorted; ``"yx"`` keeps every slice in place.

    Source: Buslaev et al., "Albumentations", Information 11 (2020), 125, for the lines; Unser,
    IEEE Signal Processing Magazine 16 (1999), box 1, for the spline through them.
    """

    cases: ClassVar[Cases] = Cases(zero={"strength": 0}, full={"strength": (0.28, 0.3)})

    cells: int | tuple[int, ...] = 5
    strength: Share = Range.of((0, 0.3))
    axes: Literal["zyx", "yx", "zy", "zx", "z", "y", "x"] = "zyx"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the width of every row of cells."""
        shape, n = state.grid.shape, state.ndim
        wanted = sizes(self.cells, n, "GridDistortion.cells")
        if min(wanted) < 1:
            raise ConfigError(f"GridDistortion.cells: {list(wanted)}; 1 or more expected")
        strength = draws.draw("strength", self.strength)
        if strength == 0:
            return ()
        moved = [axis in self.axes for axis in "zyx"[-n:]]
        most = [max(1, m // 2) if k else 1 for m, k in zip(shape, moved, strict=True)]
        cells = [min(c, m) for c, m in zip(wanted, most, strict=True)]
        controls = np.zeros((n, *(c + 3 for c in cells)))
        for k, count in enumerate(cells):
            if count > 1:
                widths = 1 + strength * draws.uniforms(count)
                along = _controls(widths) * (shape[k] / count)
                controls[k] += np.round(along, 6).reshape([-1 if a == k else 1 for a in range(n)])
        spacing = np.array(shape) / np.array(cells)
        part = displacement(controls, np.full(n, -0.5), spacing)
        return (SpatialMap(shape, (part,)),)


def _controls(widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m + 3,) controls, in cells, of the spline that makes m cells show ``widths`` cells.

    Differences of controls are the B-spline coefficients of the slope: a cell shows the mean of
    three of them, weighted 1, 4, 1; at the ends the last is repeated.
    """
    m = len(widths)
    mean = (np.diag(np.full(m, 4.0)) + np.eye(m, k=1) + np.eye(m, k=-1)) / 6
    mean[0, 0] = mean[-1, -1] = 5 / 6
    slopes = np.linalg.solve(mean, widths * (m / widths.sum()) - 1)
    steps = np.concatenate([slopes[:1], slopes, slopes[-1:]])
    controls = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(controls - (controls[0] + 4 * controls[1] + controls[2]) / 6)
