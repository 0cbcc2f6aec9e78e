"""Quarter turns."""

from __future__ import annotations

from typing import ClassVar, Literal

from medsataug.errors import ConfigError, GeometryError
from medsataug.transforms._linear import alike, square
from medsataug.transforms.base import Cases, Draws, State, Step, Transform


class Rot90(Transform):
    """Turn by quarter turns, exactly: voxels are moved, never interpolated.

    One turn takes what lies along the plane's first axis towards its second: in ``"xy"``, +x
    towards +y.

    Parameters
    ----------
    turns : list of int
        Numbers of quarter turns to choose from, 0 to 3.
    plane : {"xy", "xz", "yz"}
        The plane that turns.

    Source: `numpy.rot90` for the sense of rotation, in the plane given.
    """

    cases: ClassVar[Cases] = Cases(zero={"turns": [0]}, full={"turns": [1]})

    turns: tuple[Literal[0, 1, 2, 3], ...] = (0, 1, 2, 3)
    plane: Literal["xy", "xz", "yz"] = "xy"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw how often to turn."""
        if not self.turns:
            raise ConfigError("Rot90.turns: an empty list; allowed: numbers of 0, 1, 2, 3")
        turns = self.turns[draws.below(len(self.turns))]
        draws.note("turns", str(turns))
        if turns == 0:
            return ()
        a, b = (state.grid.axis(axis) for axis in self.plane)
        size = state.grid.spacing
        if turns % 2 and not alike(state, a, b):
            raise GeometryError(
                f"Rot90: voxels measure {size[a]:.4g} by {size[b]:.4g} in the plane {self.plane}, "
                "so that a quarter turn would deform anatomy; use turns=[0, 2], another plane, "
                "Rotate, or geometry='exact'"
            )
        return (square(state.grid.shape, a, b, ("r90", "r180", "r270")[turns - 1]),)
