"""A patient who moves between slices."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.linalg import solve_banded

from medsataug.errors import ConfigError
from medsataug.maps import SpatialMap
from medsataug.ranges import NonNegativeLengthPerAxis, Range
from medsataug.transforms._lattice import displacement
from medsataug.transforms.base import Cases, Draws, Probability, State, Step, Transform


class SliceMotion(Transform):
    """Shift slices against each other within their planes, as when a patient moves between them.

    Slices of a 2D acquisition are taken one after another, or in interleaved passes; each is
    displaced as a whole, and the label with it, since it marks what is seen. Nothing moves out of
    its slice, and slices are not blended. Between slices, where points and later resampling may
    fall, a smooth curve through the shifts holds: put this after transforms that turn or scale
    along the slices, or a `Barrier` between. For volumes.

    Parameters
    ----------
    shift : range of lengths, or one for each axis in the plane
        Greatest shift along each axis of the plane; every slice draws between it and its negative.
    passes : int, optional
        Slices are acquired in so many interleaved passes (2: first the even, then the odd), and
        those of a pass move together. By default every slice moves by itself.
    share : float
        Probability that a slice, or a pass, moves.
    axis : {"z", "y", "x"}
        The axis that slices are stacked along.

    Source: motion between slices as in Rousseau et al., "Registration-based approach for
    reconstruction of high-resolution in utero fetal MR brain images", Academic Radiology 13
    (2006); exact spline interpolation of the shifts, Unser, IEEE Signal Processing Magazine 16
    (1999), box 2.
    """

    cases: ClassVar[Cases] = Cases(zero={"shift": 0}, full={"shift": (2, 2.5)}, ndims=(3,))

    shift: NonNegativeLengthPerAxis = Range.of((0, 2))
    passes: Annotated[int, Field(ge=1)] | None = None
    share: Probability = 1.0
    axis: Literal["z", "y", "x"] = "z"

    @model_validator(mode="after")
    def _in_plane(self) -> SliceMotion:
        if isinstance(self.shift, dict) and self.axis in self.shift:
            raise ValueError(
                f"shift names {self.axis}, which slices are stacked along; allowed: "
                f"{' and '.join(a for a in 'zyx' if a != self.axis)}"
            )
        return self

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the shift of every slice."""
        if state.ndim != 3:
            raise ConfigError(
                "SliceMotion: it is for volumes, and this image has one slice; use Translate"
            )
        plane = [a for a in "zyx" if a != self.axis]
        given = self.shift if isinstance(self.shift, dict) else dict.fromkeys(plane, self.shift)
        reach = state.voxels(given, draws, "shift")
        axis = "zyx".index(self.axis)
        count = state.grid.shape[axis]
        groups = count if self.passes is None else min(self.passes, count)
        # Two numbers a group, and whether it moves.
        shifts = reach[:, None] * draws.uniforms(3, groups)
        shifts[:, (draws.uniforms(groups) + 1) / 2 >= self.share] = 0
        if not shifts.any():
            return ()
        along = through(np.round(shifts, 6)[:, np.arange(count) % groups])
        cells = max(count - 1, 1)
        lattice = [4, 4, 4]
        lattice[axis] = cells + 3
        controls = np.empty((3, *lattice))
        controls[...] = along.reshape(3, *(-1 if k == axis else 1 for k in range(3)))
        shape = np.array(state.grid.shape, dtype=np.float64)
        origin, spacing = np.full(3, -0.5), shape.copy()
        origin[axis], spacing[axis] = 0.0, 1.0  # a knot on every slice
        part = displacement(np.round(controls, 6), origin, spacing)
        return (SpatialMap(state.grid.shape, (part,)),)


def through(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, m + 3) controls of the natural cubic spline through (N, m + 1) values at its knots.

    Source: Unser, IEEE Signal Processing Magazine 16 (1999), box 2, with ends without curvature.
    """
    count = values.shape[1]
    if count == 1:
        return np.repeat(values, 4, axis=1)
    bands = np.ones((3, count))
    bands[1] = 4
    # At an end without curvature the control is the value itself.
    bands[1, [0, -1]], bands[0, 1], bands[2, -2] = 6, 0, 0
    inner = solve_banded((1, 1), bands, 6 * values.T).T
    first, last = 2 * inner[:, :1] - inner[:, 1:2], 2 * inner[:, -1:] - inner[:, -2:-1]
    return np.concatenate([first, inner, last], axis=1)
