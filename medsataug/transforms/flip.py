"""Mirroring."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import field_validator

from medsataug.errors import ConfigError, GeometryError
from medsataug.transforms._linear import arranged
from medsataug.transforms.base import Cases, Draws, Probability, State, Step, Transform
from medsataug.types import Array
from medsataug.values import LabelStep


class Flip(Transform):
    """Mirror the content along axes; each axis with probability ``p`` of its own.

    Parameters
    ----------
    axes : str, int or list
        Array axes (``"x"``, ``"y"``, ``"z"``, or numbers from 0) or anatomical ones
        (``"left-right"``, ``"anterior-posterior"``, ``"superior-inferior"``), which need a file
        that states its orientation.
    swap : dict, optional
        Pairs of label values that trade places when left and right do, such as ``{1: 2}``.
        Refused where ``geometry="exact"``: there the affine is mirrored and anatomy is not.

    Source: reflection, Foley et al., Computer Graphics (1996), section 5.2.
    """

    cases: ClassVar[Cases] = Cases(zero={"p": 0, "axes": "x"}, full={"p": 1, "axes": ["x", "y"]})

    p: Probability = 0.5
    axes: str | int | tuple[str | int, ...] = "left-right"
    swap: dict[int, int] | None = None

    @field_validator("swap")
    @classmethod
    def _pairs(cls, given: dict[int, int] | None) -> dict[int, int] | None:
        values = [v for pair in (given or {}).items() for v in pair]
        if len(set(values)) < len(values):
            raise ValueError(
                f"{given}: each label value may stand in one pair only, as in {{1: 2}}"
            )
        return given

    def steps(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw for each axis by itself whether it is mirrored."""
        axes = (self.axes,) if isinstance(self.axes, (str, int)) else self.axes
        chosen = [axis for axis in axes if draws.uniform() < self.p]
        numbers = [state.grid.axis(axis) for axis in axes]
        flipped = [state.grid.axis(axis) for axis in chosen]
        if len(set(numbers)) < len(numbers):
            raise GeometryError(f"Flip.axes: {list(axes)} names one axis of this grid twice")
        if self.swap and state.geometry == "exact":
            raise GeometryError(
                "Flip.swap: with geometry='exact' the affine is mirrored, so that left stays left "
                "and labels must not be swapped; leave swap out, or use geometry='moved'"
            )
        draws.note("axes", ", ".join(map(str, chosen)) or "none")
        if not flipped:
            return ()
        steps: list[Step] = [arranged(state.grid.shape, range(state.ndim), flipped)]
        sides = {"x", "left-right", "horizontal", -1, state.ndim - 1}
        letters = state.grid.orientation
        if letters:  # where it is known, only true left-right counts; a sagittal slice has none
            sides = {a for a in chosen if letters[state.grid.axis(a)] in "LR"}
        if self.swap and (state.has_label or state.has_soft) and sides & set(chosen):
            table = {**self.swap, **{b: a for a, b in self.swap.items()}}
            pairs = tuple(float(v) for pair in sorted(table.items()) for v in pair)
            steps.append(LabelStep("flip:swapped", pairs, kind="values"))
        return tuple(steps)


def swapped(label: Array, image: Array, params: tuple[float, ...], key: int) -> Array:
    """Label with the values of ``params`` (from, to, from, to, …) exchanged."""
    out, limits = label.copy(), np.iinfo(label.dtype)
    for a, b in zip(params[::2], params[1::2], strict=True):
        if not limits.min <= b <= limits.max:
            raise ConfigError(f"Flip.swap: {b:g} does not fit the label's {label.dtype}")
        out[label == a] = b
    return out
