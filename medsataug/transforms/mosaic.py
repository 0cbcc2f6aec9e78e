"""Four images in one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.ranges import Range, Spec
from medsataug.transforms._mixing import MixingTransform
from medsataug.transforms.base import Cases, Draws, State, Step

Part = Annotated[Range, Spec(ge=0, le=1, what="part of the side")]


class Mosaic(MixingTransform):
    """Put four images together, a quarter of each, around a point; volumes slice by slice alike.

    Every quarter shows its image where it lies in it; three are of other images.

    Parameters
    ----------
    centre : range
        Where the quarters meet along y and along x, as a part of the side.

    Source: Bochkovskiy, Wang, Liao, "YOLOv4", arXiv:2004.10934 (2020), section 3.3 (without
    its change of scale, for which transforms stand before).
    """

    cases: ClassVar[Cases] = Cases(
        zero=None, full={"centre": (0.3, 0.7)}, why="four images are always put together"
    )

    centre: Part = Range.of((0.25, 0.75))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw where they meet, which quarter stays, and three partners."""
        sides = state.grid.shape[-2:]
        y, x = (round(n * draws.draw("centre", self.centre)) for n in sides)
        stays = draws.below(4)
        draws.note("stays", ("upper left", "upper right", "lower left", "lower right")[stays])
        steps: tuple[Step, ...] = ()
        for number in range(3):
            quarter = float(number + (number >= stays))
            steps += self.mix(draws, state, "mosaic", (quarter, float(y), float(x)), number)
        return steps


def kernel(label: Any, shape: tuple[int, ...], params: Any) -> NDArray[np.bool_]:
    """Return True in one of the four quarters about row y and column x."""
    quarter, y, x = map(int, params)
    out = np.zeros(shape, bool)
    rows = slice(y, None) if quarter >= 2 else slice(0, y)
    columns = slice(x, None) if quarter % 2 else slice(0, x)
    out[..., rows, columns] = True
    return out
