"""Rotation about the centre."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from medsataug.ranges import DegreesPerAxis, Range
from medsataug.transforms._linear import rotation, shown
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, drawn_per_axis


class Rotate(Transform):
    """Turn the content about its centre.

    In ``frame="physical"`` the turn is rigid in millimetres or metres, also where voxels are not
    cubes. Each axis draws its own angle: R = Rz · Ry · Rx. Positive follows the right-hand rule
    about the increasing axis in x, y, z; a 2D image turns about z, from +x towards +y.

    Parameters
    ----------
    degrees : range, or a range for each of x, y, z
        Angle about each axis.
    axes : str
        The axes turned about when ``degrees`` is one range; ``"z"`` keeps every slice in place.
    frame : {"physical", "index"}
        Whether the turn is rigid in true lengths, or in voxels as if they were cubes.

    Source: rotation matrices as in Shoemake, "Euler angle conversion", Graphics Gems IV (1994).
    """

    cases: ClassVar[Cases] = Cases(zero={"degrees": 0}, full={"degrees": (25, 30)})

    degrees: DegreesPerAxis = Range.of((-15, 15))
    axes: Literal["zyx", "z", "y", "x", "zy", "zx", "yx"] = "zyx"
    frame: Literal["physical", "index"] = "physical"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw an angle for each axis."""
        about = dict.fromkeys(self.axes, self.degrees)
        given = self.degrees if isinstance(self.degrees, dict) else about
        if state.ndim == 2:
            given = {"z": given.get("z", Range.of(0))}
        drawn = drawn_per_axis(given, draws, "degrees", 3, default=0.0)  # type: ignore[arg-type]
        angles = [math.radians(v) for _, v, _ in drawn]
        if not any(angles):
            return ()
        return (shown(state.grid, rotation(angles, state.ndim).T, self.frame),)
