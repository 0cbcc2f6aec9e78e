"""Cutting away what is empty."""

from __future__ import annotations

import itertools
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.maps import Affine, SpatialMap
from medsataug.ranges import NonNegativeLengthPerAxis, Range
from medsataug.transforms.base import Cases, Draws, State, Step, Transform
from medsataug.transforms.crop import window

_NEAR = 1e-6


class CropForeground(Transform):
    """Cut away what is empty: keep the box around labelled voxels, or around an image's nonzero.

    The box is that of the data as loaded. Where transforms came before, it is the smallest box
    that is sure to hold what they made of it (exact for mirrors, quarter turns, crops and scales,
    wider for turns and deformations). It never reaches beyond the frame.

    Parameters
    ----------
    by : {"label", "image"}
        Whether labels are foreground, or voxels that are not 0 in one channel at least (nodata
        never is).
    classes : list of int, optional
        The label values; by default all but 0 and ignored ones.
    layer : int, optional
        The layer of a label with several; by default all.
    margin : range of lengths, or one for each of x, y, z
        Kept around the box, in whole voxels rounded up.
    empty : {"refuse", "keep"}
        Whether a case without foreground is an error, or stays whole.

    Source: cropping to the nonzero region, Isensee et al., "nnU-Net", Nature Methods 18 (2021),
    supplementary note 2.
    """

    cases: ClassVar[Cases] = Cases(
        None, {"margin": (0, 2), "layer": 0}, why="the box around what is labelled"
    )

    by: Literal["label", "image"] = "label"
    classes: tuple[int, ...] | None = None
    layer: int | None = None
    margin: NonNegativeLengthPerAxis = Range.of(0)
    empty: Literal["refuse", "keep"] = "refuse"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Find the box; the margin alone may be drawn."""
        margin = np.ceil(state.voxels(self.margin, draws, "margin") - _NEAR)
        found = self._box(state)
        if found is None:
            draws.note("box", "none: nothing is foreground")
            return ()
        shape = np.array(state.grid.shape)
        # Edges of the box, from half a voxel before its first to half a voxel after its last.
        low, high = followed(state.path, *(found.T.astype(np.float64) - 0.5))
        start = np.maximum(np.floor(low + 0.5 + _NEAR) - margin, 0)
        stop = np.minimum(np.ceil(high + 0.5 - _NEAR) + margin, shape)
        if not np.all(start < stop):  # of NaN, too
            draws.note("box", "none: the foreground lies beyond the frame")
            return ()
        first, last = start.astype(int), stop.astype(int)
        draws.note("box", ", ".join(f"{a} to {b - 1}" for a, b in zip(first, last, strict=True)))
        size = tuple((last - first).tolist())
        return () if size == state.grid.shape else (window(size, tuple(first.tolist())),)

    def _box(self, state: State) -> NDArray[np.int64] | None:
        """(N, 2) first voxel of the foreground and one past its last."""
        if self.by == "image":
            found, what = state.facts.nonzero_box, "every voxel is 0"
        else:
            values = self.classes
            if values is None:
                values = tuple(sorted(set(state.facts.classes) - {0, *state.ignore}))
            found = state.facts.box(values, self.layer) if values else None
            named = "" if self.classes is None else f" as {', '.join(map(str, self.classes))}"
            what = f"no voxel is labelled{named}" if state.has_label else "there is no label"
        if found is None and self.empty == "refuse":
            raise ConfigError(
                f"CropForeground: {what}; give a label, name other classes, set by: image, or set "
                "empty: keep to leave such cases whole"
            )
        return found


def followed(
    path: list[SpatialMap], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of a box that holds what maps make of the content between ``low`` and ``high``.

    Matrices take the corners along; a displacement reaches no farther than its controls. NaN where
    the horizon of a perspective crosses the box.
    """
    for spatial in path:
        for part in reversed(spatial.parts):
            if isinstance(part, Affine):
                corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
                moved = Affine(np.asarray(np.linalg.inv(part.matrix)))(corners)
                low, high = moved.min(axis=0), moved.max(axis=0)
            else:
                low, high = low - part.bound, high + part.bound
    return low, high
