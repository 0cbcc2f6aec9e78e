"""The symmetries of the square."""

from __future__ import annotations

from typing import ClassVar, Literal

from medsataug.errors import ConfigError, GeometryError
from medsataug.transforms._linear import SQUARE, alike, square
from medsataug.transforms.base import Cases, Draws, State, Step, Transform

Element = Literal["e", "r90", "r180", "r270", "h", "v", "t", "hvt"]


class D4(Transform):
    """Turn by quarter turns and mirror, exactly: one of the square's eight symmetries.

    Voxels are moved, never interpolated. Of a frame that is no square, quarter turns exchange the
    sides. Half of the elements mirror: they swap no paired labels, which `Flip` does.

    Parameters
    ----------
    elements : list of str
        The symmetries to choose from, all alike: ``"e"`` (as it is), ``"r90"``, ``"r180"``,
        ``"r270"`` (turned as `Rot90` turns), ``"h"`` and ``"v"`` (the plane's first or second
        axis mirrored), ``"t"`` (the two axes exchanged) and ``"hvt"`` (exchanged across the other
        diagonal).
    plane : {"xy", "xz", "yz"}
        The plane of the square.

    Source: the dihedral group of order 8, Coxeter and Moser, Generators and Relations for
    Discrete Groups (1980), section 1.5.
    """

    cases: ClassVar[Cases] = Cases(zero={"elements": ["e"]}, full={"elements": ["hvt"]})

    elements: tuple[Element, ...] = ("e", "r90", "r180", "r270", "h", "v", "t", "hvt")
    plane: Literal["xy", "xz", "yz"] = "xy"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw a symmetry."""
        if not self.elements:
            raise ConfigError(f"D4.elements: an empty list; allowed: some of {', '.join(SQUARE)}")
        a, b = (state.grid.axis(axis) for axis in self.plane)
        size, known = state.grid.spacing, dict.fromkeys(self.elements)
        crossed = [e for e in known if SQUARE[e][0]]
        if crossed and not alike(state, a, b):
            raise GeometryError(
                f"D4: voxels measure {size[a]:.4g} by {size[b]:.4g} in the plane {self.plane}, so "
                f"that {', '.join(crossed)} would deform anatomy; use elements=['e', 'r180', 'h', "
                "'v'], another plane, or geometry='exact'"
            )
        element = self.elements[draws.below(len(self.elements))]
        draws.note("element", element)
        return () if element == "e" else (square(state.grid.shape, a, b, element),)
