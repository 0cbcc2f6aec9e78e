"""A plane seen from aside."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.maps import Affine, SpatialMap, homogeneous
from medsataug.ranges import Range, Spec, rounded
from medsataug.transforms.base import Cases, Draws, State, Step, Transform

Share = Annotated[Range, Spec(ge=0, le=0.24, what="share of a side")]
#: Corners of the unit square, in the order of the formula.
_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))


class Perspective(Transform):
    """Tilt the image plane, so that parallels meet: a 2D image seen from aside.

    Each corner of the frame shows another place, along each axis up to ``corners`` of that side
    away. Below a quarter the four places always form a convex quadrilateral, so that the horizon
    is never in the frame; what a later transform takes in from behind it is filled. No affine
    matrix describes the result: it is recorded as a deformation is, and rasters get control
    points. For 2D images.

    Parameters
    ----------
    corners : range
        Share of a side by which a corner may move, at most 0.24.

    Source: Heckbert, Fundamentals of Texture Mapping and Image Warping (1989), section 2.2.3.
    """

    cases: ClassVar[Cases] = Cases(zero={"corners": 0}, full={"corners": 0.15}, ndims=(2,))

    corners: Share = Range.of((0, 0.1))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw where the corners of the frame look."""
        if state.ndim != 2:
            raise ConfigError(
                "Perspective: it is for 2D images, and this is a volume; use Affine or Elastic"
            )
        reach = draws.draw("corners", self.corners)
        away = [[rounded(reach * (2 * draws.uniform() - 1)) for _ in "yx"] for _ in _CORNERS]
        if reach == 0:
            return ()
        seen = [(y + dy, x + dx) for (y, x), (dy, dx) in zip(_CORNERS, away, strict=True)]
        shape = np.array(state.grid.shape, dtype=np.float64)
        into = homogeneous(np.diag(1 / shape), 0.5 / shape)  # outer edges at 0 and 1
        back = homogeneous(np.diag(shape), -0.5)
        return (SpatialMap(state.grid.shape, (Affine(back @ quadrilateral(seen) @ into),)),)


def quadrilateral(corners: list[tuple[float, float]]) -> NDArray[np.float64]:
    """(3, 3) matrix that takes the unit square's corners, in turn, to ``corners`` (y, x).

    The homogeneous coordinate is 1 at the first, and positive in the square where the
    quadrilateral is convex. Source: Heckbert (1989), section 2.2.3.
    """
    p0, p1, p2, p3 = corners
    a, b = (p1[0] - p2[0], p1[1] - p2[1]), (p3[0] - p2[0], p3[1] - p2[1])
    s = (p0[0] - p1[0] + p2[0] - p3[0], p0[1] - p1[1] + p2[1] - p3[1])
    det = a[0] * b[1] - b[0] * a[1]
    along_x = (s[0] * b[1] - b[0] * s[1]) / det
    along_y = (a[0] * s[1] - s[0] * a[1]) / det
    rows = [
        [p3[k] - p0[k] + along_y * p3[k], p1[k] - p0[k] + along_x * p1[k], p0[k]] for k in range(2)
    ]
    return np.array([*rows, [along_y, along_x, 1.0]])
