"""Axes that trade places."""

from __future__ import annotations

import itertools
from typing import ClassVar

from medsataug.errors import GeometryError
from medsataug.transforms._linear import alike, arranged
from medsataug.transforms.base import Cases, Draws, State, Step, Transform


class Transpose(Transform):
    """Let axes trade places, exactly: voxels are moved, never interpolated.

    One of the other orders of the axes is drawn, all alike. By default only axes of equal length
    trade places, so that the shape stays; where anatomy must not be deformed
    (``geometry="moved"``) only those along which voxels measure the same. An odd exchange mirrors
    the content; paired labels are swapped by `Flip` alone.

    Parameters
    ----------
    axes : list of str or int, optional
        The axes that may trade places, as in `Flip`; by default all.
    unequal : bool
        Whether axes of different length may, so that the shape changes.

    Source: axis transposition of nnU-Net's trainer DA5 (Isensee et al., Nature Methods 18 (2021)),
    which counts the order as it was among the draws: there ``p`` is 1 − 1/k! for k axes.
    """

    cases: ClassVar[Cases] = Cases(None, {"unequal": True}, why="axes trade places or do not")

    axes: tuple[str | int, ...] | None = None
    unequal: bool = False

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw one of the other orders."""
        names = range(state.ndim) if self.axes is None else self.axes
        free = [state.grid.axis(axis) for axis in names]
        if len(set(free)) < len(free):
            raise GeometryError(f"Transpose.axes: {list(names)} names one axis of this grid twice")
        orders = [
            order
            for order in itertools.permutations(range(state.ndim))
            if all(k == order[k] or (k in free and self._fits(state, k, order[k])) for k in order)
        ][1:]
        if not orders:
            lengths = " x ".join(map(str, state.grid.shape))
            spacing = " x ".join(f"{s:.4g}" for s in state.grid.spacing)
            raise GeometryError(
                f"Transpose: of an image of {lengths} voxels of {spacing} no two axes may trade "
                "places; crop or resample it, allow other lengths with unequal=True, or other "
                "voxel sizes with geometry='exact'"
            )
        order = orders[draws.below(len(orders))] if len(orders) > 1 else orders[0]
        draws.note("order", " ".join("zyx"[-state.ndim :][k] for k in order))
        return (arranged(state.grid.shape, order),)

    def _fits(self, state: State, k: int, other: int) -> bool:
        """Whether two axes may trade places."""
        shape = state.grid.shape
        return alike(state, k, other) and (self.unequal or shape[k] == shape[other])
