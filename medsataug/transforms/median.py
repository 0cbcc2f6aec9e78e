"""Median of neighbours."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from medsataug.kernels.median import median as kernel
from medsataug.transforms._neighbours import NeighbourTransform
from medsataug.transforms.base import Cases, Draws, State, Step

__all__ = ["Median", "kernel"]


class Median(NeighbourTransform):
    """Smooth away specks and keep edges: each voxel becomes the median of a window around it.

    Where voxels of the window hold no data it is the median of the rest, and of an even number
    the mean of the two in the middle.

    Parameters
    ----------
    size : {1, 3, 5, 7}
        Edge of the window in voxels, square or cubic; 1 changes nothing.
    in_plane : bool
        Whether the window of a volume lies within its slice (y, x).

    Source: Huang, Yang and Tang, IEEE TASSP 27 (1979) 13; Batcher, AFIPS 32 (1968) 307, for the
    network that selects it.
    """

    cases: ClassVar[Cases] = Cases(zero={"size": 1}, full={"size": 3})

    size: Literal[1, 3, 5, 7] = 3
    in_plane: bool = False

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """State the window."""
        half = self.size // 2
        flat = self.in_plane or state.ndim == 2

        def draw() -> tuple[float, ...] | None:
            return (self.size, self.in_plane) if half else None

        def halo(params: Any) -> tuple[int, ...]:
            return (0 if flat else half, half, half)

        return self.stencil("median", draws, state, draw, halo)
