"""Adding a margin."""

from __future__ import annotations

from typing import ClassVar

from medsataug.errors import ConfigError
from medsataug.transforms.base import Cases, Draws, State, Step, Transform, sizes
from medsataug.transforms.crop import window


class Pad(Transform):
    """Add voxels around the image, filled as the pipeline's border and fill say.

    Parameters
    ----------
    margin : int or list of int
        Voxels before and after each of (z, y, x).
    size : int or list of int, optional
        Instead: pad evenly to at least this size.
    """

    cases: ClassVar[Cases] = Cases(zero={"margin": 0}, full={"margin": 3})

    margin: int | tuple[int, ...] = 0
    size: int | tuple[int, ...] | None = None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """No chance here."""
        shape = state.grid.shape
        if self.size is not None:
            wanted = sizes(self.size, state.ndim, "Pad.size")
            size = tuple(max(n, w) for n, w in zip(shape, wanted, strict=True))
            start = tuple(-((s - n) // 2) for n, s in zip(shape, size, strict=True))
        else:
            margin = sizes(self.margin, state.ndim, "Pad.margin")
            if min(margin) < 0:
                raise ConfigError(f"Pad.margin: {list(margin)}; 0 or more expected (Crop cuts)")
            size = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
            start = tuple(-m for m in margin)
        return () if size == shape else (window(size, start),)
