"""Shearing about the centre."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medsataug.errors import ConfigError
from medsataug.ranges import Degrees, Range
from medsataug.transforms._linear import shown
from medsataug.transforms.base import Cases, Draws, State, Step, Transform


class Shear(Transform):
    """Slant the content: planes slide along an axis in proportion to their distance.

    Parameters
    ----------
    degrees : range
        Angle by which an axis slants; drawn for each pair. Between −80 and 80.
    pairs : list of str
        ``"xy"`` slides along x with growing y. By default every pair in order x, y, z.
    frame : {"physical", "index"}
        Whether angles are those in true lengths, or in voxels as if they were cubes.

    Source: homogeneous shearing, Foley et al., Computer Graphics (1996), section 5.2.
    """

    cases: ClassVar[Cases] = Cases(zero={"degrees": 0}, full={"degrees": (20, 25)})

    degrees: Degrees = Range.of((-5, 5))
    pairs: tuple[Literal["xy", "yx", "xz", "zx", "yz", "zy"], ...] | None = None
    frame: Literal["physical", "index"] = "physical"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw an angle for each pair."""
        names = "zyx"[-state.ndim :]
        content = np.eye(state.ndim)
        for pair in self.pairs or ("xy", "xz", "yz")[: 1 if state.ndim == 2 else 3]:
            if not set(pair) <= set(names):
                raise ConfigError(f"Shear.pairs: {pair!r} is not in a {state.ndim}D image")
            angle = draws.draw(f"degrees {pair}", self.degrees)
            if abs(angle) > 80:
                raise ConfigError(f"Shear.degrees: {angle:g}; allowed: -80 to 80")
            slide = np.eye(state.ndim)
            slide[names.index(pair[0]), names.index(pair[1])] = np.tan(np.radians(angle))
            content = slide @ content
        if np.array_equal(content, np.eye(state.ndim)):
            return ()
        return (shown(state.grid, np.asarray(np.linalg.inv(content)), self.frame),)
