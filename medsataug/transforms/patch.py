"""Patches: where training looks."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from medsataug.errors import ConfigError
from medsataug.transforms.base import Cases, Draws, Probability, State, Step, Transform, sizes
from medsataug.transforms.crop import window


class Patch(Transform):
    """Cut a patch: anywhere, in the middle, or around a voxel of a labelled class.

    Parameters
    ----------
    size : int or list of int
        Voxels along (z, y, x).
    foreground : float
        Probability that the patch is centred on a voxel of a class: first a class is drawn among
        those present (background and ignored values apart), then one of its voxels.
    empty : {"refuse", "random"}
        Whether a case without any such voxel is an error, or is cut as ``mode`` says.
    mode : {"random", "center"}
        Where the patch lies that is cut around no class.
    pad : bool
        Whether an image smaller than the patch is filled up; else it is an error.

    Source: foreground oversampling of Isensee et al., "nnU-Net", Nature Methods 18 (2021),
    supplementary note 4.
    """

    cases: ClassVar[Cases] = Cases(None, {"size": 8}, why="a patch smaller than the image")

    size: int | tuple[int, ...]
    foreground: Probability = 0.0
    empty: Literal["refuse", "random"] = "refuse"
    mode: Literal["random", "center"] = "random"
    pad: bool = True

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw where the patch lies."""
        shape = np.asarray(state.grid.shape)
        size = np.asarray(sizes(self.size, state.ndim, "Patch.size"))
        if np.any(size < 1):
            raise ConfigError(f"Patch.size: {size.tolist()}; 1 or more expected")
        if not self.pad and np.any(size > shape):
            raise ConfigError(
                f"Patch.size: {size.tolist()} is larger than the image of {shape.tolist()}; make "
                "it smaller, or allow filling with pad=True"
            )
        room = shape - size
        at = np.array([draws.uniform() for _ in range(state.ndim)])
        start = room // 2 if self.mode == "center" else np.floor(at * (room + 1)).astype(int)
        wants = draws.uniform() < self.foreground
        which, voxel = draws.uniform(), draws.uniform()
        classes = self._classes(state) if self.foreground else []
        if wants and classes:
            chosen = classes[min(int(which * len(classes)), len(classes) - 1)]
            places = state.facts.places(chosen)
            place = places[min(int(voxel * len(places)), len(places) - 1)]
            seen = state.seen(place[None].astype(np.float64))[0]
            if np.all(np.isfinite(seen)):
                start = np.floor(seen + 0.5).astype(int) - size // 2
            draws.note("around class", str(chosen))
            if not np.all((seen > -0.5) & (seen < shape - 0.5)):
                draws.note("around class", "which lies beyond the frame")
        elif wants:
            draws.note("around class", "none is labelled")
        # Inside the frame where the patch fits; where it does not, the frame is in its middle.
        start = np.where(room >= 0, np.clip(start, 0, np.maximum(room, 0)), -(-room // 2))
        draws.note("start", str(start.tolist()))
        if np.array_equal(size, shape):
            return ()
        return (window(tuple(size.tolist()), tuple(start.tolist())),)

    def _classes(self, state: State) -> list[int]:
        """Label values a patch may be centred on; whether there are any is no matter of chance."""
        ignored = {0, *state.ignore}
        classes = sorted(c for c in state.facts.classes if c not in ignored)
        if not classes and self.empty == "refuse":
            what = "no voxel is labelled" if state.has_label else "there is no label"
            raise ConfigError(
                f"Patch.foreground: {self.foreground:g}, but {what} (background and ignored values "
                "apart); give a label with a class, set foreground to 0, or set empty: random to "
                "cut such cases anywhere"
            )
        return classes
