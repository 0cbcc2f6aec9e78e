"""A box of another image."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medsataug.transforms._mixing import MixingTransform, beta
from medsataug.transforms.base import Cases, Draws, State, Step


class CutMix(MixingTransform):
    """Replace a box by the same box of another image, with its label.

    The box has the part 1 − λ of the image, its sides in proportion; it lies about a voxel drawn
    anywhere, and what reaches beyond the frame is cut off.

    Parameters
    ----------
    alpha : float
        λ is drawn from Beta(α, α); 1 draws all sizes alike.

    Source: Yun et al., "CutMix", ICCV (2019), section 3.1, equations 1 and 2; in a volume the
    sides are (1 − λ)^⅓ of its own.
    """

    cases: ClassVar[Cases] = Cases(
        zero=None, full={"alpha": 5}, why="a box is always replaced; p=0 switches it off"
    )

    alpha: Annotated[float, Field(gt=0)] = 1.0

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the box and a partner."""
        part = beta(draws, "lambda", self.alpha)
        shape = np.array(state.grid.shape)
        side = shape * (1 - part) ** (1 / state.ndim)
        centre = np.array([draws.uniform() for _ in shape]) * shape
        low = np.clip(np.rint(centre - side / 2), 0, shape)
        high = np.clip(np.rint(centre + side / 2), 0, shape)
        ends = np.stack([low, high], axis=1).astype(int)
        draws.note("box", " ".join(f"{a}:{b}" for a, b in ends.tolist()))
        return self.mix(draws, state, "cut_mix", tuple(map(float, ends.ravel())))


def kernel(label: Any, shape: tuple[int, ...], params: Any) -> NDArray[np.bool_]:
    """Return True within the box whose ends along each axis are given."""
    out = np.zeros(shape, bool)
    ends = np.array(params, dtype=int).reshape(-1, 2)
    out[tuple(slice(a, b) for a, b in ends)] = True
    return out
